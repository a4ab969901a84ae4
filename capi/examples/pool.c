// Two queues and one pool over this machine's memory: what queue A has freed, queue B uses while A's work may still run, because B's
// work is ordered after it.
//
//   cc -I../include pool.c -lstrandline_c -o pool

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "strandline.h"

static void must(strandline_status status) {
    if (status != STRANDLINE_STATUS_OK) {
        fprintf(stderr, "status %d: %s\n", (int)status, strandline_message());
        exit(1);
    }
}

int main(void) {
    uint64_t queue_a = strandline_axis_queue(0, 0, 0, 0);
    uint64_t queue_b = strandline_axis_queue(0, 0, 0, 1);
    strandline_tracker tracker;
    strandline_slabs slabs;
    strandline_pool pool;
    must(strandline_tracker_create(16, &tracker));
    must(strandline_tracker_register(tracker, queue_a));
    must(strandline_tracker_register(tracker, queue_b));
    must(strandline_slabs_host(256 << 20, 0, 0, &slabs));
    must(strandline_pool_create(slabs, tracker, NULL, &pool));

    strandline_request request = {.size = 4096, .flags = STRANDLINE_MAY_GROW};
    strandline_grant grant;
    must(strandline_acquire(pool, &request, &grant));
    uint64_t address;
    must(strandline_pool_address(pool, grant.slab, grant.offset, grant.size, &address));
    memset((void *)(uintptr_t)address, 1, grant.size);

    // Freed at once; queue A's work of epoch 1 still uses it.
    strandline_entry a1 = {queue_a, 1};
    strandline_frontier after_a1 = {&a1, 1};
    must(strandline_release(pool, grant.reservation, &after_a1));

    // Work of queue B that is ordered after A's.
    uint64_t offset = grant.offset;
    request.after = after_a1;
    must(strandline_acquire(pool, &request, &grant));
    if (grant.outcome != STRANDLINE_OUTCOME_READY || grant.offset != offset) {
        return 1;
    }
    printf("queue B reuses the bytes of queue A at once\n");
    strandline_entry b1 = {queue_b, 1};
    strandline_frontier after_b1 = {&b1, 1};
    must(strandline_release(pool, grant.reservation, &after_b1));

    must(strandline_tracker_advance(tracker, queue_a, 1));
    must(strandline_tracker_advance(tracker, queue_b, 1));
    must(strandline_pool_destroy(pool));
    must(strandline_slabs_destroy(slabs));
    must(strandline_tracker_destroy(tracker));
    return 0;
}
