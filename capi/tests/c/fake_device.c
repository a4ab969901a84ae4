#include "fake_device.h"

#include <string.h>
#include "check.h"

static int acquire(void *user, uint64_t size, uint64_t *address) {
    fake_device *device = user;
    if (device->taken + size > device->capacity) {
        return 1;
    }
    for (int at = 0; at < FAKE_SLABS; at++) {
        if (!device->slabs[at].size) {
            device->slabs[at].address = device->next;
            device->slabs[at].size = size;
            // Never the same address twice, and a hole after each slab.
            device->next += size + (1 << 20);
            device->taken += size;
            *address = device->slabs[at].address;
            return 0;
        }
    }
    return 2;
}

static int release(void *user, uint64_t address, uint64_t size) {
    fake_device *device = user;
    for (int at = 0; at < FAKE_SLABS; at++) {
        if (device->slabs[at].size && device->slabs[at].address == address) {
            CHECK(device->slabs[at].size == size);
            device->slabs[at].size = 0;
            device->taken -= size;
            return 0;
        }
    }
    CHECK(!"a slab of this device");
    return 3;
}

static int number_of(fake_device *device, void *stream) {
    ptrdiff_t number = (int *)stream - device->names;
    CHECK(number >= 0 && number < FAKE_STREAMS);
    return (int)number;
}

static uint64_t record(void *user, void *stream) {
    fake_device *device = user;
    return ++device->recorded[number_of(device, stream)];
}

static uint64_t completed(void *user, void *stream) {
    fake_device *device = user;
    return device->passed[number_of(device, stream)];
}

void fake_device_init(fake_device *device, uint64_t capacity) {
    memset(device, 0, sizeof *device);
    device->capacity = capacity;
    device->next = 0x7f0000000000;
}

void *fake_stream(fake_device *device, int number) {
    return &device->names[number];
}

void fake_run(fake_device *device, int number) {
    device->passed[number] = device->recorded[number];
}

strandline_device fake_memory(fake_device *device) {
    return (strandline_device){device, acquire, release, 1 << 20, 1 << 20, 1 << 30};
}

strandline_streams fake_streams(fake_device *device) {
    return (strandline_streams){device, record, completed};
}
