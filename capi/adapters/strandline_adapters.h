// Strandline behind the allocator interfaces that others ask for: by address and stream.
//
//   PyTorch   CUDAPluggableAllocator: alloc(size, device, stream) and free(ptr, size, device, stream)
//   RMM       callback_memory_resource: allocate(bytes, stream, arg) and deallocate(ptr, bytes, stream, arg)
//   ONNX Runtime   OrtAllocator: a table with a version, Alloc, Free and Info
//
// One heap is one device's. A stream is whatever the device calls one. What is freed on a stream is used again by that stream at once, and by
// others as soon as the device has passed the point of the free: no call blocks. All functions: any thread.

#ifndef STRANDLINE_ADAPTERS_H
#define STRANDLINE_ADAPTERS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "strandline.h"

#ifdef __cplusplus
extern "C" {
#endif

// What a heap needs of a device beside its memory. `record` marks a point in a stream's work and returns its number: 1, then larger ones. `completed`
// returns the last mark that a stream's work has passed. Both may be called from any thread, and must not use the heap.
typedef struct strandline_streams {
    void *user;
    uint64_t (*record)(void *user, void *stream);
    uint64_t (*completed)(void *user, void *stream);
} strandline_streams;

// The most streams of a heap.
enum { STRANDLINE_HEAP_STREAMS = 255 };

typedef struct strandline_heap strandline_heap;

// Makes a heap. Null: strandline_message says why. `config` may be null.
strandline_heap *strandline_heap_create(const strandline_device *device, const strandline_streams *streams,
                                        const strandline_pool_config *config);
// Gives a heap back. STRANDLINE_STATUS_IN_USE: something is allocated yet, and the heap stays.
strandline_status strandline_heap_destroy(strandline_heap *heap);
// Null: there is no room (strandline_message is then of no meaning), or strandline_message says what is wrong.
void *strandline_heap_allocate(strandline_heap *heap, size_t size, void *stream);
// UNKNOWN_HANDLE: no such address, or freed already. Null is freed without an effect.
strandline_status strandline_heap_free(strandline_heap *heap, void *address, void *stream);
strandline_status strandline_heap_counters(strandline_heap *heap, strandline_pool_stats *stats);

// PyTorch. Its interface has no place for a heap: `strandline_torch_use` says which one a device has, before the first allocation.
enum { STRANDLINE_TORCH_DEVICES = 64 };
strandline_status strandline_torch_use(int device, strandline_heap *heap);
void *strandline_torch_alloc(ssize_t size, int device, void *stream);
void strandline_torch_free(void *address, ssize_t size, int device, void *stream);

// RMM. `heap` is the argument that RMM passes on.
void *strandline_rmm_allocate(size_t bytes, void *stream, void *heap);
void strandline_rmm_deallocate(void *address, size_t bytes, void *stream, void *heap);

// ONNX Runtime: the first members are those of its OrtAllocator of version 1, in order; `info` is the runtime's and passed through.
typedef struct strandline_ort_allocator {
    uint32_t version;
    void *(*alloc)(struct strandline_ort_allocator *self, size_t size);
    void (*release)(struct strandline_ort_allocator *self, void *address);
    const void *(*info)(const struct strandline_ort_allocator *self);
    const void *memory_info;
    strandline_heap *heap;
    void *stream;
} strandline_ort_allocator;
strandline_ort_allocator strandline_ort_allocator_over(strandline_heap *heap, void *stream, const void *memory_info);

#ifdef __cplusplus
}
#endif

#endif
