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
        /// What to wait for.
        wait: Frontier,
    },
    /// Nothing fits.
    Exhausted {
        /// Only growth can help.
        growth_required: bool,
    },
    /// The budget does not allow it now.
    OverBudget,
}

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
    /// Acquires for many requests of one requester in one crossing: `sizes` has the bytes and the alignment of
    /// each. The frontier and the permissions are those of `common`; its size and alignment are not
    /// looked at.
    ///
    /// # Errors
    /// [`PoolError::Lost`]. An invalid request or a failing provider stops the batch: see [`Batch::stopped`].
    pub fn acquire_batch(
        &self,
        sizes: &[(u64, u64)],
        common: &Request<'_>,
    ) -> Result<Batch, PoolError> {
        let observed = self.observe();
        let requests: Vec<u64> =
            sizes.iter().flat_map(|&(size, alignment)| [size, alignment]).collect();
        let after = convert::entries(common.frontier);
        let packed = self.call_acquire_batch(&requests, &after, common)?;
        let mut waits = packed.waits.as_slice();
        let mut answers = Vec::with_capacity(sizes.len());
        for (words, &(size, _)) in packed.words.chunks_exact(WORDS).zip(sizes) {
            let &[head, slab, offset] = words else { break };
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
                    Answer::AfterWait { reservation: hold(), wait }
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
        reservations: Vec<Reservation>,
        death: Death<'_>,
    ) -> Result<(), Vec<Reservation>> {
        let (ours, others): (Vec<_>, Vec<_>) =
            reservations.into_iter().partition(|reservation| self.key(reservation).is_some());
        let keys: Vec<u32> = ours.iter().filter_map(|reservation| self.key(reservation)).collect();
        let released = keys.is_empty() || self.call_release_batch(&keys, death);
        match (released, others.is_empty()) {
            (true, true) => {
                self.released(&ours);
                Ok(())
            }
            (true, false) => {
                self.released(&ours);
                Err(others)
            }
            (false, _) => Err(ours.into_iter().chain(others).collect()),
        }
    }
}
