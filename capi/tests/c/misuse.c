// Null, handles of nothing, handles twice, handles of another pool: each has its status, and everything goes on.

#include <string.h>
#include "check.h"

static strandline_pool pool_over(strandline_slabs slabs, strandline_tracker tracker) {
    strandline_pool_config config = {.slab_bytes = 1 << 20};
    strandline_pool pool;
    OK(strandline_pool_create(slabs, tracker, &config, &pool));
    return pool;
}

int main(void) {
    CHECK(strcmp(strandline_message(), "") == 0);
    strandline_tracker tracker;
    strandline_slabs slabs;
    strandline_grant grant, other;
    strandline_request request = {.size = 100, .alignment = 64, .flags = STRANDLINE_MAY_GROW};

    // Null, and nothing at the end of a handle.
    CHECK(strandline_tracker_create(8, NULL) == STRANDLINE_STATUS_NULL);
    CHECK(strstr(strandline_message(), "made is null"));
    CHECK(strandline_tracker_create(0, &tracker) == STRANDLINE_STATUS_INVALID);
    CHECK(strandline_tracker_create((size_t)-1, &tracker) == STRANDLINE_STATUS_INVALID);
    OK(strandline_tracker_create(2, &tracker));
    CHECK(strandline_slabs_host(0, 0, 0x80, &slabs) == STRANDLINE_STATUS_INVALID);
    CHECK(strandline_slabs_device(NULL, &slabs) == STRANDLINE_STATUS_NULL);
    strandline_device no_functions = {.alignment = 1, .granularity = 1, .max_slab_bytes = 1};
    CHECK(strandline_slabs_device(&no_functions, &slabs) == STRANDLINE_STATUS_NULL);
    OK(strandline_slabs_host(64 << 20, 0, STRANDLINE_GUARD_PAGES, &slabs));
    strandline_pool none = {0}, nobody = {0xdeadbeefdeadbeef}, made;
    CHECK(strandline_acquire(none, &request, &grant) == STRANDLINE_STATUS_UNKNOWN_HANDLE);
    CHECK(strandline_acquire(nobody, &request, &grant) == STRANDLINE_STATUS_UNKNOWN_HANDLE);
    CHECK(strandline_pool_destroy(none) == STRANDLINE_STATUS_UNKNOWN_HANDLE);
    CHECK(strandline_pool_create(slabs, (strandline_tracker){7}, NULL, &made) == STRANDLINE_STATUS_UNKNOWN_HANDLE);
    strandline_pool_config nonsense = {.kind = 99};
    CHECK(strandline_pool_create(slabs, tracker, &nonsense, &made) == STRANDLINE_STATUS_INVALID);
    nonsense = (strandline_pool_config){.kind = STRANDLINE_FIXED_BLOCK, .block_bytes = 64, .max_blocks = 0xffffffff};
    CHECK(strandline_pool_create(slabs, tracker, &nonsense, &made) == STRANDLINE_STATUS_INVALID);

    // Two pools.
    strandline_pool a = pool_over(slabs, tracker), b = pool_over(slabs, tracker);
    CHECK(strandline_acquire(a, NULL, &grant) == STRANDLINE_STATUS_NULL);
    CHECK(strandline_acquire(a, &request, NULL) == STRANDLINE_STATUS_NULL);
    request.after.count = 3;
    CHECK(strandline_acquire(a, &request, &grant) == STRANDLINE_STATUS_NULL);
    request.after.count = (size_t)-1;
    CHECK(strandline_acquire(a, &request, &grant) == STRANDLINE_STATUS_NULL);
    strandline_entry entries[] = {{5, 1}, {5, 2}};
    request.after = (strandline_frontier){entries, 2};
    CHECK(strandline_acquire(a, &request, &grant) == STRANDLINE_STATUS_INVALID);
    CHECK(strstr(strandline_message(), "entry 1 repeats axis"));
    entries[0] = (strandline_entry){5, 0};
    request.after.count = 1;
    CHECK(strandline_acquire(a, &request, &grant) == STRANDLINE_STATUS_INVALID);
    request.after = (strandline_frontier){NULL, 0};
    request.size = 0;
    CHECK(strandline_acquire(a, &request, &grant) == STRANDLINE_STATUS_INVALID);
    request.size = (uint64_t)-1;
    CHECK(strandline_acquire(a, &request, &grant) == STRANDLINE_STATUS_TOO_LARGE);
    request.size = 100;
    request.alignment = 48;
    CHECK(strandline_acquire(a, &request, &grant) == STRANDLINE_STATUS_INVALID);
    request.alignment = 64;
    request.flags = 0x100;
    CHECK(strandline_acquire(a, &request, &grant) == STRANDLINE_STATUS_INVALID);
    request.flags = 0;
    OK(strandline_acquire(a, &request, &grant));
    CHECK(grant.outcome == STRANDLINE_OUTCOME_EXHAUSTED && grant.reservation.id == 0);
    request.flags = STRANDLINE_MAY_GROW;

    // Twice, of another pool, forged.
    OK(strandline_acquire(a, &request, &grant));
    CHECK(strandline_release(b, grant.reservation, NULL) == STRANDLINE_STATUS_OTHER_POOL);
    CHECK(strandline_cancel(b, grant.reservation) == STRANDLINE_STATUS_OTHER_POOL);
    CHECK(strandline_pool_destroy(a) == STRANDLINE_STATUS_IN_USE);
    OK(strandline_release(a, grant.reservation, NULL));
    CHECK(strandline_release(a, grant.reservation, NULL) == STRANDLINE_STATUS_UNKNOWN_HANDLE);
    CHECK(strandline_release_unknown(a, grant.reservation) == STRANDLINE_STATUS_UNKNOWN_HANDLE);
    OK(strandline_acquire(a, &request, &other));
    CHECK(other.reservation.id != grant.reservation.id);
    CHECK(strandline_release(a, grant.reservation, NULL) == STRANDLINE_STATUS_UNKNOWN_HANDLE);
    for (uint64_t id = 0; id < 4096; id++) {
        strandline_reservation forged = {id << 32 | (id * 7)};
        CHECK(forged.id == other.reservation.id || strandline_release(a, forged, NULL) != STRANDLINE_STATUS_OK);
    }
    uint64_t address;
    OK(strandline_pool_address(a, other.slab, other.offset, other.size, &address));
    CHECK(address % 64 == 0);
    CHECK(strandline_pool_address(a, other.slab, other.offset, (uint64_t)-1, &address) == STRANDLINE_STATUS_INVALID);
    CHECK(strandline_pool_address(a, 1234567, 0, 1, &address) == STRANDLINE_STATUS_INVALID);
    CHECK(strandline_pool_address(b, other.slab, other.offset, other.size, &address) == STRANDLINE_STATUS_OK ||
          strandline_pool_address(b, other.slab, other.offset, other.size, &address) == STRANDLINE_STATUS_INVALID);

    // What waits: too small a place for it changes nothing.
    uint64_t axis = strandline_axis_queue(0, 0, 0, 0);
    OK(strandline_tracker_register(tracker, axis));
    CHECK(strandline_tracker_register(tracker, axis) == STRANDLINE_STATUS_INVALID);
    OK(strandline_tracker_register(tracker, axis + (1 << 24)));
    CHECK(strandline_tracker_register(tracker, 77) == STRANDLINE_STATUS_FULL);
    strandline_entry last = {axis, 4}, wait[2];
    strandline_frontier death = {&last, 1};
    strandline_pool_config one_block = {.kind = STRANDLINE_FIXED_BLOCK, .block_bytes = 4096, .max_blocks = 1};
    strandline_pool fixed;
    OK(strandline_pool_create(slabs, tracker, &one_block, &fixed));
    strandline_grant first;
    OK(strandline_acquire(fixed, &request, &first));
    OK(strandline_release(fixed, first.reservation, &death));
    request.flags = STRANDLINE_MAY_WAIT;
    strandline_grant waits;
    CHECK(strandline_acquire(fixed, &request, &waits) == STRANDLINE_STATUS_BUFFER_TOO_SMALL);
    CHECK(waits.wait_count == 1 && waits.reservation.id == 0);
    request.wait = wait;
    request.wait_capacity = 2;
    OK(strandline_acquire(fixed, &request, &waits));
    CHECK(waits.outcome == STRANDLINE_OUTCOME_AFTER_WAIT && waits.wait_count == 1);
    CHECK(wait[0].axis == axis && wait[0].epoch == 4);
    CHECK(strandline_tracker_wait(tracker, &death, 1000000) == STRANDLINE_STATUS_TIMED_OUT);
    OK(strandline_tracker_advance(tracker, axis, 4));
    OK(strandline_tracker_wait(tracker, &death, 0));
    OK(strandline_cancel(fixed, waits.reservation));
    OK(strandline_tracker_fail(tracker, axis, "the device is gone"));
    last.epoch = 5;
    CHECK(strandline_tracker_wait(tracker, &death, (uint64_t)-1) == STRANDLINE_STATUS_ENDED);
    CHECK(strstr(strandline_message(), "the device is gone"));

    // In any order; a pool keeps what it stands on.
    OK(strandline_slabs_destroy(slabs));
    CHECK(strandline_slabs_destroy(slabs) == STRANDLINE_STATUS_UNKNOWN_HANDLE);
    OK(strandline_tracker_destroy(tracker));
    CHECK(strandline_tracker_destroy(tracker) == STRANDLINE_STATUS_UNKNOWN_HANDLE);
    request.flags = STRANDLINE_MAY_GROW;
    OK(strandline_acquire(b, &request, &grant));
    OK(strandline_release(b, grant.reservation, NULL));
    OK(strandline_release(a, other.reservation, NULL));
    strandline_pool_stats stats;
    OK(strandline_pool_counters(a, &stats));
    CHECK(stats.live == 0 && stats.reserves == 2 && stats.releases == 2);
    OK(strandline_pool_destroy(a));
    CHECK(strandline_pool_destroy(a) == STRANDLINE_STATUS_UNKNOWN_HANDLE);
    CHECK(strandline_release(a, other.reservation, NULL) == STRANDLINE_STATUS_UNKNOWN_HANDLE);
    OK(strandline_pool_destroy(b));
    OK(strandline_pool_destroy(fixed));
    return 0;
}
