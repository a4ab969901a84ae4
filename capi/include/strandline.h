// Strandline in C. Made from the crate strandline-capi; a test renews it.
//
// Link with -lstrandline_c. Every function says which threads may call it; all may but where it says otherwise. Handles are numbers that are checked:
// one that was given back, or is of another pool, is answered with a status. strandline_message says what was wrong.

#ifndef STRANDLINE_H
#define STRANDLINE_H

#include <stddef.h>
#include <stdint.h>


// The most axes that a tracker can be made for: its table is made at once.
#define STRANDLINE_MAX_AXES 65536

// Host slabs: ask the system for huge pages.
#define STRANDLINE_HUGE_PAGES 1

// Host slabs: all pages are there before a slab is used.
#define STRANDLINE_PREFAULT 2

// Host slabs: an inaccessible page before and after each slab.
#define STRANDLINE_GUARD_PAGES 4

// A pool of blocks of any size.
#define STRANDLINE_TLSF 0

// A pool of blocks of one size.
#define STRANDLINE_FIXED_BLOCK 1

// A pool for batches that die together.
#define STRANDLINE_ARENA 2

// A slab for each reservation.
#define STRANDLINE_PASSTHROUGH 3

// The answer may have to be waited for: STRANDLINE_AFTER_WAIT.
#define STRANDLINE_MAY_WAIT 1

// The pool may ask for another slab.
#define STRANDLINE_MAY_GROW 2

// How a call ended. Running out of memory is no error: see strandline_outcome.
typedef enum strandline_status {
  // Done.
  STRANDLINE_STATUS_OK = 0,
  // A pointer that is needed is null, or not aligned for its type.
  STRANDLINE_STATUS_NULL = 1,
  // The handle was never handed out, or was given back already.
  STRANDLINE_STATUS_UNKNOWN_HANDLE = 2,
  // The reservation is of another pool. It stays reserved.
  STRANDLINE_STATUS_OTHER_POOL = 3,
  // An argument that cannot be meant; strandline_message says which.
  STRANDLINE_STATUS_INVALID = 4,
  // More bytes than the pool can ever serve.
  STRANDLINE_STATUS_TOO_LARGE = 5,
  // What provides slabs has failed; strandline_message says how.
  STRANDLINE_STATUS_PROVIDER = 6,
  // It is in use: a pool has live reservations. Nothing was changed.
  STRANDLINE_STATUS_IN_USE = 7,
  // The caller's buffer is too small; the count says how much is needed. Nothing was changed.
  STRANDLINE_STATUS_BUFFER_TOO_SMALL = 8,
  // The time was up first.
  STRANDLINE_STATUS_TIMED_OUT = 9,
  // What is waited for has failed or was retired, and will not be reached.
  STRANDLINE_STATUS_ENDED = 10,
  // As many as there is room for.
  STRANDLINE_STATUS_FULL = 11,
  // A fault of this library. What the call was about may be lost.
  STRANDLINE_STATUS_INTERNAL = 12,
} strandline_status;

// How two frontiers are ordered.
typedef enum strandline_order {
  // The same.
  STRANDLINE_ORDER_EQUAL = 0,
  // The first happened before the second, which covers it.
  STRANDLINE_ORDER_BEFORE = 1,
  // The first covers the second.
  STRANDLINE_ORDER_AFTER = 2,
  // Neither covers the other.
  STRANDLINE_ORDER_CONCURRENT = 3,
} strandline_order;

// What became of a request.
typedef enum strandline_outcome {
  // Usable now.
  STRANDLINE_OUTCOME_READY = 0,
  // Reserved. The use must be ordered after the frontier in `wait`.
  STRANDLINE_OUTCOME_AFTER_WAIT = 1,
  // Nothing that may be used fits; nothing is reserved.
  STRANDLINE_OUTCOME_EXHAUSTED = 2,
  // The pool's budget does not allow it now; nothing is reserved.
  STRANDLINE_OUTCOME_OVER_BUDGET = 3,
} strandline_outcome;

// Where ready bytes come from.
typedef enum strandline_origin {
  // Nothing is ready.
  STRANDLINE_ORIGIN_NOWHERE = 0,
  // Never used before.
  STRANDLINE_ORIGIN_FRESH = 1,
  // Used before, and the requester is ordered after what still uses them.
  STRANDLINE_ORIGIN_DOMINANCE = 2,
  // Used before, and nothing uses them any more.
  STRANDLINE_ORIGIN_COMPLETION = 3,
} strandline_origin;

// One axis of a frontier: up to which epoch something is known of it, or waited for.
typedef struct strandline_entry {
  // Names the axis: strandline_axis_queue makes such a number.
  uint64_t axis;
  // From 1 on; 0 means nothing yet and does not stand in a frontier.
  uint64_t epoch;
} strandline_entry;

// A vector clock: each axis at most once, in any order, 255 entries at most. The memory is the caller's.
typedef struct strandline_frontier {
  // May be null if there are none.
  const struct strandline_entry *entries;
  // How many.
  uintptr_t count;
} strandline_frontier;

// Names a tracker. 0 is none.
typedef struct strandline_tracker {
  // Not an address.
  uint64_t id;
} strandline_tracker;

// Names a provider of slabs. 0 is none.
typedef struct strandline_slabs {
  // Not an address.
  uint64_t id;
} strandline_slabs;

// Asks a device for memory. Writes the address and returns 0; returns 1 where there is no room, any other number for a failure. It may be
// called from any thread that uses a pool, from several at once, and must not use that pool.
typedef int (*strandline_slab_acquire)(void *user,
                                       uint64_t size,
                                       uint64_t *address);

// Gives memory of a device back. Returns 0, or another number for a failure; then the memory is not given back again.
typedef int (*strandline_slab_release)(void *user,
                                       uint64_t address,
                                       uint64_t size);

// A device whose memory two functions hand out. Addresses are numbers to this library: it never reads or writes there.
typedef struct strandline_device {
  // Given to both functions. Valid until the last pool over the slabs is destroyed; used from any thread.
  void *user;
  // Needed.
  strandline_slab_acquire acquire;
  // Needed.
  strandline_slab_release release;
  // Slabs start at multiples of this; a power of two.
  uint64_t alignment;
  // Sizes are multiples of this; a power of two.
  uint64_t granularity;
  // The largest slab in bytes.
  uint64_t max_slab_bytes;
} strandline_device;

// What a pool is to be. All zeros is a TLSF pool with the usual settings; a 0 is always the usual setting.
typedef struct strandline_pool_config {
  // STRANDLINE_TLSF or another.
  uint32_t kind;
  // The most slabs. 0: no limit.
  uint32_t max_slabs;
  // Bytes of an ordinary slab; of a generation of an arena. 0: 64 MiB.
  uint64_t slab_bytes;
  // The most bytes that may be reserved at once. 0: no limit.
  uint64_t budget_bytes;
  // Fixed-block pools: bytes of a block. Needed there.
  uint64_t block_bytes;
  // Fixed-block pools: the most blocks, up to 2^24. 0: 65536.
  uint32_t max_blocks;
  // Arenas: generations in the ring. 0: 2.
  uint32_t generations;
} strandline_pool_config;

// Names a pool. 0 is none.
typedef struct strandline_pool {
  // Not an address.
  uint64_t id;
} strandline_pool;

// What is asked of a pool.
typedef struct strandline_request {
  // Bytes, 1 at least.
  uint64_t size;
  // A power of two; 0 is any.
  uint64_t alignment;
  // What is known to have happened before the bytes will be used.
  struct strandline_frontier after;
  // Where the frontier that has to be waited for goes. May be null without STRANDLINE_MAY_WAIT.
  struct strandline_entry *wait;
  // The entries that there is room for; 255 are enough for any.
  uintptr_t wait_capacity;
  // STRANDLINE_MAY_WAIT and STRANDLINE_MAY_GROW, joined by `|`, or 0.
  uint32_t flags;
} strandline_request;

// Names a reservation. 0 is none.
typedef struct strandline_reservation {
  // Not an address.
  uint64_t id;
} strandline_reservation;

// The answer to a request.
typedef struct strandline_grant {
  // What became of it.
  enum strandline_outcome outcome;
  // Where ready bytes come from.
  enum strandline_origin origin;
  // What is given back later; 0 where nothing is reserved.
  struct strandline_reservation reservation;
  // The slab that holds the bytes, for strandline_pool_address.
  uint64_t slab;
  // Where they start in it.
  uint64_t offset;
  // As asked for.
  uint64_t size;
  // Entries in `wait`; with BUFFER_TOO_SMALL those that it needs room for.
  uintptr_t wait_count;
} strandline_grant;

// A pool's counters. Bytes of reservations have padding included.
typedef struct strandline_pool_stats {
  // Bytes in live reservations.
  uint64_t reserved_bytes;
  // Bytes that the live reservations asked for.
  uint64_t requested_bytes;
  // Bytes not reserved.
  uint64_t free_bytes;
  // Free bytes that something may still use.
  uint64_t pending_bytes;
  // Free bytes of which nobody knows: back after strandline_pool_quiesce.
  uint64_t tainted_bytes;
  // Bytes of slabs held.
  uint64_t committed_bytes;
  // The most that `reserved_bytes` has been.
  uint64_t peak_reserved_bytes;
  // The most that `committed_bytes` has been.
  uint64_t peak_committed_bytes;
  // Slabs held.
  uint64_t slabs;
  // Live reservations.
  uint64_t live;
  // Reservations made.
  uint64_t reserves;
  // Reservations given back.
  uint64_t releases;
  // Answers with fresh bytes.
  uint64_t fresh;
  // Answers with bytes that the requester is ordered after.
  uint64_t dominated;
  // Answers with bytes that nothing uses any more.
  uint64_t completed;
  // Answers that had to be waited for.
  uint64_t waited;
  // Requests that found nothing.
  uint64_t exhausted;
  // Requests that the budget did not allow.
  uint64_t over_budget;
} strandline_pool_stats;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// What was wrong with the last call on this thread that did not end with OK, in English. Never null; empty before there was one.
// The text stays until such a call happens again on this thread. Any thread.
const char *strandline_message(void);

// The axis of a device's queue. Any thread.
uint64_t strandline_axis_queue(uint8_t session,
                               uint8_t machine,
                               uint8_t device,
                               uint8_t queue);

// The axis of a host thread or of whatever else makes progress. Any thread.
uint64_t strandline_axis_host(uint8_t session,
                              uint8_t machine,
                              uint32_t ordinal);

// How two frontiers are ordered. Any thread.
//
// # Safety
// Pointers are null or point to what their types say.
enum strandline_status strandline_frontier_compare(const struct strandline_frontier *a,
                                                   const struct strandline_frontier *b,
                                                   enum strandline_order *order);

// What covers both: of each axis the later epoch. Writes at most `capacity` entries, sorted, and how many there are; with
// BUFFER_TOO_SMALL nothing but the count is written. FULL: more than 255 axes. Any thread.
//
// # Safety
// Pointers are null or point to what their types say; `entries` has room for `capacity` of them, and may be that of `a` or `b`.
enum strandline_status strandline_frontier_merge(const struct strandline_frontier *a,
                                                 const struct strandline_frontier *b,
                                                 struct strandline_entry *entries,
                                                 uintptr_t capacity,
                                                 uintptr_t *count);

// Makes a tracker for up to `axes` axes (1 to STRANDLINE_MAX_AXES). Any thread.
//
// # Safety
// `made` is null or a place for a handle.
enum strandline_status strandline_tracker_create(uintptr_t axes,
                                                 struct strandline_tracker *made);

// Gives a tracker back. Pools over it go on, and hear of no more progress; calls that wait on other threads go on, too. Any thread.
enum strandline_status strandline_tracker_destroy(struct strandline_tracker tracker);

// Adds an axis, at epoch 0. INVALID: it is there already. FULL: no room. Any thread.
enum strandline_status strandline_tracker_register(struct strandline_tracker tracker,
                                                   uint64_t axis);

// Tells that an axis has reached an epoch: its work up to there is done and visible. An earlier epoch changes nothing. Wakes
// exactly those whose waits are over. Any thread.
enum strandline_status strandline_tracker_advance(struct strandline_tracker tracker,
                                                  uint64_t axis,
                                                  uint64_t epoch);

// The epoch that an axis has reached; 0 for one that is not registered. Any thread.
//
// # Safety
// `epoch` is null or a place for a number.
enum strandline_status strandline_tracker_reached(struct strandline_tracker tracker,
                                                  uint64_t axis,
                                                  uint64_t *epoch);

// Tells that an axis has failed and makes no more progress: what waits for later epochs of it ends with ENDED. `why` is a text, or null.
// Any thread.
//
// # Safety
// `why` is null or points to a text that ends with 0.
enum strandline_status strandline_tracker_fail(struct strandline_tracker tracker,
                                               uint64_t axis,
                                               const char *why);

// Blocks until a frontier is reached, `nanoseconds` at most. TIMED_OUT: it is not. ENDED: it never will be. Any thread but one that has
// to advance the tracker for this wait to end.
//
// # Safety
// `frontier` is null or points to what its type says.
enum strandline_status strandline_tracker_wait(struct strandline_tracker tracker,
                                               const struct strandline_frontier *frontier,
                                               uint64_t nanoseconds);

// Makes a provider of this machine's memory. `capacity`: the most bytes at once, 0 for no limit. `elastic`: bytes of addresses that a
// TLSF pool reserves at once, into which memory is put where it is needed; 0 for slabs that are memory from the start. `flags`: STRANDLINE_HUGE_PAGES and the
// others, joined by `|`. Any thread.
//
// # Safety
// `made` is null or a place for a handle.
enum strandline_status strandline_slabs_host(uint64_t capacity,
                                             uint64_t elastic,
                                             uint32_t flags,
                                             struct strandline_slabs *made);

// Makes a provider of a device's memory. The structure is copied. Any thread.
//
// # Safety
// Pointers are null or point to what their types say; the functions do what strandline_device says.
enum strandline_status strandline_slabs_device(const struct strandline_device *device,
                                               struct strandline_slabs *made);

// Gives a provider back. Pools over it keep it until they are destroyed. Any thread.
enum strandline_status strandline_slabs_destroy(struct strandline_slabs slabs);

// Makes a pool over slabs and a tracker; it keeps both until it is destroyed. `config` may be null for all zeros. Any thread.
//
// # Safety
// Pointers are null or point to what their types say.
enum strandline_status strandline_pool_create(struct strandline_slabs slabs,
                                              struct strandline_tracker tracker_of,
                                              const struct strandline_pool_config *config,
                                              struct strandline_pool *made);

// Gives a pool back with its slabs, whatever its freed blocks still wait for. IN_USE: it has live reservations, and stays. Any thread, while no
// other uses the pool.
enum strandline_status strandline_pool_destroy(struct strandline_pool pool);

// Looks for memory that the requester may use. OK with outcome EXHAUSTED or OVER_BUDGET reserves nothing. Never blocks, but for the system
// or the device where the pool grows. Any thread, several at once.
//
// # Safety
// Pointers are null or point to what their types say; `wait` has room for `wait_capacity` entries.
enum strandline_status strandline_acquire(struct strandline_pool pool,
                                          const struct strandline_request *request,
                                          struct strandline_grant *grant);

// Gives a reservation back, whose last use is over when `death` is reached; null or no entries: nothing uses it any more. The handle is unknown from
// then on, and the same call again answers UNKNOWN_HANDLE. Never blocks. Any thread, several at once.
//
// # Safety
// `death` is null or points to what its type says.
enum strandline_status strandline_release(struct strandline_pool pool,
                                          struct strandline_reservation reservation,
                                          const struct strandline_frontier *death);

// Gives a reservation back of which nobody knows when its last use is over: its bytes are used again after strandline_pool_quiesce. Any thread.
enum strandline_status strandline_release_unknown(struct strandline_pool pool,
                                                  struct strandline_reservation reservation);

// Gives a reservation back that was not used: its bytes wait for exactly what they waited for before. Any thread.
enum strandline_status strandline_cancel(struct strandline_pool pool,
                                         struct strandline_reservation reservation);

// The address of `size` bytes at `offset` of a slab, as a grant has them. Host memory may be read and written there while the
// reservation is live; a device's address is the device's. INVALID: no such slab, or not in it. Any thread.
//
// # Safety
// `address` is null or a place for a number.
enum strandline_status strandline_pool_address(struct strandline_pool pool,
                                               uint64_t slab,
                                               uint64_t offset,
                                               uint64_t size,
                                               uint64_t *address);

// Looks at the axes that freed blocks wait for, so that a later acquire need not. Any thread.
enum strandline_status strandline_pool_poll(struct strandline_pool pool);

// Tells that the device does nothing any more: all freed bytes may be used again. Any thread.
enum strandline_status strandline_pool_quiesce(struct strandline_pool pool);

// Gives empty slabs back and says how many bytes that were. `bytes` may be null. Any thread.
//
// # Safety
// `bytes` is null or a place for a number.
enum strandline_status strandline_pool_trim(struct strandline_pool pool,
                                            uint64_t *bytes);

// The counters now. Any thread.
//
// # Safety
// `stats` is null or a place for them.
enum strandline_status strandline_pool_counters(struct strandline_pool pool,
                                                struct strandline_pool_stats *stats);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* STRANDLINE_H */
