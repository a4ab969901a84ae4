// A device that is not there: addresses out of nowhere, streams whose work passes when the test says so.

#ifndef FAKE_DEVICE_H
#define FAKE_DEVICE_H

#include "strandline_adapters.h"

enum { FAKE_STREAMS = 4, FAKE_SLABS = 256 };

typedef struct fake_device {
    uint64_t capacity, taken, next;
    struct {
        uint64_t address, size;
    } slabs[FAKE_SLABS];
    // By stream, which is the address of its number below.
    uint64_t recorded[FAKE_STREAMS], passed[FAKE_STREAMS];
    int names[FAKE_STREAMS];
} fake_device;

void fake_device_init(fake_device *device, uint64_t capacity);
void *fake_stream(fake_device *device, int number);
// The stream's work is done up to its last mark.
void fake_run(fake_device *device, int number);
strandline_device fake_memory(fake_device *device);
strandline_streams fake_streams(fake_device *device);

#endif
