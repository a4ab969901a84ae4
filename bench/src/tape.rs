//! Playing a list of operations to a peer, round and round.

use crate::harness::{Contender, Stopwatch};
use crate::peers::Peer;
use crate::stream::Churn;
use std::rc::Rc;

/// Operations in a circle: where the last one leaves a peer, the first one goes on.
pub trait Tape {
    /// Brings a fresh peer to where the circle begins. False when something does not fit.
    #[must_use]
    fn begin(&self, peer: &mut impl Peer) -> bool;

    /// Operations in the circle.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Performs operation `at`. False when something does not fit.
    #[must_use]
    fn step(&self, at: usize, peer: &mut impl Peer) -> bool;
}

impl Tape for Churn {
    fn begin(&self, peer: &mut impl Peer) -> bool {
        let mut start = self.start.iter().enumerate();
        start.all(|(slot, &size)| peer.allocate(slot as u32, size))
    }

    fn len(&self) -> usize {
        self.swaps.len()
    }

    #[inline]
    fn step(&self, at: usize, peer: &mut impl Peer) -> bool {
        let swap = self.swaps[at];
        peer.free(swap.slot);
        peer.allocate(swap.slot, swap.size)
    }
}

/// One event of a trace: an allocation, or with size 0 a free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The block's place in the table of live blocks.
    pub slot: u32,
    /// Bytes, a multiple of 256; 0 frees.
    pub size: u32,
}

/// A trace that frees at its end what is still live, so that it can be played again.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The events.
    pub events: Vec<Event>,
    /// The most blocks that live at once.
    pub slots: u32,
    /// The most bytes that live at once.
    pub peak_bytes: u64,
}

impl Tape for Trace {
    fn begin(&self, _: &mut impl Peer) -> bool {
        true
    }

    fn len(&self) -> usize {
        self.events.len()
    }

    #[inline]
    fn step(&self, at: usize, peer: &mut impl Peer) -> bool {
        let event = self.events[at];
        if event.size == 0 {
            peer.free(event.slot);
            return true;
        }
        peer.allocate(event.slot, event.size)
    }
}

/// A peer that plays a tape.
///
/// # Panics
/// Its run does when the peer could not be made or something does not fit: the numbers of a run in which something failed
/// would mean nothing.
pub fn contender<P, T>(name: &str, peer: Option<P>, tape: Rc<T>) -> Contender
where
    P: Peer + 'static,
    T: Tape + 'static,
{
    let label = name.to_owned();
    let mut fresh = peer;
    let mut state: Option<P> = None;
    let mut at = 0;
    Contender::new(name, move |count| {
        let peer = state.get_or_insert_with(|| {
            let Some(mut peer) = fresh.take() else { panic!("{label}: cannot be set up") };
            assert!(tape.begin(&mut peer), "{label}: the start does not fit");
            peer
        });
        let clock = Stopwatch::start();
        for _ in 0..count {
            assert!(tape.step(at, peer), "{label}: operation {at} does not fit");
            at = if at + 1 == tape.len() { 0 } else { at + 1 };
        }
        clock.elapsed()
    })
}
