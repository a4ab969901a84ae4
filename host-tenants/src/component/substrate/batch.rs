//! Many reservations in one crossing.

use super::convert;
use super::pool::SandboxPool;
use strandline_core::pool::{Origin, PoolError, Request, ReuseProof};
use strandline_core::{Death, Frontier, Observation, Reservation, SlabId};

/// The answer to one request of a batch.
#[derive(Debug)]
#[must_use = "an acquired reservation must be released"]
pub enum Answer {
    /// Usable now.
    Ready {
        /// The bytes.
        reservation: Reservation,
        /// Where they come from.
        origin: Origin,
    },
    /// To be used after a wait.
    AfterWait {
        /// The bytes.
        reservation: Reservation,
        /// What to wait for. Apart, since it is large and rare.
        wait: Box<Frontier>,
    },
    /// Nothing fits.
    Exhausted {
        /// Only growth can help.
        growth_required: bool,
    },
    /// The budget does not allow it now.
    OverBudget,
}

/// What is asked for in a batch: bytes, and the alignment.
pub type Sizes = [u64; 2];

/// What came of a batch.
#[derive(Debug)]
#[must_use = "acquired reservations must be released"]
pub struct Batch {
    /// One for each request that was considered, in order.
    pub answers: Vec<Answer>,
    /// Taken before the first search: waiting on it misses no release.
    pub observed: Observation,
    /// Why the request after the last answer, and those behind it, were not considered.
    pub stopped: Option<PoolError>,
}

/// Words of an answer, and their outcomes; see the interface `pools`.
const WORDS: usize = 3;
const FRESH: u8 = 0;
const DOMINATED: u8 = 1;
const COMPLETED: u8 = 2;
const AFTER_WAIT: u8 = 3;
const EXHAUSTED: u8 = 4;
const GROWTH_REQUIRED: u8 = 5;
const OVER_BUDGET: u8 = 6;

impl SandboxPool {
    /// Acquires for many requests of one requester in one crossing. The frontier and the permissions are those of
    /// `common`; its size and alignment are not looked at.
    ///
    /// # Errors
    /// [`PoolError::Lost`]. An invalid request or a failing provider stops the batch: see [`Batch::stopped`].
    pub fn acquire_batch(&self, sizes: &[Sizes], common: &Request<'_>) -> Result<Batch, PoolError> {
        let observed = self.observe();
        let after = convert::entries(common.frontier);
        let packed = self.call_acquire_batch(sizes.as_flattened(), &after, common)?;
        let mut waits = packed.waits.as_slice();
        let mut answers = Vec::with_capacity(sizes.len());
        let (words, _) = packed.words.as_chunks::<WORDS>();
        for (&[head, slab, offset], &[size, _]) in words.iter().zip(sizes) {
            let hold = || self.hold((head >> 32) as u32, SlabId::from_bits(slab), offset, size);
            let ready = |origin| Answer::Ready { reservation: hold(), origin };
            answers.push(match head as u8 {
                FRESH => ready(Origin::Fresh),
                DOMINATED => ready(Origin::Reused(ReuseProof::Dominance)),
                COMPLETED => ready(Origin::Reused(ReuseProof::Completion)),
                AFTER_WAIT => {
                    let count = usize::from((head >> 8) as u8);
                    let wait = waits.split_off(..count).and_then(convert::frontier);
                    let Some(wait) = wait else {
                        return Err(self.nonsense("a wait that is no frontier"));
                    };
                    Answer::AfterWait { reservation: hold(), wait: Box::new(wait) }
                }
                EXHAUSTED => Answer::Exhausted { growth_required: false },
                GROWTH_REQUIRED => Answer::Exhausted { growth_required: true },
                OVER_BUDGET => Answer::OverBudget,
                _ => return Err(self.nonsense("an unknown outcome")),
            });
        }
        let stopped = match packed.stopped {
            None => None,
            Some(error) => Some(
                convert::pool_error(error)
                    .ok_or_else(|| self.nonsense("an error that was not caused"))?,
            ),
        };
        self.reserved(&answers);
        Ok(Batch { answers, observed, stopped })
    }

    /// Releases many reservations in one crossing, all with one death.
    ///
    /// # Errors
    /// Reservations that were not taken: those of other pools, or all that are left when the component is
    /// lost.
    pub fn release_batch(
        &self,
        mut reservations: Vec<Reservation>,
        death: Death<'_>,
    ) -> Result<(), Vec<Reservation>> {
        let mut keys = Vec::with_capacity(reservations.len());
        keys.extend(reservations.iter().map_while(|reservation| self.key(reservation)));
        let mut others = Vec::new();
        if keys.len() < reservations.len() {
            let is_ours = |reservation: &Reservation| self.key(reservation).is_some();
            (reservations, others) = reservations.into_iter().partition(is_ours);
            keys = reservations.iter().filter_map(|reservation| self.key(reservation)).collect();
        }
        if !keys.is_empty() && !self.call_release_batch(&keys, death) {
            reservations.append(&mut others);
            return Err(reservations);
        }
        self.released(&reservations);
        if others.is_empty() { Ok(()) } else { Err(others) }
    }
}
