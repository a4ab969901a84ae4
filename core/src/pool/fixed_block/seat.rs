//! Seats: small numbers that each belong to one running thread, so that a counter kept per seat has one
//! writer and needs no read-modify-write.
//!
//! A thread takes a seat when it first asks and gives it up as it ends. Giving up is a release and taking an
//! acquire: the next holder sees all that the last one wrote. Threads beyond [`SEATS`], threads that are being
//! torn down, and builds without `std` have none.

/// How many threads have a seat at once.
pub(in crate::pool) const SEATS: usize = 31;

#[cfg(all(feature = "std", not(loom)))]
mod imp {
    use super::SEATS;
    use core::sync::atomic::{AtomicU32, Ordering};

    static TAKEN: AtomicU32 = AtomicU32::new(0);

    struct Seat(Option<u32>);

    impl Seat {
        fn take() -> Self {
            let mut taken = TAKEN.load(Ordering::Relaxed);
            loop {
                let seat = (!taken).trailing_zeros();
                if seat as usize >= SEATS {
                    return Self(None);
                }
                // Acquire: pairs with the release of whoever had the seat before.
                match TAKEN.compare_exchange_weak(
                    taken,
                    taken | 1 << seat,
                    Ordering::Acquire,
                    Ordering::Relaxed,
                ) {
                    Ok(_) => return Self(Some(seat)),
                    Err(now) => taken = now,
                }
            }
        }
    }

    impl Drop for Seat {
        fn drop(&mut self) {
            if let Some(seat) = self.0 {
                TAKEN.fetch_and(!(1 << seat), Ordering::Release);
            }
        }
    }

    std::thread_local! {
        static SEAT: Seat = Seat::take();
    }

    /// The calling thread's seat.
    #[inline]
    pub(in crate::pool) fn seat() -> Option<usize> {
        SEAT.try_with(|seat| seat.0).ok().flatten().map(|seat| seat as usize)
    }
}

#[cfg(not(all(feature = "std", not(loom))))]
mod imp {
    /// Nobody has a seat: no thread can be told from another.
    #[inline]
    pub(in crate::pool) const fn seat() -> Option<usize> {
        None
    }
}

pub(in crate::pool) use imp::seat;

#[cfg(all(test, feature = "std", not(loom)))]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn no_two_running_threads_share_a_seat() {
        let threads = SEATS + 5;
        let (start, end) = (Barrier::new(threads), Barrier::new(threads));
        for _ in 0..3 {
            let seats: Vec<_> = std::thread::scope(|scope| {
                let run = || {
                    start.wait();
                    let mine = seat();
                    assert_eq!(mine, seat());
                    end.wait();
                    mine
                };
                let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let mut taken: Vec<usize> = seats.into_iter().flatten().collect();
            let count = taken.len();
            assert!(count <= SEATS);
            taken.sort_unstable();
            taken.dedup();
            assert_eq!(taken.len(), count);
        }
    }
}
