//! Queues: memory allocated, used and freed in the order of work.

use crate::check::{Wrong, check, got};
use crate::world::{Answer, Ask, Death, Entry, Memory, Refusal, Slice, Status, World};
use alloc::vec;
use alloc::vec::Vec;

const SLAB: u64 = 1 << 16;

const fn part<'a, W: World>(buffer: &'a W::Buffer, offset: u64, len: u64) -> Slice<'a, W> {
    Slice { memory: Memory::Transient(buffer), offset, len }
}

/// Reads a range and waits for it.
async fn bytes<W: World>(
    world: &mut W,
    queue: &W::Queue,
    source: &Slice<'_, W>,
    wait: &[Entry],
) -> Result<Vec<u8>, Wrong> {
    let readback = got!(world.read(queue, source, wait));
    let epoch = world.epoch_of(&readback);
    let done = world.at(queue, epoch);
    got!(world.finish(&[done]).await);
    let found = got!(world.take(&readback), Ok(Some(found)) => found);
    check!(got!(world.take(&readback)).is_none(), "taken");
    Ok(found)
}

pub(super) async fn queue_order<W: World>(world: &mut W) -> Result<(), Wrong> {
    let queue = got!(world.open_queue());
    let ask = Ask::new(64).or_grow();
    let (buffer, first) = got!(world.alloca(&queue, 0, &ask));
    let mut last = first;
    for value in 1..=9 {
        let epoch = got!(world.fill(&queue, &part(&buffer, 0, 64), value, &[]));
        check!(epoch == last + 1, epoch, last);
        last = epoch;
    }
    let epoch = got!(world.write(&queue, &part(&buffer, 8, 4), b"tide", &[]));
    check!(epoch == last + 1, epoch);
    let around = 2 * world.grain();
    let found = bytes(world, &queue, &part(&buffer, 8 - around, 4 + 2 * around), &[]).await?;
    let edge = vec![9; around as usize];
    check!(found == [&edge, &b"tide"[..], &edge].concat(), found);
    check!(world.status(&buffer) == Status::Ready(first), world.status(&buffer));
    let end = got!(world.dealloca(&queue, buffer, &[]));
    let done = world.at(&queue, end);
    got!(world.finish(&[done]).await);
    check!(world.reached(done.axis) >= end, end);
    Ok(())
}

/// All of the memory, again and again, while the host keeps the queue from running at all.
pub(super) async fn queue_reuse_before_completion<W: World>(world: &mut W) -> Result<(), Wrong> {
    let queue = got!(world.open_queue());
    let gate = world.submit(0);
    let held_up = got!(world.barrier(&queue, &[gate]));
    let ask = Ask::new(SLAB).or_grow();
    let mut last = held_up;
    for value in 1..=5 {
        let (buffer, _) = got!(world.alloca(&queue, 0, &ask));
        got!(world.fill(&queue, &part(&buffer, 0, SLAB), value, &[]));
        check!(matches!(world.status(&buffer), Status::Ready(_)), world.status(&buffer), value);
        last = got!(world.dealloca(&queue, buffer, &[]));
    }
    let point = world.at(&queue, held_up);
    check!(world.reached(point.axis) < held_up, "nothing has run");
    world.complete(gate);
    let done = world.at(&queue, last);
    got!(world.finish(&[done]).await);
    Ok(())
}

pub(super) async fn queue_alloca_in_line<W: World>(world: &mut W) -> Result<(), Wrong> {
    let [first, second] = [got!(world.open_queue()), got!(world.open_queue())];
    let gate = world.submit(0);
    let ask = Ask::new(SLAB).or_grow();
    let (a, _) = got!(world.alloca(&first, 0, &ask));
    // The other queue waits in line: for a release that its own order says nothing of.
    let (b, at_b) = got!(world.alloca(&second, 0, &ask));
    check!(world.status(&b) == Status::Waiting, world.status(&b));
    got!(world.write(&second, &part(&b, 0, 4), b"tide", &[]));
    got!(world.fill(&first, &part(&a, 0, SLAB), 7, &[gate]));
    got!(world.dealloca(&first, a, &[]));
    check!(world.status(&b) == Status::Waiting, world.status(&b));
    world.complete(gate);
    let found = bytes(world, &second, &part(&b, 0, 4), &[]).await?;
    check!(found == b"tide", found);
    check!(world.status(&b) == Status::Ready(at_b), world.status(&b));
    got!(world.dealloca(&second, b, &[]));
    Ok(())
}

pub(super) async fn queue_copies_between_queues<W: World>(world: &mut W) -> Result<(), Wrong> {
    let [first, second] = [got!(world.open_queue()), got!(world.open_queue())];
    let ask = Ask::new(4096).or_grow();
    let (a, _) = got!(world.alloca(&first, 0, &ask));
    let (b, _) = got!(world.alloca(&second, 0, &ask));
    let gate = world.submit(0);
    let filled = got!(world.fill(&first, &part(&a, 0, 4096), 0x5a, &[gate]));
    let filled = world.at(&first, filled);
    let grain = world.grain();
    let start = 48 + 2 * grain;
    let copied = got!(world.copy(&second, &part(&a, 0, 100), &part(&b, start, 100), &[filled]));
    let copied = world.at(&second, copied);
    check!(world.reached(copied.axis) < copied.epoch, "it waits for the other queue");
    // The source ends on its own queue, after the copy on the other.
    got!(world.dealloca(&first, a, &[copied]));
    world.complete(gate);
    let found = bytes(world, &second, &part(&b, start - grain, 100 + 2 * grain), &[]).await?;
    let edge = vec![0; grain as usize];
    check!(found == [&edge[..], &[0x5a; 100], &edge].concat(), found);
    got!(world.dealloca(&second, b, &[]));
    Ok(())
}

pub(super) async fn queue_uses_reservations<W: World>(world: &mut W) -> Result<(), Wrong> {
    let queue = got!(world.open_queue());
    let ask = Ask::new(256).or_grow();
    let reservation =
        got!(world.acquire(0, &ask), Ok(Answer::Ready { reservation, .. }) => reservation);
    let all = |reservation| Slice { memory: Memory::Reserved(reservation), offset: 0, len: 256 };
    let epoch = got!(world.fill(&queue, &all(&reservation), 3, &[]));
    let found = bytes(world, &queue, &all(&reservation), &[]).await?;
    check!(found == vec![3; 256], found);
    let used = world.at(&queue, epoch);
    got!(world.release(0, reservation, Death::After(&[used])));
    Ok(())
}

pub(super) async fn queue_ranges<W: World>(world: &mut W) -> Result<(), Wrong> {
    let queue = got!(world.open_queue());
    let (buffer, before) = got!(world.alloca(&queue, 0, &Ask::new(64).or_grow()));
    // One step further than there is memory, and so far that the sum is none.
    let step = world.grain();
    let end = u64::MAX / step * step;
    for (offset, len) in [(0, 64 + step), (64, step), (64 + step, 0), (end, step), (step, end)] {
        let refused = world.fill(&queue, &part(&buffer, offset, len), 1, &[]);
        check!(refused == Err(Refusal::InvalidRange), refused, offset, len);
        let refused = world.read(&queue, &part(&buffer, offset, len), &[]).map(drop);
        check!(refused == Err(Refusal::InvalidRange), refused, offset, len);
    }
    let refused = world.write(&queue, &part(&buffer, 0, 4), b"long!", &[]);
    check!(refused == Err(Refusal::InvalidRange), refused);
    let refused = world.copy(&queue, &part(&buffer, 0, 8), &part(&buffer, 4, 8), &[]);
    check!(refused == Err(Refusal::InvalidRange), refused);
    let refused = world.copy(&queue, &part(&buffer, 0, 8), &part(&buffer, 8, 8 + step), &[]);
    check!(refused == Err(Refusal::InvalidRange), refused);
    let bad = [Entry { axis: 0, epoch: 0 }];
    let refused = world.fill(&queue, &part(&buffer, 0, 1), 1, &bad);
    check!(refused == Err(Refusal::InvalidFrontier), refused);
    let (buffer, why) = got!(world.dealloca(&queue, buffer, &bad), Err(refused) => refused);
    check!(why == Refusal::InvalidFrontier, why);
    // Refusals give out no epochs.
    let epoch = got!(world.dealloca(&queue, buffer, &[]));
    check!(epoch == before + 1, epoch, before);
    Ok(())
}

pub(super) async fn device_loss<W: World>(world: &mut W) -> Result<(), Wrong> {
    let [lost, spared] = [got!(world.open_queue()), got!(world.open_queue())];
    let gate = world.submit(0);
    let (buffer, _) = got!(world.alloca(&lost, 0, &Ask::new(4096).or_grow()));
    let epoch = got!(world.fill(&lost, &part(&buffer, 0, 4096), 1, &[gate]));
    let readback = got!(world.read(&lost, &part(&buffer, 0, 4), &[]));
    world.lose(0);
    let point = world.at(&lost, epoch);
    let failed = world.finish(&[point]).await;
    check!(failed == Err(Refusal::Failed), failed);
    let refused = world.take(&readback);
    check!(matches!(refused, Ok(None) | Err(Refusal::Failed)), refused);
    // Who does not depend on it goes on.
    let (other, _) = got!(world.alloca(&spared, 0, &Ask::new(4096).or_grow()));
    got!(world.fill(&spared, &part(&other, 0, 4096), 2, &[]));
    let found = bytes(world, &spared, &part(&other, 0, 4), &[]).await?;
    check!(found == [2; 4], found);
    got!(world.dealloca(&spared, other, &[]));
    Ok(())
}

/// A wait that is dropped changes nothing for what was waited for.
pub(super) async fn cancellation<W: World>(world: &mut W) -> Result<(), Wrong> {
    let queue = got!(world.open_queue());
    let gate = world.submit(0);
    let epoch = got!(world.barrier(&queue, &[gate]));
    let point = world.at(&queue, epoch);
    {
        let mut context = core::task::Context::from_waker(core::task::Waker::noop());
        let until = [point];
        let wait = core::pin::pin!(world.finish(&until));
        check!(wait.poll(&mut context).is_pending());
    }
    check!(world.reached(point.axis) < epoch, epoch);
    world.complete(gate);
    got!(world.finish(&[point]).await);
    // Memory taken and given back unused is as if never taken.
    let ask = Ask::new(SLAB).or_grow();
    for _ in 0..3 {
        let reservation =
            got!(world.acquire(0, &ask), Ok(Answer::Ready { reservation, .. }) => reservation);
        got!(world.cancel(0, reservation));
    }
    Ok(())
}
