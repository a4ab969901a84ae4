//! Queues: what each rule means, one by one; the model over generated programs is in `model`.

use super::*;
use crate::pool::{Acquire, Pool};
use crate::pool_set::Registration;
use crate::test_pool::TestPool;
use crate::{Entry, sync::Mutex};
use core::sync::atomic::Ordering;

mod model;

const A: Axis = Axis::queue(0, 0);
const B: Axis = Axis::queue(0, 1);
const C: Axis = Axis::queue(0, 2);
const HOST: Axis = Axis::host(7);

/// Axes that advance when told to.
#[derive(Debug, Default)]
pub(super) struct Clock(Mutex<BTreeMap<Axis, Epoch>>);

impl Clock {
    pub(super) fn advance(&self, axis: Axis, epoch: Epoch) {
        let mut reached = self.0.lock();
        let reached = reached.entry(axis).or_default();
        *reached = epoch.max(*reached);
    }
}

impl Progress for Clock {
    fn reached(&self, axis: Axis) -> Epoch {
        self.0.lock().get(&axis).copied().unwrap_or(0)
    }
}

struct Setup {
    clock: Arc<Clock>,
    /// The pools, where they are test pools.
    pools: Vec<Arc<TestPool>>,
    queues: Queues,
}

/// Queues A, B and C over pools of these many units.
fn setup(units: &[usize]) -> Setup {
    let clock = Arc::new(Clock::default());
    let pool = |&units| Arc::new(TestPool::new(units, clock.clone()));
    let pools: Vec<_> = units.iter().map(pool).collect();
    let any = pools.iter().map(|pool| pool.clone() as Arc<dyn Pool>);
    Setup { queues: queues_over(any, &clock), clock: clock.clone(), pools }
}

fn queues_over(pools: impl Iterator<Item = Arc<dyn Pool>>, clock: &Arc<Clock>) -> Queues {
    let mut set = PoolSet::new();
    for pool in pools {
        set.add(pool, Registration::new()).unwrap();
    }
    let mut queues = Queues::new(Arc::new(set), clock.clone());
    for axis in [A, B, C] {
        queues.open(axis).unwrap();
    }
    queues
}

fn at(axis: Axis, epoch: Epoch) -> Frontier {
    Frontier::from_entry(axis, epoch)
}

impl Setup {
    fn alloca(&mut self, axis: Axis, size: u64) -> (BufferId, Epoch) {
        self.alloca_with(axis, &Request::new(size))
    }

    fn alloca_with(&mut self, axis: Axis, request: &Request<'_>) -> (BufferId, Epoch) {
        self.queues.alloca(axis, self.pools[0].id(), request).unwrap()
    }

    fn dealloca(&mut self, axis: Axis, id: BufferId) -> Epoch {
        self.queues.dealloca(axis, id, FrontierRef::EMPTY).unwrap()
    }

    fn advance(&mut self, axis: Axis, epoch: Epoch) {
        self.clock.advance(axis, epoch);
        self.queues.poll();
    }

    /// Events, shortened: `+` ready, `-` released, `!` failed, `#` queue failed.
    fn events(&mut self) -> Vec<(char, Option<BufferId>)> {
        self.queues
            .drain()
            .map(|event| match event {
                QueueEvent::Ready { buffer, .. } => ('+', Some(buffer)),
                QueueEvent::Released { buffer, .. } => ('-', Some(buffer)),
                QueueEvent::Failed { buffer, .. } => ('!', Some(buffer)),
                QueueEvent::QueueFailed { .. } => ('#', None),
            })
            .collect()
    }

    /// Reservations that are out.
    fn live(&self) -> u64 {
        self.queues.pools().poll();
        self.queues.pools().stats().pools.live
    }
}

#[test]
fn bytes_are_reused_in_the_order_of_one_queue_before_anything_ran() {
    let mut s = setup(&[1]);
    let (first, _) = s.alloca(A, 1);
    s.dealloca(A, first);
    let (second, epoch) = s.alloca(A, 1);
    assert_eq!(epoch, 3);
    assert_eq!(s.events(), [('+', Some(first)), ('-', Some(first)), ('+', Some(second))]);
    assert_eq!(s.queues.resolved(A), Some(3));
}

#[test]
fn another_queue_reuses_when_it_is_ordered_after_however_indirectly() {
    let mut s = setup(&[1]);
    let (first, _) = s.alloca(A, 1);
    s.dealloca(A, first);
    // C is ordered after B, B after A: that is enough.
    let b = s.queues.work(B, at(A, 2).as_ref()).unwrap();
    let (second, _) = s.alloca_with(C, &Request::new(1).after(at(B, b).as_ref()));
    assert_eq!(s.events(), [('+', Some(first)), ('-', Some(first)), ('+', Some(second))]);
    // B is not ordered after C's dealloca, so it is parked until that is reached.
    s.dealloca(C, second);
    let (third, _) = s.alloca(B, 1);
    assert_eq!(s.events(), [('-', Some(second))]);
    assert_eq!(s.queues.parked().map(|parked| parked.count).sum::<usize>(), 1);
    assert_eq!(s.queues.resolved(B), Some(1));
    s.advance(C, 2);
    assert_eq!(s.events(), [('+', Some(third))]);
    assert_eq!(s.queues.resolved(B), Some(2));
}

#[test]
fn a_permitted_wait_becomes_part_of_the_alloca() {
    let mut s = setup(&[1]);
    let (first, _) = s.alloca(A, 1);
    s.dealloca(A, first);
    let request = Request::new(1).or_wait();
    let (second, _) = s.alloca_with(B, &request.after(at(HOST, 3).as_ref()));
    let event = s.queues.drain().last().unwrap();
    let QueueEvent::Ready { buffer, axis: B, epoch: 1, wait, .. } = event else {
        panic!("{event:?}")
    };
    assert_eq!(buffer, second);
    assert_eq!(wait, Frontier::from_entries([Entry::new(A, 2), Entry::new(HOST, 3)]).unwrap());
    // What the pool added is known from then on: B may reuse what A freed before.
    s.dealloca(B, second);
    let (third, _) = s.alloca(B, 1);
    assert_eq!(s.events(), [('-', Some(second)), ('+', Some(third))]);
    // And it counts when an axis fails.
    s.queues.fail(A, &Failure::message("lost"));
    assert_eq!(s.events(), [('#', None), ('#', None), ('!', Some(third))]);
}

#[test]
fn no_one_overtakes_and_a_release_wakes_the_first() {
    let mut s = setup(&[4]);
    let (big, _) = s.alloca(A, 3);
    let (large, _) = s.alloca(B, 2);
    let (small, _) = s.alloca(C, 1);
    assert_eq!(s.events(), [('+', Some(big))]);
    // There is a unit free, but `large` is first.
    s.queues.poll();
    assert_eq!(s.events(), []);
    s.dealloca(A, big);
    assert_eq!(s.events(), [('-', Some(big))]);
    s.advance(A, 2);
    assert_eq!(s.events(), [('+', Some(large)), ('+', Some(small))]);
}

#[test]
fn another_release_of_the_pool_is_noticed_by_its_notification() {
    let mut s = setup(&[1]);
    let pool = s.pools[0].clone();
    let Acquire::Ready { reservation, .. } = pool.acquire(&Request::new(1)).unwrap() else {
        panic!("it is empty")
    };
    let (id, _) = s.alloca(A, 1);
    let parked = s.queues.parked().next().unwrap();
    assert_eq!((parked.pool, parked.count), (pool.id(), 1));
    assert!(!pool.notification().changed_since(parked.observed));
    pool.release(reservation, Death::Idle).unwrap();
    assert!(pool.notification().changed_since(parked.observed));
    s.queues.notify(pool.id()).unwrap();
    assert_eq!(s.events(), [('+', Some(id))]);
    assert_eq!(s.queues.parked().count(), 0);
}

#[test]
fn a_parked_alloca_never_waits_for_its_own_future() {
    let mut s = setup(&[1]);
    let (first, _) = s.alloca(A, 1);
    let (parked, _) = s.alloca_with(A, &Request::new(1).or_wait());
    // Behind it, in its own queue: decided at once, but no help to it, so kept from the pool.
    s.dealloca(A, first);
    assert_eq!(s.events(), [('+', Some(first)), ('-', Some(first))]);
    assert_eq!(s.queues.status(parked).unwrap(), BufferStatus::Waiting);
    assert_eq!((s.live(), s.queues.live()), (1, 1));
    s.queues.abandon(parked).unwrap();
    assert_eq!(s.events(), [('!', Some(parked))]);
    assert_eq!(s.live(), 0);
}

#[test]
fn nor_for_what_others_say_dies_in_its_future() {
    let mut s = setup(&[1]);
    let pool = s.pools[0].clone();
    let Acquire::Ready { reservation, .. } = pool.acquire(&Request::new(1)).unwrap() else {
        panic!("it is empty")
    };
    let (parked, epoch) = s.alloca_with(A, &Request::new(1).or_wait());
    pool.release(reservation, Death::After(at(A, epoch + 1).as_ref())).unwrap();
    s.queues.poll();
    assert_eq!(s.queues.status(parked).unwrap(), BufferStatus::Waiting);
    assert_eq!(pool.live(), 0, "what it may not wait for was given back");
    let asked = pool.asked.load(Ordering::Relaxed);
    let observed = s.queues.parked().next().unwrap().observed;
    assert!(!pool.notification().changed_since(observed), "it would wake itself");
    s.queues.poll();
    assert_eq!(pool.asked.load(Ordering::Relaxed), asked + 1, "asked with a wait once");
    pool.quiesce();
    s.queues.poll();
    assert_eq!(s.events(), [('+', Some(parked))]);
}

#[test]
fn merging_freed_neighbours_starves_nobody() {
    // Both units of a TLSF pool are freed on C, one before the parked alloca and one behind it. Joined they
    // would wait for C@3, which waits for what is parked.
    let mut s = model::setup_tlsf(crate::pool::tlsf::Coalescing::Readiness, [2, 1]);
    let pool = s.queues.pools().pools()[0].id();
    let request = Request::new(model::Pools::GRANULE).or_grow();
    let alloca = |s: &mut Setup, axis| s.queues.alloca(axis, pool, &request).unwrap().0;
    let [first, second] = [A, A].map(|axis| alloca(&mut s, axis));
    assert_eq!(s.dealloca(C, first), 1);
    let parked = alloca(&mut s, A);
    assert_eq!(s.dealloca(C, parked), 2);
    assert_eq!(s.dealloca(C, second), 3);
    assert_eq!(s.queues.status(parked).unwrap(), BufferStatus::Waiting);
    s.events();
    s.advance(C, 1);
    assert_eq!(s.events(), [('+', Some(parked)), ('-', Some(parked))]);
    assert_eq!(s.live(), 0);
}

#[test]
fn nor_for_it_by_way_of_another_queue() {
    let mut s = setup(&[2]);
    let (first, _) = s.alloca(B, 2);
    let (parked, epoch) = s.alloca_with(A, &Request::new(2).or_wait());
    assert!(matches!(s.queues.status(parked), Ok(BufferStatus::Waiting)));
    // B frees after A's parked alloca: a wait for B would close the circle.
    s.queues.dealloca(B, first, at(A, epoch).as_ref()).unwrap();
    assert!(matches!(s.queues.status(parked), Ok(BufferStatus::Waiting)));
    // Had B not waited for A, the same bytes would do.
    let mut s = setup(&[2]);
    let (first, _) = s.alloca(B, 2);
    let (parked, _) = s.alloca_with(A, &Request::new(2).or_wait());
    s.dealloca(B, first);
    assert_eq!(s.events(), [('+', Some(first)), ('-', Some(first)), ('+', Some(parked))]);
}

#[test]
fn nor_for_what_needs_memory_that_is_freed_behind_it() {
    let mut s = setup(&[1, 1]);
    let other = s.pools[1].id();
    let (first, _) = s.alloca(C, 1);
    let (second, _) = s.queues.alloca(A, other, &Request::new(1)).unwrap();
    let (parked, _) = s.alloca_with(A, &Request::new(1).or_wait());
    s.dealloca(A, second);
    // B's alloca needs what A frees behind its parked one; only then does B free `first`.
    let (needs, _) = s.queues.alloca(B, other, &Request::new(1)).unwrap();
    s.dealloca(B, first);
    assert_eq!(s.queues.status(parked).unwrap(), BufferStatus::Waiting);
    assert_eq!(s.queues.status(needs).unwrap(), BufferStatus::Waiting);
    // The program asks for more than there is. Something has to give.
    s.events();
    s.queues.abandon(needs).unwrap();
    assert_eq!(s.events(), [('!', Some(needs)), ('+', Some(parked))]);
}

#[test]
fn who_was_held_goes_to_the_end_of_the_line() {
    let mut s = setup(&[3]);
    let (first, _) = s.alloca(A, 2);
    let (held, _) = s.alloca_with(B, &Request::new(1).after(at(C, 1).as_ref()));
    let (large, _) = s.alloca(C, 2);
    // Admitted now, and there is a unit free; but `large` was admitted before.
    assert_eq!(s.queues.status(held).unwrap(), BufferStatus::Waiting);
    assert_eq!(s.queues.parked().next().unwrap().count, 2);
    s.dealloca(A, first);
    s.advance(A, 2);
    assert_eq!(
        s.events(),
        [('+', Some(first)), ('-', Some(first)), ('+', Some(large)), ('+', Some(held))]
    );
}

#[test]
fn a_parked_buffer_can_be_deallocated_on_any_queue() {
    let mut s = setup(&[1]);
    let (first, _) = s.alloca(A, 1);
    let (parked, alloca) = s.alloca(B, 1);
    let used = s.queues.work(C, at(B, alloca).as_ref()).unwrap();
    let end = s.queues.dealloca(C, parked, FrontierRef::EMPTY).unwrap();
    assert_eq!((used, end), (1, 2));
    assert_eq!(s.queues.resolved(C), Some(1));
    assert!(matches!(
        s.queues.dealloca(A, parked, FrontierRef::EMPTY),
        Err(QueueError::AlreadyDeallocated(_))
    ));
    s.dealloca(A, first);
    s.advance(A, 2);
    let events: Vec<_> = s.queues.drain().collect();
    let [.., QueueEvent::Ready { buffer, .. }, QueueEvent::Released { buffer: same, wait, .. }] =
        &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((*buffer, *same), (parked, parked));
    // The dealloca is ordered after the alloca although the caller did not say so.
    assert_eq!(*wait, at(B, alloca));
    assert_eq!(s.queues.resolved(C), Some(2));
    assert_eq!((s.live(), s.queues.live()), (0, 0));
}

#[test]
fn what_waits_for_the_future_is_held_until_that_is_submitted() {
    let mut s = setup(&[1]);
    let (first, epoch) = s.alloca_with(A, &Request::new(1).after(at(B, 1).as_ref()));
    let (second, _) = s.alloca(A, 1);
    assert_eq!(epoch, 1);
    assert_eq!((s.queues.resolved(A), s.queues.submitted(A)), (Some(0), Some(2)));
    assert_eq!(s.pools[0].asked.load(Ordering::Relaxed), 0);
    // B's own alloca comes before those that wait for it, although they were called first.
    let (before, _) = s.alloca(B, 1);
    assert_eq!(s.events(), [('+', Some(before))]);
    s.dealloca(B, before);
    s.advance(B, 2);
    assert_eq!(s.events(), [('-', Some(before)), ('+', Some(first))]);
    assert_eq!(s.queues.resolved(A), Some(1));
    s.dealloca(A, second);
    s.dealloca(C, first);
    s.advance(C, 1);
    assert_eq!((s.live(), s.queues.live()), (0, 0));
}

#[test]
fn an_operation_cannot_wait_for_itself() {
    let mut s = setup(&[1]);
    let cycle = |result: Result<Epoch, QueueError>| matches!(result, Err(QueueError::Cycle { .. }));
    assert!(cycle(s.queues.work(A, at(A, 1).as_ref())));
    assert_eq!(s.queues.work(A, at(B, 2).as_ref()).unwrap(), 1);
    assert_eq!(s.queues.work(C, at(A, 2).as_ref()).unwrap(), 1);
    // B@1 comes before B@2, for which A@1 waits, which comes before A@2, for which C@1 waits.
    assert!(cycle(s.queues.work(B, at(C, 1).as_ref())));
    assert!(cycle(s.queues.work(B, at(A, 1).as_ref())));
    assert_eq!(s.queues.work(B, FrontierRef::EMPTY).unwrap(), 1);
    assert_eq!(s.queues.work(B, FrontierRef::EMPTY).unwrap(), 2);
    assert_eq!(s.queues.resolved(A), Some(1));
    assert_eq!(s.queues.work(A, FrontierRef::EMPTY).unwrap(), 2);
    assert_eq!(s.queues.resolved(C), Some(1));
}

#[test]
fn failure_takes_all_that_depends_and_gives_memory_back() {
    let mut s = setup(&[8]);
    let (done, _) = s.alloca(A, 1);
    s.advance(A, 1);
    let (seen, _) = s.alloca(A, 1);
    assert_eq!(s.events(), [('+', Some(done)), ('+', Some(seen))]);
    let (unseen, epoch) = s.alloca(A, 1);
    let (dependent, _) = s.alloca_with(B, &Request::new(1).after(at(A, epoch).as_ref()));
    let (other, _) = s.alloca(C, 1);
    // A dealloca on the failing queue, of a buffer that is none of its own.
    s.queues.dealloca(B, other, FrontierRef::EMPTY).unwrap();
    let (big, _) = s.alloca(C, 6);
    s.queues.fail(A, &Failure::message("device lost"));

    let mut failed = Vec::new();
    let mut broken = Vec::new();
    let mut ready = Vec::new();
    for event in s.queues.drain() {
        match event {
            QueueEvent::Failed { buffer, cause: Cause::Axis { axis: A, .. }, .. } => {
                failed.push(buffer)
            }
            QueueEvent::QueueFailed { axis, from, origin: A, .. } => broken.push((axis, from)),
            QueueEvent::Ready { buffer, .. } => ready.push(buffer),
            QueueEvent::Released { buffer, .. } => assert_eq!(buffer, other),
            other => panic!("{other:?}"),
        }
    }
    failed.sort_unstable();
    assert_eq!(failed, [seen, unseen, dependent]);
    assert_eq!(broken, [(A, 2), (B, 1)]);
    // `other` was released before; its bytes wait for B, which never comes.
    assert_eq!(ready, [other]);
    // Only `seen` leaves bytes of unknown death: the host never heard of the others.
    assert_eq!((s.live(), s.pools[0].tainted()), (1, 1));
    assert!(matches!(s.queues.status(big), Ok(BufferStatus::Waiting)));

    // Nothing more on what has failed, or after it.
    for result in [
        s.queues.work(A, FrontierRef::EMPTY),
        s.queues.work(C, at(A, 2).as_ref()),
        s.queues.dealloca(B, done, FrontierRef::EMPTY),
    ] {
        assert!(matches!(result, Err(QueueError::Failed { axis: A, .. })), "{result:?}");
    }
    // What had completed is still there, for another queue to end; so are the ids of the failed.
    assert!(matches!(s.queues.status(done), Ok(BufferStatus::Ready(_))));
    s.queues.dealloca(C, done, at(A, 1).as_ref()).unwrap();
    s.queues.dealloca(C, seen, FrontierRef::EMPTY).unwrap();
    s.queues.abandon(unseen).unwrap();
    s.queues.abandon(dependent).unwrap();
    assert_eq!(s.events(), [('-', Some(done)), ('-', Some(seen))]);
    s.queues.shutdown(Death::Idle);
    assert_eq!(s.events(), [('!', Some(big))]);
    assert_eq!((s.live(), s.queues.live()), (0, 0));
    assert!(matches!(s.queues.work(C, FrontierRef::EMPTY), Err(QueueError::Shutdown)));
}

#[test]
fn a_buffer_whose_dealloca_fails_is_given_up() {
    let mut s = setup(&[2]);
    let (bound, _) = s.alloca(A, 1);
    let (also, _) = s.alloca(A, 1);
    let (parked, _) = s.alloca(A, 1);
    // One dealloca is held, one only waits for memory; their queue fails.
    s.queues.dealloca(B, parked, FrontierRef::EMPTY).unwrap();
    s.queues.dealloca(B, bound, at(C, 1).as_ref()).unwrap();
    s.queues.fail(B, &Failure::message("lost"));
    assert_eq!(
        s.events(),
        [('+', Some(bound)), ('+', Some(also)), ('#', None), ('!', Some(bound))]
    );
    assert_eq!(s.pools[0].tainted(), 1);
    s.dealloca(C, also);
    s.advance(C, 1);
    // The alloca goes on: A is well. Its end is not ordered by anything any more.
    assert_eq!(s.events(), [('-', Some(also)), ('+', Some(parked)), ('!', Some(parked))]);
    assert_eq!((s.live(), s.pools[0].tainted(), s.queues.live()), (0, 2, 0));
}

#[test]
fn what_comes_before_a_failure_goes_on() {
    let mut s = setup(&[2]);
    let (first, _) = s.alloca(A, 2);
    // Parked behind `first`: its memory comes after the failure that is told of below.
    let (second, epoch) = s.alloca(A, 1);
    assert_eq!(s.queues.work_on(A, FrontierRef::EMPTY, [second]).unwrap(), 3);
    let last = s.dealloca(A, second);
    let before = s.queues.work(B, at(A, 3).as_ref()).unwrap();
    let behind = s.queues.work(B, at(A, last).as_ref()).unwrap();
    s.events();
    s.queues.fail_from(A, last, &Failure::message("the last"));
    let broken: Vec<_> = s
        .queues
        .drain()
        .map(|event| match event {
            QueueEvent::QueueFailed { axis, from, .. } => (axis, from),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(broken, [(A, last), (B, behind)]);
    assert_eq!((before, behind), (1, 2));
    assert!(matches!(s.queues.status(second), Ok(BufferStatus::Waiting)));
    s.queues.dealloca(C, first, at(A, 1).as_ref()).unwrap();
    s.advance(A, 1);
    s.advance(C, 1);
    assert_eq!(s.events().first(), Some(&('-', Some(first))));
    assert_eq!(s.queues.resolved(A), Some(last));
    assert!(epoch < last);
    // What has been reached does not fail, whatever is said.
    s.advance(C, 3);
    s.queues.fail_from(C, 1, &Failure::message("late"));
    let from = s.queues.drain().find_map(|event| match event {
        QueueEvent::QueueFailed { axis: C, from, .. } => Some(from),
        _ => None,
    });
    assert_eq!(from, Some(4));
}

#[test]
fn a_buffer_is_not_used_after_its_end() {
    let mut s = setup(&[4]);
    let (buffer, epoch) = s.alloca(A, 1);
    let never = BufferId::from_bits(77);
    // One that was never given out, and one of others, whose number is the same.
    let foreign = setup(&[4]).alloca(A, 1).0;
    assert_eq!(foreign.to_bits() as u64, buffer.to_bits() as u64);
    for never in [never, foreign] {
        let is_unknown = |error| matches!(error, QueueError::UnknownBuffer(id) if id == never);
        assert!(is_unknown(s.queues.work_on(A, FrontierRef::EMPTY, [buffer, never]).unwrap_err()));
        assert!(is_unknown(s.queues.dealloca(A, never, FrontierRef::EMPTY).unwrap_err()));
        assert!(is_unknown(s.queues.status(never).unwrap_err()));
        assert!(is_unknown(s.queues.abandon(never).unwrap_err()));
    }
    assert_eq!(s.queues.work_on(A, FrontierRef::EMPTY, [buffer]).unwrap(), epoch + 1);
    // Its end comes after what B does first, which is yet to be submitted: that may still use it, and nobody else.
    s.queues.dealloca(A, buffer, at(B, 1).as_ref()).unwrap();
    let ended = |result| matches!(result, Err(QueueError::AlreadyDeallocated(id)) if id == buffer);
    assert!(ended(s.queues.work_on(A, FrontierRef::EMPTY, [buffer])));
    assert!(ended(s.queues.work_on(C, FrontierRef::EMPTY, [buffer])));
    assert_eq!(s.queues.work_on(B, at(A, epoch).as_ref(), [buffer]).unwrap(), 1);
    assert!(ended(s.queues.work_on(B, FrontierRef::EMPTY, [buffer])));
    // One that waits for its memory may be used, one that was given up not.
    let (waits, _) = s.alloca(A, 4);
    assert!(s.queues.work_on(A, FrontierRef::EMPTY, [waits]).is_ok());
    let (given_up, _) = s.alloca(C, 1);
    let had_memory = matches!(s.queues.status(given_up), Ok(BufferStatus::Ready(_)));
    s.queues.abandon(given_up).unwrap();
    let used = s.queues.work_on(C, FrontierRef::EMPTY, [given_up]);
    assert_eq!(matches!(used, Err(QueueError::AlreadyDeallocated(_))), had_memory, "{used:?}");
    // Nothing was given out to those that were refused.
    assert_eq!(s.queues.submitted(B), Some(1));
}

#[test]
fn a_provider_that_breaks_fails_one_alloca() {
    let mut s = setup(&[1]);
    s.pools[0].failing.store(1, Ordering::Relaxed);
    let refused = s.queues.alloca(A, s.pools[0].id(), &Request::new(1));
    assert!(matches!(refused, Err(QueueError::Pool(PoolError::Provider(_)))));
    assert_eq!(s.queues.submitted(A), Some(0), "nothing was submitted");
    let (first, _) = s.alloca(A, 1);
    let (second, _) = s.alloca(A, 1);
    let (third, _) = s.alloca(A, 1);
    s.pools[0].failing.store(1, Ordering::Relaxed);
    s.dealloca(B, first);
    s.advance(B, 1);
    assert_eq!(
        s.events(),
        [('+', Some(first)), ('-', Some(first)), ('!', Some(second)), ('+', Some(third))]
    );
    // The id stays valid for the dealloca that may be on its way; then it is gone.
    s.dealloca(A, second);
    assert_eq!(s.events(), [('-', Some(second))]);
    assert!(matches!(s.queues.status(second), Err(QueueError::AlreadyDeallocated(_))));
}

#[test]
fn queues_say_why_they_stand_still() {
    let mut s = setup(&[4]);
    let (all, epoch) = s.alloca(A, 4);
    assert_eq!(s.queues.frontier(A).unwrap(), at(A, epoch));
    assert!(matches!(s.queues.frontier(HOST), Err(QueueError::UnknownQueue(HOST))));
    assert!(s.queues.parked().next().is_none() && s.queues.held().next().is_none());
    let (parked, first) = s.alloca(B, 3);
    s.alloca(B, 1);
    let told: Vec<_> = s.queues.parked().collect();
    assert_eq!(told.len(), 1);
    let Parked { pool, count, first: buffer, size, at: entry, .. } = told[0];
    assert_eq!((pool, count, buffer), (s.pools[0].id(), 2, parked));
    assert_eq!((size, entry), (3, Entry::new(B, first)));
    // C waits for what A has not submitted.
    let held = s.queues.work(C, at(A, epoch + 1).as_ref()).unwrap();
    s.queues.work(C, FrontierRef::EMPTY).unwrap();
    let told: Vec<_> = s.queues.held().collect();
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].at, told[0].count), (Entry::new(C, held), 2));
    assert_eq!(told[0].waits_for, Entry::new(A, epoch + 1));
    // What C waits for is submitted; B's bytes are still used by A.
    let freed = s.dealloca(A, all);
    assert!(s.queues.held().next().is_none() && s.queues.parked().next().is_some());
    s.advance(A, freed);
    assert!(s.queues.parked().next().is_none());
}

#[test]
fn wrong_names_are_refused() {
    let mut s = setup(&[1]);
    let pool = s.pools[0].id();
    let request = Request::new(1);
    let stranger = BufferId::from_bits(5 << 32 | 3);
    let foreign = PoolId::next();
    assert!(matches!(s.queues.open(A), Err(QueueError::DuplicateQueue(A))));
    assert!(matches!(s.queues.alloca(HOST, pool, &request), Err(QueueError::UnknownQueue(HOST))));
    assert!(matches!(s.queues.alloca(A, foreign, &request), Err(QueueError::UnknownPool(_))));
    assert!(matches!(s.queues.notify(foreign), Err(QueueError::UnknownPool(_))));
    assert!(matches!(
        s.queues.dealloca(A, stranger, FrontierRef::EMPTY),
        Err(QueueError::UnknownBuffer(_))
    ));
    assert!(matches!(s.queues.abandon(stranger), Err(QueueError::UnknownBuffer(_))));
    for (request, want) in [
        (Request::new(0), PoolError::ZeroSize),
        (Request::new(2), PoolError::TooLarge { size: 2, max: 1 }),
        (Request::new(1).aligned(3), PoolError::InvalidAlignment { alignment: 3 }),
    ] {
        let refused = s.queues.alloca(A, pool, &request);
        assert!(matches!(refused, Err(QueueError::Pool(error)) if error == want));
    }
    let (id, _) = s.alloca(A, 1);
    s.dealloca(A, id);
    assert!(matches!(
        s.queues.dealloca(A, id, FrontierRef::EMPTY),
        Err(QueueError::AlreadyDeallocated(_))
    ));
    assert_eq!(s.queues.submitted(A), Some(2));
    let wide =
        Frontier::from_entries((0..255).map(|i| Entry::new(Axis::host(i).with_session(1), 1)))
            .unwrap();
    let (id, _) = s.alloca(A, 1);
    assert!(matches!(s.queues.dealloca(B, id, wide.as_ref()), Err(QueueError::TooManyAxes)));
    assert_eq!(s.dealloca(B, id), 1);
}

#[test]
fn a_frontier_too_wide_to_be_known_whole_is_known_in_part() {
    let mut s = setup(&[1]);
    let wide =
        Frontier::from_entries((0..255).map(|i| Entry::new(Axis::host(i).with_session(1), 1)))
            .unwrap();
    let (first, _) = s.alloca_with(A, &Request::new(1).after(wide.as_ref()));
    s.dealloca(A, first);
    let (second, _) = s.alloca_with(A, &Request::new(1).after(at(HOST, 1).as_ref()));
    let (third, _) = s.alloca_with(B, &Request::new(1).after(at(A, 3).as_ref()));
    assert_eq!(s.events(), [('+', Some(first)), ('-', Some(first)), ('+', Some(second))]);
    s.dealloca(A, second);
    s.advance(A, 4);
    assert_eq!(s.events(), [('-', Some(second)), ('+', Some(third))]);
}

#[test]
fn a_poll_asks_once_however_many_are_parked() {
    let mut s = setup(&[1]);
    let (first, _) = s.alloca(A, 1);
    for _ in 0..10_000 {
        s.alloca(B, 1);
    }
    let asked = s.pools[0].asked.load(Ordering::Relaxed);
    assert_eq!(asked, 2, "only the first in line asks");
    s.queues.poll();
    assert_eq!(s.pools[0].asked.load(Ordering::Relaxed), asked + 1);
    assert_eq!(s.queues.parked().next().unwrap().count, 10_000);
    s.dealloca(A, first);
    s.advance(A, 2);
    assert_eq!(s.queues.parked().next().unwrap().count, 9_999);
}

#[test]
fn dropping_the_queues_gives_everything_back() {
    let mut s = setup(&[3]);
    s.alloca(A, 1);
    s.events();
    s.alloca(A, 1);
    s.alloca(A, 2);
    assert_eq!(s.live(), 2);
    drop(s.queues);
    assert_eq!((s.pools[0].live(), s.pools[0].tainted()), (0, 1));
}

#[test]
fn queues_open_where_their_axis_is() {
    let clock = Arc::new(Clock::default());
    clock.advance(A, 41);
    let mut queues = Queues::new(Arc::new(PoolSet::new()), clock);
    queues.open(A).unwrap();
    assert_eq!(queues.work(A, FrontierRef::EMPTY).unwrap(), 42);
    queues.fail(B, &Failure::message("lost"));
    assert!(matches!(queues.open(B), Err(QueueError::Failed { .. })));
}
