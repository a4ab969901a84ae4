// Each adapter over a fake device, called as its framework calls it. The test's own books judge: no two live blocks overlap, every block lies
// in a slab, and no bytes are handed to another stream before the device has passed the free.

#include <string.h>
#include "check.h"
#include "fake_device.h"

enum { BLOCKS = 400, TURNS = 20000, FREED = 4096 };

typedef struct range {
    uint64_t start, size;
    int stream;
    uint64_t mark;
} range;

typedef void *allocate(void *context, size_t size, int stream);
typedef void deallocate(void *context, void *address, size_t size, int stream);

static fake_device device;

static int overlap(const range *a, uint64_t start, uint64_t size) {
    return a->size && a->start < start + size && start < a->start + a->size;
}

// Generated allocations and frees on several streams; `streams` is 1 for an interface without streams.
static void judge(allocate *get, deallocate *give, void *context, int streams, uint32_t seed) {
    static range live[BLOCKS], freed[FREED];
    memset(live, 0, sizeof live);
    memset(freed, 0, sizeof freed);
    size_t next_freed = 0, granted = 0, across = 0;
    for (int turn = 0; turn < TURNS; turn++) {
        seed = seed * 1664525 + 1013904223;
        range *block = &live[(seed >> 8) % BLOCKS];
        int stream = (int)(seed >> 20) % streams;
        if (block->size) {
            give(context, (void *)(uintptr_t)block->start, block->size, stream);
            freed[next_freed++ % FREED] = (range){block->start, block->size, stream, device.recorded[stream]};
            block->size = 0;
        } else {
            size_t size = 1 + (seed >> 4) % 60000;
            uint64_t start = (uint64_t)(uintptr_t)get(context, size, stream);
            if (!start) {
                continue;
            }
            granted++;
            int inside = 0;
            for (int at = 0; at < FAKE_SLABS; at++) {
                inside |= device.slabs[at].size && device.slabs[at].address <= start &&
                          start + size <= device.slabs[at].address + device.slabs[at].size;
            }
            CHECK(inside);
            for (int at = 0; at < BLOCKS; at++) {
                CHECK(!overlap(&live[at], start, size));
            }
            for (int at = 0; at < FREED; at++) {
                if (overlap(&freed[at], start, size)) {
                    CHECK(freed[at].stream == stream || device.passed[freed[at].stream] >= freed[at].mark);
                    across += freed[at].stream != stream;
                    freed[at].size = 0;
                }
            }
            *block = (range){start, size, stream, 0};
        }
        if (turn % 97 == 0) {
            fake_run(&device, (turn / 97) % streams);
        }
    }
    CHECK(granted > TURNS / 4);
    CHECK(streams == 1 || across > 0);
    for (int at = 0; at < BLOCKS; at++) {
        if (live[at].size) {
            give(context, (void *)(uintptr_t)live[at].start, live[at].size, 0);
        }
    }
}

static void *torch_get(void *context, size_t size, int stream) {
    (void)context;
    return strandline_torch_alloc((ssize_t)size, 3, fake_stream(&device, stream));
}

static void torch_give(void *context, void *address, size_t size, int stream) {
    (void)context;
    strandline_torch_free(address, (ssize_t)size, 3, fake_stream(&device, stream));
}

static void *rmm_get(void *heap, size_t size, int stream) {
    return strandline_rmm_allocate(size, fake_stream(&device, stream), heap);
}

static void rmm_give(void *heap, void *address, size_t size, int stream) {
    strandline_rmm_deallocate(address, size, fake_stream(&device, stream), heap);
}

static void *ort_get(void *context, size_t size, int stream) {
    (void)stream;
    strandline_ort_allocator *table = context;
    return table->alloc(table, size);
}

static void ort_give(void *context, void *address, size_t size, int stream) {
    (void)size;
    (void)stream;
    strandline_ort_allocator *table = context;
    table->release(table, address);
}

static strandline_heap *heap_over(uint64_t capacity) {
    fake_device_init(&device, capacity);
    strandline_device memory = fake_memory(&device);
    strandline_streams streams = fake_streams(&device);
    strandline_pool_config config = {.slab_bytes = 4 << 20};
    strandline_heap *heap = strandline_heap_create(&memory, &streams, &config);
    CHECK(heap);
    return heap;
}

static void done(strandline_heap *heap) {
    strandline_pool_stats stats;
    OK(strandline_heap_counters(heap, &stats));
    CHECK(stats.live == 0 && stats.reserves == stats.releases);
    OK(strandline_heap_destroy(heap));
    CHECK(device.taken == 0);
}

int main(void) {
    // Same stream at once; another one only after the device has passed the free.
    strandline_heap *heap = heap_over(4 << 20);
    void *whole = strandline_heap_allocate(heap, 4 << 20, fake_stream(&device, 0));
    CHECK(whole && !strandline_heap_allocate(heap, 1, fake_stream(&device, 1)));
    CHECK(strandline_heap_destroy(heap) == STRANDLINE_STATUS_IN_USE);
    OK(strandline_heap_free(heap, whole, fake_stream(&device, 0)));
    CHECK(strandline_heap_free(heap, whole, fake_stream(&device, 0)) == STRANDLINE_STATUS_UNKNOWN_HANDLE);
    CHECK(!strandline_heap_allocate(heap, 4096, fake_stream(&device, 1)));
    CHECK(strandline_heap_allocate(heap, 4 << 20, fake_stream(&device, 0)) == whole);
    OK(strandline_heap_free(heap, whole, fake_stream(&device, 0)));
    fake_run(&device, 0);
    CHECK(strandline_heap_allocate(heap, 4 << 20, fake_stream(&device, 1)) == whole);
    OK(strandline_heap_free(heap, whole, fake_stream(&device, 1)));
    OK(strandline_heap_free(heap, NULL, fake_stream(&device, 1)));
    done(heap);

    // PyTorch's calls; a device that no heap was given for has no memory.
    heap = heap_over(64 << 20);
    CHECK(!strandline_torch_alloc(1, 3, fake_stream(&device, 0)) && !strandline_torch_alloc(1, -1, NULL));
    OK(strandline_torch_use(3, heap));
    CHECK(strandline_torch_use(1000, heap) == STRANDLINE_STATUS_INVALID);
    judge(torch_get, torch_give, NULL, FAKE_STREAMS, 1);
    OK(strandline_torch_use(3, NULL));
    done(heap);

    heap = heap_over(16 << 20);
    judge(rmm_get, rmm_give, heap, FAKE_STREAMS, 2);
    done(heap);

    heap = heap_over(64 << 20);
    int info;
    strandline_ort_allocator table = strandline_ort_allocator_over(heap, fake_stream(&device, 0), &info);
    CHECK(table.version == 1 && table.info(&table) == &info && !table.alloc(&table, 0));
    judge(ort_get, ort_give, &table, 1, 3);
    done(heap);
    return 0;
}
