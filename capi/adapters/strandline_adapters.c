#include "strandline_adapters.h"

#include <pthread.h>
#include <stdlib.h>

// A block by its address: what its release needs. Open addressing; a key of 0 is an empty place.
typedef struct block {
    uint64_t address;
    strandline_reservation reservation;
} block;

struct strandline_heap {
    strandline_streams device;
    strandline_tracker tracker;
    strandline_slabs slabs;
    strandline_pool pool;
    // Guards all below. It is never held while the pool asks the device for memory.
    pthread_mutex_t lock;
    block *blocks;
    size_t places; // a power of two
    size_t used;
    void *streams[STRANDLINE_HEAP_STREAMS];
    // The last mark of each stream that a freed block waits for.
    uint64_t marks[STRANDLINE_HEAP_STREAMS];
    size_t stream_count;
};

static size_t place_of(const strandline_heap *heap, uint64_t address) {
    return (size_t)((address >> 8) * 0x9e3779b97f4a7c15u) & (heap->places - 1);
}

static int grow(strandline_heap *heap) {
    block *old = heap->blocks;
    size_t places = heap->places;
    block *blocks = calloc(places * 2, sizeof *blocks);
    if (!blocks) {
        return 0;
    }
    heap->blocks = blocks;
    heap->places = places * 2;
    for (size_t at = 0; at < places; at++) {
        if (old[at].address) {
            size_t place = place_of(heap, old[at].address);
            while (blocks[place].address) {
                place = (place + 1) & (heap->places - 1);
            }
            blocks[place] = old[at];
        }
    }
    free(old);
    return 1;
}

static int insert(strandline_heap *heap, uint64_t address, strandline_reservation reservation) {
    if (heap->used * 2 >= heap->places && !grow(heap)) {
        return 0;
    }
    size_t place = place_of(heap, address);
    while (heap->blocks[place].address) {
        place = (place + 1) & (heap->places - 1);
    }
    heap->blocks[place] = (block){address, reservation};
    heap->used++;
    return 1;
}

static int take(strandline_heap *heap, uint64_t address, strandline_reservation *reservation) {
    size_t mask = heap->places - 1, place = place_of(heap, address);
    while (heap->blocks[place].address != address) {
        if (!heap->blocks[place].address) {
            return 0;
        }
        place = (place + 1) & mask;
    }
    *reservation = heap->blocks[place].reservation;
    // What follows in the run moves up where it may, so that no search ends early at the empty place.
    for (size_t next = (place + 1) & mask; heap->blocks[next].address; next = (next + 1) & mask) {
        size_t wanted = place_of(heap, heap->blocks[next].address);
        if (((next - wanted) & mask) >= ((next - place) & mask)) {
            heap->blocks[place] = heap->blocks[next];
            place = next;
        }
    }
    heap->blocks[place].address = 0;
    heap->used--;
    return 1;
}

// The number of a stream; the heap's lock is held. -1: there are too many.
static int stream_of(strandline_heap *heap, void *stream) {
    for (size_t at = 0; at < heap->stream_count; at++) {
        if (heap->streams[at] == stream) {
            return (int)at;
        }
    }
    if (heap->stream_count == STRANDLINE_HEAP_STREAMS) {
        return -1;
    }
    size_t at = heap->stream_count;
    uint64_t axis = strandline_axis_queue(0, 0, 0, (uint8_t)at);
    if (strandline_tracker_register(heap->tracker, axis) != STRANDLINE_STATUS_OK) {
        return -1;
    }
    heap->streams[at] = stream;
    heap->stream_count++;
    return (int)at;
}

// Tells the tracker what the streams have passed; the heap's lock is held.
static void observe(strandline_heap *heap) {
    for (size_t at = 0; at < heap->stream_count; at++) {
        uint64_t passed = heap->device.completed(heap->device.user, heap->streams[at]);
        if (passed) {
            strandline_tracker_advance(heap->tracker, strandline_axis_queue(0, 0, 0, (uint8_t)at), passed);
        }
    }
}

strandline_heap *strandline_heap_create(const strandline_device *device, const strandline_streams *streams,
                                        const strandline_pool_config *config) {
    strandline_heap *heap = calloc(1, sizeof *heap);
    if (!heap || !streams || !streams->record || !streams->completed) {
        free(heap);
        return NULL;
    }
    heap->device = *streams;
    heap->places = 256;
    heap->blocks = calloc(heap->places, sizeof *heap->blocks);
    int stands = heap->blocks != NULL && pthread_mutex_init(&heap->lock, NULL) == 0 &&
                 strandline_tracker_create(STRANDLINE_HEAP_STREAMS, &heap->tracker) == STRANDLINE_STATUS_OK &&
                 strandline_slabs_device(device, &heap->slabs) == STRANDLINE_STATUS_OK &&
                 strandline_pool_create(heap->slabs, heap->tracker, config, &heap->pool) == STRANDLINE_STATUS_OK;
    if (!stands) {
        // A handle of 0 is answered with a status.
        strandline_slabs_destroy(heap->slabs);
        strandline_tracker_destroy(heap->tracker);
        free(heap->blocks);
        free(heap);
        return NULL;
    }
    return heap;
}

strandline_status strandline_heap_destroy(strandline_heap *heap) {
    if (!heap) {
        return STRANDLINE_STATUS_NULL;
    }
    strandline_status status = strandline_pool_destroy(heap->pool);
    if (status != STRANDLINE_STATUS_OK) {
        return status;
    }
    strandline_slabs_destroy(heap->slabs);
    strandline_tracker_destroy(heap->tracker);
    pthread_mutex_destroy(&heap->lock);
    free(heap->blocks);
    free(heap);
    return STRANDLINE_STATUS_OK;
}

void *strandline_heap_allocate(strandline_heap *heap, size_t size, void *stream) {
    if (!heap) {
        return NULL;
    }
    pthread_mutex_lock(&heap->lock);
    int number = stream_of(heap, stream);
    observe(heap);
    // The stream's later work is ordered after all that was freed on it so far.
    uint64_t mark = number < 0 ? 0 : heap->marks[number];
    pthread_mutex_unlock(&heap->lock);
    if (number < 0) {
        return NULL;
    }
    strandline_entry own = {strandline_axis_queue(0, 0, 0, (uint8_t)number), mark};
    strandline_request request = {
        // Others take an allocation of nothing for an address of its own.
        .size = size ? size : 1,
        .after = {&own, mark ? 1 : 0},
        .flags = STRANDLINE_MAY_GROW,
    };
    strandline_grant grant;
    uint64_t address;
    if (strandline_acquire(heap->pool, &request, &grant) != STRANDLINE_STATUS_OK ||
        grant.outcome != STRANDLINE_OUTCOME_READY) {
        return NULL;
    }
    if (strandline_pool_address(heap->pool, grant.slab, grant.offset, grant.size, &address) != STRANDLINE_STATUS_OK) {
        strandline_cancel(heap->pool, grant.reservation);
        return NULL;
    }
    pthread_mutex_lock(&heap->lock);
    int kept = insert(heap, address, grant.reservation);
    pthread_mutex_unlock(&heap->lock);
    if (!kept) {
        strandline_cancel(heap->pool, grant.reservation);
        return NULL;
    }
    return (void *)(uintptr_t)address;
}

strandline_status strandline_heap_free(strandline_heap *heap, void *address, void *stream) {
    if (!heap) {
        return STRANDLINE_STATUS_NULL;
    }
    if (!address) {
        return STRANDLINE_STATUS_OK;
    }
    strandline_reservation reservation;
    pthread_mutex_lock(&heap->lock);
    int number = stream_of(heap, stream);
    int known = take(heap, (uint64_t)(uintptr_t)address, &reservation);
    strandline_entry last = {0};
    if (known && number >= 0) {
        last.axis = strandline_axis_queue(0, 0, 0, (uint8_t)number);
        last.epoch = heap->marks[number] = heap->device.record(heap->device.user, stream);
    }
    pthread_mutex_unlock(&heap->lock);
    if (!known) {
        return STRANDLINE_STATUS_UNKNOWN_HANDLE;
    }
    if (number < 0) {
        // A stream that cannot be watched: nobody knows when its work is over.
        return strandline_release_unknown(heap->pool, reservation);
    }
    strandline_frontier death = {&last, 1};
    return strandline_release(heap->pool, reservation, &death);
}

strandline_status strandline_heap_counters(strandline_heap *heap, strandline_pool_stats *stats) {
    return heap ? strandline_pool_counters(heap->pool, stats) : STRANDLINE_STATUS_NULL;
}

static strandline_heap *torch_heaps[STRANDLINE_TORCH_DEVICES];

strandline_status strandline_torch_use(int device, strandline_heap *heap) {
    if (device < 0 || device >= STRANDLINE_TORCH_DEVICES) {
        return STRANDLINE_STATUS_INVALID;
    }
    torch_heaps[device] = heap;
    return STRANDLINE_STATUS_OK;
}

static strandline_heap *torch_heap(int device) {
    return device < 0 || device >= STRANDLINE_TORCH_DEVICES ? NULL : torch_heaps[device];
}

void *strandline_torch_alloc(ssize_t size, int device, void *stream) {
    return size < 0 ? NULL : strandline_heap_allocate(torch_heap(device), (size_t)size, stream);
}

void strandline_torch_free(void *address, ssize_t size, int device, void *stream) {
    (void)size;
    strandline_heap_free(torch_heap(device), address, stream);
}

void *strandline_rmm_allocate(size_t bytes, void *stream, void *heap) {
    return strandline_heap_allocate(heap, bytes, stream);
}

void strandline_rmm_deallocate(void *address, size_t bytes, void *stream, void *heap) {
    (void)bytes;
    strandline_heap_free(heap, address, stream);
}

static void *ort_alloc(strandline_ort_allocator *self, size_t size) {
    // The runtime takes null for an allocation of nothing.
    return size ? strandline_heap_allocate(self->heap, size, self->stream) : NULL;
}

static void ort_release(strandline_ort_allocator *self, void *address) {
    strandline_heap_free(self->heap, address, self->stream);
}

static const void *ort_info(const strandline_ort_allocator *self) {
    return self->memory_info;
}

strandline_ort_allocator strandline_ort_allocator_over(strandline_heap *heap, void *stream, const void *memory_info) {
    return (strandline_ort_allocator){1, ort_alloc, ort_release, ort_info, memory_info, heap, stream};
}
