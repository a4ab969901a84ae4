//! How long a member may touch lent memory without word from the owner, and why it has stopped before the memory is used again.
//!
//! ```text
//!   member's clock   s ├────────── hold ──────────┤ stop          hold = lease · (1 − ρ) / (1 + ρ)
//!                       ╲                                ╱
//!   owner's clock      r ├──────────────── lease ─────────────┤ over
//!   ───────────────────────────────────────────────────────────────────▶ real time
//! ```
//!
//! A member asks for its lease to be renewed at time *s* by its own clock, and the owner gets that at time *r* by its own. No two
//! clocks are ever compared: only how long each has run. Their rates are within 1 ± ρ of real time, which is the one assumption.
//!
//! 1. The member counts *hold* on its clock from *s*, and only once the owner has acknowledged that very renewal. At most
//!    *hold* / (1 − ρ) = *lease* / (1 + ρ) of real time pass until it stops.
//! 2. The owner counts *lease* on its clock from *r*, for the latest renewal that it got, acknowledged or not. At least
//!    *lease* / (1 + ρ) of real time pass until the lease is over.
//! 3. *r* is after *s* in real time, because a message arrives after it was sent, and the latest renewal that came is not earlier
//!    than the latest that was acknowledged. So the member has stopped when the lease is over.
//!
//! A renewal that arrives twice, or late, or out of order changes nothing: it has a number, the owner takes a greater one only, and
//! the member looks up when it sent the one that is acknowledged.
//!
//! What a member that is stopped between looking at the clock and touching the memory does, no lease can bound: so a touch is asked for
//! with the time that it takes at most ([`Member::may_touch`](super::Member::may_touch)), and an owner whose members cannot
//! promise that (a processor that copies into mapped memory, and may be stopped by a signal) fences by
//! [other means](super::Fencing::Host).

use super::Time;

/// Parts per million.
const MILLION: u128 = 1_000_000;

/// The greatest drift that is allowed for: a tenth.
pub const MAX_DRIFT_PPM: u32 = 100_000;

/// How long a member may go on after it sent a renewal that was acknowledged, in nanoseconds of its clock; rounded down.
#[must_use]
pub fn hold(lease: Time, drift_ppm: u32) -> Time {
    let drift = u128::from(drift_ppm.min(MAX_DRIFT_PPM));
    // No more than `lease`, so it fits.
    (u128::from(lease) * (MILLION - drift) / (MILLION + drift)) as Time
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Real time in units of a nanosecond / 10^6 in which a clock that runs at `rate` ppm of real time counts `count`.
    fn real(count: Time, rate: u128) -> u128 {
        u128::from(count) * MILLION * MILLION / rate
    }

    proptest! {
        /// The member's clock may be as slow as allowed and the owner's as fast: the member stops first.
        #[test]
        fn the_member_stops_before_the_lease_is_over(
            lease in 1..1u64 << 45,
            drift in 0..=MAX_DRIFT_PPM,
            slow in 0..=MAX_DRIFT_PPM,
            fast in 0..=MAX_DRIFT_PPM,
        ) {
            let (slow, fast) = (slow.min(drift), fast.min(drift));
            let stops = real(hold(lease, drift), MILLION - u128::from(slow));
            let over = real(lease, MILLION + u128::from(fast));
            prop_assert!(stops <= over, "{} > {}", stops, over);
        }
    }

    #[test]
    fn without_drift_the_whole_lease_is_held() {
        assert_eq!(hold(10_000_000_000, 0), 10_000_000_000);
        assert_eq!(hold(10_000_000_000, 500), 9_990_004_997);
        assert_eq!(hold(Time::MAX, MAX_DRIFT_PPM), hold(Time::MAX, u32::MAX));
    }
}
