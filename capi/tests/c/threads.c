// Threads that acquire, write, check and release, and race each other to release one handle.

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include "check.h"

enum { THREADS = 4, TURNS = 20000, HELD = 32 };

static strandline_pool pool;
static _Atomic uint64_t shared;
static _Atomic int won;

static unsigned char *bytes_of(const strandline_grant *grant) {
    uint64_t address;
    OK(strandline_pool_address(pool, grant->slab, grant->offset, grant->size, &address));
    return (unsigned char *)(uintptr_t)address;
}

static void *work(void *argument) {
    unsigned char mark = (unsigned char)(uintptr_t)argument;
    uint32_t seed = mark;
    strandline_grant held[HELD] = {0};
    for (int turn = 0; turn < TURNS; turn++) {
        seed = seed * 1664525 + 1013904223;
        strandline_grant *grant = &held[seed >> 8 & (HELD - 1)];
        if (grant->reservation.id) {
            unsigned char *bytes = bytes_of(grant);
            CHECK(bytes[0] == mark && bytes[grant->size - 1] == mark);
            OK(strandline_release(pool, grant->reservation, NULL));
            CHECK(strandline_release(pool, grant->reservation, NULL) != STRANDLINE_STATUS_OK);
            grant->reservation.id = 0;
        } else {
            strandline_request request = {.size = 1 + (seed >> 16 & 4095), .flags = STRANDLINE_MAY_GROW};
            OK(strandline_acquire(pool, &request, grant));
            CHECK(grant->outcome == STRANDLINE_OUTCOME_READY);
            memset(bytes_of(grant), mark, grant->size);
        }
        // One handle for all: whoever sees it first releases it, the others hear that it is gone.
        uint64_t id = atomic_load(&shared);
        if (id && strandline_release(pool, (strandline_reservation){id}, NULL) == STRANDLINE_STATUS_OK) {
            atomic_fetch_add(&won, 1);
            strandline_request request = {.size = 64, .flags = STRANDLINE_MAY_GROW};
            strandline_grant next;
            OK(strandline_acquire(pool, &request, &next));
            atomic_store(&shared, next.reservation.id);
        }
    }
    for (int place = 0; place < HELD; place++) {
        if (held[place].reservation.id) {
            OK(strandline_release(pool, held[place].reservation, NULL));
        }
    }
    return NULL;
}

int main(void) {
    strandline_tracker tracker;
    strandline_slabs slabs;
    OK(strandline_tracker_create(1, &tracker));
    OK(strandline_slabs_host(0, 0, 0, &slabs));
    OK(strandline_pool_create(slabs, tracker, NULL, &pool));
    strandline_request request = {.size = 64, .flags = STRANDLINE_MAY_GROW};
    strandline_grant first;
    OK(strandline_acquire(pool, &request, &first));
    shared = first.reservation.id;
    pthread_t threads[THREADS];
    for (uintptr_t mark = 0; mark < THREADS; mark++) {
        CHECK(pthread_create(&threads[mark], NULL, work, (void *)(mark + 1)) == 0);
    }
    for (int at = 0; at < THREADS; at++) {
        CHECK(pthread_join(threads[at], NULL) == 0);
    }
    strandline_pool_stats stats;
    OK(strandline_pool_counters(pool, &stats));
    CHECK(stats.live == 1 && stats.reserves == stats.releases + 1 && won > 0);
    OK(strandline_release(pool, (strandline_reservation){shared}, NULL));
    OK(strandline_pool_destroy(pool));
    OK(strandline_slabs_destroy(slabs));
    OK(strandline_tracker_destroy(tracker));
    return 0;
}
