use super::*;
use crate::{Command, CpuQueue, MmapSlabProvider};
use std::sync::Arc;
use strandline_core::pool::PoolHost;
use strandline_core::pool::growth::Growth;
use strandline_core::pool::tlsf::{TlsfPool, TlsfPoolConfig};
use strandline_core::slab::Trim;
use strandline_core::{Acquire, Death, FrontierRef, Pool, Request, Tracker};

/// Checks what a profiler would not forgive, and writes down what it is told.
#[derive(Debug, Default)]
struct Paper {
    names: Mutex<Vec<String>>,
    live: Mutex<HashMap<(usize, u64), u64>>,
    said: Mutex<Vec<String>>,
    lanes: Option<usize>,
}

#[derive(Debug)]
struct Span {
    lane: usize,
    number: usize,
    started: Mutex<bool>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

impl Paper {
    fn say(&self, text: String) {
        locked(&self.said).push(text);
    }
}

impl Canvas for Paper {
    type Name = usize;
    type Lane = usize;
    type Span = Span;

    fn name(&self, name: String) -> usize {
        let mut names = locked(&self.names);
        names.push(name);
        names.len() - 1
    }

    fn lane(&self, name: String) -> Option<usize> {
        if self.lanes == Some(0) {
            return None;
        }
        Some(self.name(name))
    }

    fn alloc(&self, name: usize, address: u64, size: u64) {
        let before = locked(&self.live).insert((name, address), size);
        assert_eq!(before, None, "{address:#x} is in use already");
    }

    fn free(&self, name: usize, address: u64) {
        let before = locked(&self.live).remove(&(name, address));
        assert!(before.is_some(), "{address:#x} is not in use");
    }

    fn open(&self, lane: &usize) -> Option<Span> {
        let number = locked(&self.said).len();
        self.say(format!("open {number}"));
        Some(Span { lane: *lane, number, started: Mutex::new(false) })
    }

    fn start(&self, span: &Span) {
        assert!(!std::mem::replace(&mut *locked(&span.started), true));
        self.say(format!("start {}", span.number));
    }

    fn end(&self, span: Span) {
        assert!(*locked(&span.started), "{} ends before it starts", span.lane);
        self.say(format!("end {}", span.number));
    }
}

fn drawing() -> Drawing<Paper> {
    Drawing::new(Paper::default())
}

fn live(drawing: &Drawing<Paper>) -> usize {
    locked(&drawing.canvas.live).len()
}

const SLAB: SlabId = SlabId::new(3, 1);

#[test]
fn events_in_either_order_leave_what_is_in_use() {
    let pool = PoolId::next();
    let reserved = Event::Reserved { pool, slab: SLAB, offset: 64, size: 10 };
    let released = Event::Released { pool, slab: SLAB, offset: 64, size: 10 };
    for (events, left) in [
        (vec![&reserved], 1),
        (vec![&reserved, &released], 0),
        (vec![&reserved, &reserved], 1),
        (vec![&reserved, &reserved, &released], 1),
        (vec![&reserved, &reserved, &released, &released], 0),
        (vec![&reserved, &reserved, &reserved, &released, &released], 1),
        (vec![&released], 0),
        (vec![&released, &reserved], 1),
    ] {
        let drawing = drawing();
        events.iter().for_each(|event| drawing.event(event));
        assert_eq!(live(&drawing), left, "{events:?}");
    }
}

#[test]
fn pools_are_called_what_they_are_titled() {
    let drawing = drawing();
    let [a, b] = [PoolId::next(), PoolId::next()];
    assert!(drawing.title(a, "weights"));
    for pool in [a, b] {
        drawing.event(&Event::SlabAcquired { pool, slab: SLAB, size: 4096 });
        drawing.event(&Event::Reserved { pool, slab: SLAB, offset: 0, size: 1 });
        assert!(!drawing.title(pool, "too late"));
    }
    let names = locked(&drawing.canvas.names).clone();
    assert_eq!(names[..2], ["weights slabs", "weights"]);
    assert_eq!(names[2..], [format!("{b:?} slabs"), format!("{b:?}")]);
    // One address, four kinds of memory.
    assert_eq!(live(&drawing), 4);
}

#[test]
fn a_pool_is_drawn_as_it_works() {
    let drawing = Arc::new(drawing());
    let provider = Arc::new(MmapSlabProvider::builder().build().unwrap());
    let host =
        PoolHost::new(provider, Arc::new(strandline_core::NoProgress)).with_sink(drawing.clone());
    let config = TlsfPoolConfig { growth: Growth::slabs_of(1 << 16), ..Default::default() };
    let pool = TlsfPool::new(host, config).unwrap();
    let mut held = Vec::new();
    for size in [100, 200, 300] {
        let Acquire::Ready { reservation, .. } =
            pool.acquire(&Request::new(size).or_grow()).unwrap()
        else {
            panic!("no memory")
        };
        held.push(reservation);
    }
    let mut sizes: Vec<u64> = locked(&drawing.canvas.live).values().copied().collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [100, 200, 300, 1 << 16]);
    for reservation in held {
        pool.release(reservation, Death::Idle).unwrap();
    }
    assert_eq!(live(&drawing), 1, "the slab");
    assert_eq!(pool.trim(Trim::All).unwrap(), 1 << 16);
    assert_eq!(live(&drawing), 0);
}

#[test]
fn a_queue_is_a_lane_of_spans() {
    let drawing = Arc::new(drawing());
    let tracker = Tracker::new(2);
    let axis = Axis::queue(0, 0);
    let queue = CpuQueue::builder(&tracker, axis).sink(drawing.clone()).start().unwrap();
    for _ in 0..3 {
        queue.submit(FrontierRef::EMPTY, [Command::call(|| ())]).unwrap();
    }
    queue.finish().unwrap();
    let said = locked(&drawing.canvas.said).clone();
    assert_eq!(said.len(), 9);
    let spans: Vec<&str> = said.iter().filter_map(|line| line.strip_prefix("open ")).collect();
    assert_eq!(spans.len(), 3);
    // In order, as a lane is: each ends before the next begins.
    let ran: Vec<&String> = said.iter().filter(|line| !line.starts_with("open")).collect();
    let expected = spans.iter().flat_map(|n| [format!("start {n}"), format!("end {n}")]);
    assert!(ran.into_iter().cloned().eq(expected), "{said:?}");
    assert_eq!(*locked(&drawing.canvas.names), [axis.to_string()]);

    // What never runs leaves nothing open.
    let queue = CpuQueue::builder(&tracker, Axis::queue(0, 1)).sink(drawing.clone());
    let queue = queue.start().unwrap();
    queue.submit(FrontierRef::EMPTY, [Command::call(|| panic!("on purpose"))]).unwrap();
    assert!(queue.finish().is_err());
    assert!(drawing.lock().lanes.values().flatten().all(|lane| lane.open.is_empty()));
}

#[test]
fn queues_beyond_the_last_lane_are_not_drawn() {
    let drawing = Drawing::new(Paper { lanes: Some(0), ..Paper::default() });
    let axis = Axis::queue(0, 0);
    for event in [
        Event::Submitted { axis, epoch: 1 },
        Event::Began { axis, epoch: 1 },
        Event::Completed { axis, epoch: 1 },
        Event::Ended { axis },
        // Never submitted.
        Event::Began { axis: Axis::queue(0, 1), epoch: 1 },
    ] {
        drawing.event(&event);
    }
    assert_eq!(*locked(&drawing.canvas.said), [""; 0]);
}
