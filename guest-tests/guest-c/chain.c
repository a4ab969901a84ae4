// A guest in C: a chain of transient buffers on a queue, checked byte by byte.
//
//   round r:   alloca a ─ write pattern(r) to a ─ alloca b ─ copy a to b ─ dealloca a ─ read b ─ dealloca b
//                                                                                       │
//              next round ◀── compare ◀── take the bytes ◀── wait, asynchronously ◀─────┘
//
// Arguments: BYTES ROUNDS. It shows that the world `guest` asks for nothing that only Rust has: resources are handles, outcomes
// are tagged unions, and a wait returns to the host's event loop and goes on in a callback. Before the rounds it asks for what
// it cannot have, and checks that the answers are values.

#include "guest.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef strandline_substrate_device_frontier_t frontier_t;
typedef strandline_substrate_device_request_t request_t;
typedef strandline_substrate_device_slice_t slice_t;

// What a callback finds again. One task runs at a time.
static struct {
  uint64_t bytes, rounds, round;
  strandline_substrate_device_own_pool_t pool;
  strandline_substrate_device_own_queue_t queue;
  // The round's readback, and what is waited for: both must live until the wait has returned.
  strandline_substrate_device_own_readback_t readback;
  strandline_substrate_device_entry_t done;
  strandline_substrate_waits_result_void_wait_error_t waited;
  guest_waitable_set_t set;
  bool has_pool, has_queue, has_readback, has_set;
} chain;

static const frontier_t nothing = {.ptr = NULL, .len = 0};

// Gives everything back and ends the task.
static guest_callback_code_t end(bool failed, const char *what) {
  if (chain.has_readback) strandline_substrate_device_readback_drop_own(chain.readback);
  if (chain.has_queue) strandline_substrate_device_queue_drop_own(chain.queue);
  if (chain.has_pool) strandline_substrate_pools_pool_drop_own(chain.pool);
  if (chain.has_set) guest_waitable_set_drop(chain.set);
  guest_result_string_string_t result = {.is_err = failed};
  guest_string_dup(failed ? &result.val.err : &result.val.ok, what);
  exports_guest_run_return(result);
  return GUEST_CALLBACK_CODE_EXIT;
}

static uint8_t pattern(uint64_t round, uint64_t at) { return (uint8_t)(round * 31 + at * 7 + 1); }

static slice_t all_of(strandline_substrate_device_own_buffer_t buffer) {
  slice_t slice = {.offset = 0, .len = chain.bytes};
  slice.memory.tag = STRANDLINE_SUBSTRATE_DEVICE_MEMORY_TRANSIENT;
  slice.memory.val.transient = strandline_substrate_device_borrow_buffer(buffer);
  return slice;
}

static bool alloca_on_queue(strandline_substrate_device_submitted_alloca_t *made) {
  strandline_substrate_device_queue_error_t error;
  request_t request = {.size = chain.bytes, .alignment = 256, .after = nothing};
  request.may = STRANDLINE_SUBSTRATE_POOLS_PERMISSIONS_WAIT | STRANDLINE_SUBSTRATE_POOLS_PERMISSIONS_GROW;
  return strandline_substrate_device_method_queue_alloca(strandline_substrate_device_borrow_queue(chain.queue),
                                                         strandline_substrate_pools_borrow_pool(chain.pool), &request, made,
                                                         &error);
}

static bool dealloca_on_queue(strandline_substrate_device_own_buffer_t buffer) {
  strandline_substrate_device_dealloca_refusal_t refusal;
  strandline_substrate_device_epoch_t epoch;
  frontier_t wait = nothing;
  return strandline_substrate_device_method_queue_dealloca(strandline_substrate_device_borrow_queue(chain.queue), buffer, &wait,
                                                           &epoch, &refusal);
}

// Submits a round and waits for its bytes; true when they are there already. NULL in `wrong`, or what went wrong.
static bool submit(const char **wrong) {
  strandline_substrate_device_borrow_queue_t queue = strandline_substrate_device_borrow_queue(chain.queue);
  strandline_substrate_device_submitted_alloca_t a, b;
  strandline_substrate_device_queue_error_t error;
  strandline_substrate_device_epoch_t epoch;
  frontier_t wait = nothing;
  *wrong = NULL;
  if (!alloca_on_queue(&a)) return *wrong = "the first alloca was refused", false;
  guest_list_u8_t bytes = {.ptr = malloc(chain.bytes), .len = chain.bytes};
  if (!bytes.ptr) return *wrong = "out of the guest's memory", false;
  for (uint64_t at = 0; at < chain.bytes; at++) bytes.ptr[at] = pattern(chain.round, at);
  slice_t target = all_of(a.buffer);
  bool written = strandline_substrate_device_method_queue_write(queue, &target, &bytes, &wait, &epoch, &error);
  free(bytes.ptr);
  if (!written) return *wrong = "the write was refused", false;
  if (!alloca_on_queue(&b)) return *wrong = "the second alloca was refused", false;
  slice_t from = all_of(a.buffer), to = all_of(b.buffer);
  if (!strandline_substrate_device_method_queue_copy(queue, &from, &to, &wait, &epoch, &error))
    return *wrong = "the copy was refused", false;
  if (!dealloca_on_queue(a.buffer)) return *wrong = "the first dealloca was refused", false;
  slice_t source = all_of(b.buffer);
  if (!strandline_substrate_device_method_queue_read(queue, &source, &wait, &chain.readback, &error))
    return *wrong = "the read was refused", false;
  chain.has_readback = true;
  if (!dealloca_on_queue(b.buffer)) return *wrong = "the second dealloca was refused", false;
  chain.done.axis = strandline_substrate_device_method_queue_axis(queue);
  chain.done.epoch =
      strandline_substrate_device_method_readback_epoch(strandline_substrate_device_borrow_readback(chain.readback));
  frontier_t done = {.ptr = &chain.done, .len = 1};
  guest_subtask_status_t status = strandline_substrate_waits_wait(done, &chain.waited);
  if (GUEST_SUBTASK_STATE(status) == GUEST_SUBTASK_RETURNED) return true;
  guest_waitable_join(GUEST_SUBTASK_HANDLE(status), chain.set);
  return false;
}

// Takes the round's bytes and compares them.
static const char *check(void) {
  if (chain.waited.is_err) return "the wait failed";
  guest_option_list_u8_t bytes;
  strandline_substrate_device_queue_error_t error;
  strandline_substrate_device_borrow_readback_t readback = strandline_substrate_device_borrow_readback(chain.readback);
  if (!strandline_substrate_device_method_readback_take(readback, &bytes, &error)) return "the readback failed";
  strandline_substrate_device_readback_drop_own(chain.readback);
  chain.has_readback = false;
  if (!bytes.is_some) return "the epoch is reached, the bytes are not there";
  const char *wrong = bytes.val.len == chain.bytes ? NULL : "another number of bytes came back";
  for (uint64_t at = 0; !wrong && at < chain.bytes; at++)
    if (bytes.val.ptr[at] != pattern(chain.round, at)) wrong = "other bytes came back";
  free(bytes.val.ptr);
  return wrong;
}

// Rounds, until one has to be waited for or all are done.
static guest_callback_code_t go_on(bool there) {
  for (;;) {
    if (there) {
      const char *wrong = check();
      if (wrong) return end(true, wrong);
      chain.round++;
    }
    if (chain.round == chain.rounds) return end(false, "every byte came back");
    const char *wrong;
    there = submit(&wrong);
    if (wrong) return end(true, wrong);
    if (!there) return GUEST_CALLBACK_CODE_WAIT(chain.set);
  }
}

// What cannot be had is a value, and nothing is held afterwards.
static const char *ask_too_much(void) {
  strandline_substrate_pools_borrow_pool_t pool = strandline_substrate_pools_borrow_pool(chain.pool);
  strandline_substrate_pools_acquired_t got;
  strandline_substrate_pools_pool_error_t error;
  request_t request = {.size = 0, .alignment = 1, .after = nothing, .may = STRANDLINE_SUBSTRATE_POOLS_PERMISSIONS_GROW};
  if (strandline_substrate_pools_method_pool_acquire(pool, &request, &got, &error)) return "0 bytes were given";
  if (error.tag != STRANDLINE_SUBSTRATE_TYPES_POOL_ERROR_ZERO_SIZE) return "0 bytes were refused for another reason";
  request = (request_t){.size = 256, .alignment = 3, .after = nothing};
  if (strandline_substrate_pools_method_pool_acquire(pool, &request, &got, &error)) return "an alignment of 3 was given";
  if (error.tag != STRANDLINE_SUBSTRATE_TYPES_POOL_ERROR_INVALID_ALIGNMENT) return "it was refused for another reason";
  // More and more, until the answer is that there is no more: pressure is an answer.
  enum { MOST = 1 << 16 };
  strandline_substrate_pools_own_reservation_t *held = malloc(MOST * sizeof *held);
  if (!held) return "out of the guest's memory";
  const char *wrong = "the pool has no end";
  size_t count = 0;
  while (count < MOST) {
    request = (request_t){.size = 4096, .alignment = 1, .after = nothing, .may = STRANDLINE_SUBSTRATE_POOLS_PERMISSIONS_GROW};
    if (!strandline_substrate_pools_method_pool_acquire(pool, &request, &got, &error)) {
      wrong = "pressure came as an error";
      break;
    }
    if (got.tag == STRANDLINE_SUBSTRATE_POOLS_ACQUIRED_READY) {
      held[count++] = got.val.ready.reservation;
      continue;
    }
    bool pressure = got.tag == STRANDLINE_SUBSTRATE_POOLS_ACQUIRED_EXHAUSTED ||
                    got.tag == STRANDLINE_SUBSTRATE_POOLS_ACQUIRED_OVER_BUDGET;
    wrong = pressure && count > 0 ? NULL : "another answer than pressure";
    break;
  }
  for (size_t i = 0; i < count; i++) {
    strandline_substrate_pools_death_t idle = {.tag = STRANDLINE_SUBSTRATE_TYPES_DEATH_IDLE};
    strandline_substrate_pools_refusal_t refusal;
    if (!strandline_substrate_pools_method_pool_release(pool, held[i], &idle, &refusal)) wrong = "a release was refused";
  }
  free(held);
  return wrong;
}

// A decimal number, 0 if it is none.
static uint64_t number(const guest_string_t *text) {
  uint64_t value = 0;
  for (size_t i = 0; i < text->len; i++) {
    if (text->ptr[i] < '0' || text->ptr[i] > '9' || value > (UINT64_MAX - 9) / 10) return 0;
    value = value * 10 + (text->ptr[i] - '0');
  }
  return value;
}

guest_callback_code_t exports_guest_run(guest_list_string_t *arguments) {
  memset(&chain, 0, sizeof chain);
  if (arguments->len == 2) {
    chain.bytes = number(&arguments->ptr[0]);
    chain.rounds = number(&arguments->ptr[1]);
  }
  guest_list_string_free(arguments);
  if (chain.bytes == 0 || chain.bytes > 1 << 24) return end(true, "usage: BYTES ROUNDS, BYTES from 1 to 16777216");

  strandline_substrate_device_list_own_pool_t pools;
  strandline_substrate_device_lent_pools(&pools);
  if (pools.len == 0) return end(true, "no pool was lent");
  chain.pool = pools.ptr[0];
  chain.has_pool = true;
  for (size_t i = 1; i < pools.len; i++) strandline_substrate_pools_pool_drop_own(pools.ptr[i]);
  free(pools.ptr);

  strandline_substrate_device_queue_error_t error;
  if (!strandline_substrate_device_open_queue(&chain.queue, &error)) return end(true, "no queue was opened");
  chain.has_queue = true;
  const char *wrong = ask_too_much();
  if (wrong) return end(true, wrong);
  chain.set = guest_waitable_set_new();
  chain.has_set = true;
  return go_on(false);
}

guest_callback_code_t exports_guest_run_callback(guest_event_t *event) {
  if (event->event != GUEST_EVENT_SUBTASK) return GUEST_CALLBACK_CODE_WAIT(chain.set);
  if (GUEST_SUBTASK_STATE(event->code) != GUEST_SUBTASK_RETURNED) return GUEST_CALLBACK_CODE_WAIT(chain.set);
  guest_waitable_join(event->waitable, 0);
  guest_subtask_drop(event->waitable);
  return go_on(true);
}
