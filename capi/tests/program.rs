//! Generated programs of calls through the C interface, right and wrong ones, judged by books that know nothing of pools: which handles
//! are live, what status each call has to have, and whose bytes stand where.

use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ptr::{null, null_mut};
use strandline_c::*;

const AXES: u64 = 3;

#[derive(Clone, Debug)]
enum Step {
    Acquire {
        pool: usize,
        size: u64,
        known: Vec<(u64, u64)>,
        may_wait: bool,
        room: usize,
    },
    /// With the pool it is of, or with another one.
    Release {
        which: usize,
        pool: Option<usize>,
        death: Vec<(u64, u64)>,
        how: How,
    },
    /// A handle that was given back.
    Again {
        which: usize,
    },
    /// A number that may be a handle.
    Forge {
        pool: usize,
        id: u64,
    },
    Advance {
        axis: u64,
        epoch: u64,
    },
    Null {
        call: usize,
    },
    Trim {
        pool: usize,
    },
    Destroy {
        pool: usize,
    },
}

#[derive(Clone, Copy, Debug)]
enum How {
    After,
    Unknown,
    Cancel,
}

fn entries() -> impl Strategy<Value = Vec<(u64, u64)>> {
    // Epoch 0 and an axis twice are faults.
    prop::collection::vec((0..AXES, 0..6_u64), 0..4)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3_usize, prop_oneof![4 => 1..5000_u64, 1 => Just(0), 1 => any::<u64>()], entries(), any::<bool>(), 0..4_usize)
            .prop_map(|(pool, size, known, may_wait, room)| Step::Acquire { pool, size, known, may_wait, room }),
        5 => (any::<usize>(), prop::option::weighted(0.2, 0..3_usize), entries(), 0..3_usize).prop_map(
            |(which, pool, death, how)| Step::Release {
                which, pool, death, how: [How::After, How::Unknown, How::Cancel][how],
            }),
        1 => any::<usize>().prop_map(|which| Step::Again { which }),
        1 => (0..3_usize, prop_oneof![any::<u64>(), (0..9_u64, 0..70_u64).prop_map(|(high, low)| high << 32 | low)])
            .prop_map(|(pool, id)| Step::Forge { pool, id }),
        2 => (0..=AXES, 0..6_u64).prop_map(|(axis, epoch)| Step::Advance { axis, epoch }),
        1 => (0..8_usize).prop_map(|call| Step::Null { call }),
        1 => (0..3_usize).prop_map(|pool| Step::Trim { pool }),
        1 => (0..3_usize).prop_map(|pool| Step::Destroy { pool }),
    ]
}

/// A live reservation, as the caller knows it.
#[derive(Clone, Copy, Debug)]
struct Held {
    pool: usize,
    slab: u64,
    offset: u64,
    size: u64,
    mark: u8,
}

struct Books {
    tracker: strandline_tracker,
    slabs: strandline_slabs,
    pools: Vec<Option<strandline_pool>>,
    live: BTreeMap<u64, Held>,
    gone: Vec<(usize, u64)>,
    next: u8,
}

fn list(entries: &[(u64, u64)]) -> Vec<strandline_entry> {
    entries.iter().map(|&(axis, epoch)| strandline_entry { axis, epoch }).collect()
}

/// Whether these are the entries of a frontier.
fn is_frontier(entries: &[(u64, u64)]) -> bool {
    let mut axes: Vec<_> = entries.iter().map(|entry| entry.0).collect();
    axes.sort_unstable();
    axes.dedup();
    axes.len() == entries.len() && entries.iter().all(|entry| entry.1 > 0)
}

impl Books {
    fn new() -> Self {
        let (mut tracker, mut slabs) = (strandline_tracker::default(), strandline_slabs::default());
        // SAFETY: places for handles.
        unsafe {
            assert_eq!(strandline_tracker_create(8, &raw mut tracker), strandline_status::OK);
            assert_eq!(strandline_slabs_host(1 << 20, 0, 0, &raw mut slabs), strandline_status::OK);
        }
        for axis in 0..AXES {
            assert_eq!(strandline_tracker_register(tracker, axis), strandline_status::OK);
        }
        let usual = strandline_pool_config { slab_bytes: 64 << 10, ..Default::default() };
        let configs = [
            usual,
            strandline_pool_config {
                kind: STRANDLINE_FIXED_BLOCK,
                block_bytes: 4096,
                max_blocks: 64,
                ..usual
            },
            strandline_pool_config {
                kind: STRANDLINE_PASSTHROUGH,
                budget_bytes: 300 << 10,
                ..usual
            },
        ];
        let pools = configs.map(|config| {
            let mut pool = strandline_pool::default();
            // SAFETY: what the types say.
            let status =
                unsafe { strandline_pool_create(slabs, tracker, &raw const config, &raw mut pool) };
            assert_eq!(status, strandline_status::OK);
            Some(pool)
        });
        Self {
            tracker,
            slabs,
            pools: pools.into(),
            live: BTreeMap::new(),
            gone: Vec::new(),
            next: 0,
        }
    }

    /// The pool's handle; one that was destroyed is used on.
    fn pool(&self, pool: usize) -> strandline_pool {
        self.pools[pool].unwrap_or(strandline_pool { id: 1 << 40 })
    }

    fn bytes(&self, held: &Held) -> *mut u8 {
        let mut address = 0;
        // SAFETY: a place for a number.
        let status = unsafe {
            strandline_pool_address(
                self.pool(held.pool),
                held.slab,
                held.offset,
                held.size,
                &raw mut address,
            )
        };
        assert_eq!(status, strandline_status::OK);
        std::ptr::with_exposed_provenance_mut(address as usize)
    }

    fn acquire(
        &mut self,
        pool: usize,
        size: u64,
        known: &[(u64, u64)],
        may_wait: bool,
        room: usize,
    ) {
        let entries = list(known);
        // One more than it is told of: it stays as it is.
        let canary = strandline_entry { axis: 77, epoch: 77 };
        let mut wait = vec![canary; room + 1];
        let request = strandline_request {
            size,
            alignment: 0,
            after: strandline_frontier { entries: entries.as_ptr(), count: entries.len() },
            wait: wait.as_mut_ptr(),
            wait_capacity: room,
            flags: STRANDLINE_MAY_GROW | if may_wait { STRANDLINE_MAY_WAIT } else { 0 },
        };
        let mut grant = strandline_grant::default();
        // SAFETY: what the types say.
        let status =
            unsafe { strandline_acquire(self.pool(pool), &raw const request, &raw mut grant) };
        assert_eq!(wait[room], canary);
        if !is_frontier(known) {
            assert_eq!(status, strandline_status::INVALID);
        } else if self.pools[pool].is_none() {
            assert_eq!(status, strandline_status::UNKNOWN_HANDLE);
        } else if size == 0 {
            assert_eq!(status, strandline_status::INVALID);
        } else if pool == 1 && size > 4096 {
            assert_eq!(status, strandline_status::TOO_LARGE);
        } else if status == strandline_status::TOO_LARGE {
            assert!(size > 1 << 20);
        } else if status == strandline_status::BUFFER_TOO_SMALL {
            assert!(may_wait && grant.wait_count > room && grant.reservation.id == 0);
        } else {
            assert_eq!(status, strandline_status::OK);
            match grant.outcome {
                strandline_outcome::READY | strandline_outcome::AFTER_WAIT => {
                    self.granted(pool, &grant, &wait)
                }
                strandline_outcome::EXHAUSTED | strandline_outcome::OVER_BUDGET => {
                    assert_eq!(grant.reservation.id, 0);
                }
            }
        }
    }

    fn granted(&mut self, pool: usize, grant: &strandline_grant, wait: &[strandline_entry]) {
        if grant.outcome == strandline_outcome::AFTER_WAIT {
            assert!(
                wait[..grant.wait_count].iter().all(|entry| entry.axis < AXES && entry.epoch > 0)
            );
        }
        self.next = self.next.wrapping_add(1);
        let held = Held {
            pool,
            slab: grant.slab,
            offset: grant.offset,
            size: grant.size,
            mark: self.next,
        };
        for (id, other) in &self.live {
            let apart = other.slab != held.slab
                || other.offset + other.size <= held.offset
                || held.offset + held.size <= other.offset;
            assert!(apart, "{held:?} overlaps {id:#x} {other:?}");
        }
        // SAFETY: the bytes are reserved.
        unsafe { self.bytes(&held).write_bytes(held.mark, held.size as usize) };
        let twice = self.live.insert(grant.reservation.id, held);
        assert!(twice.is_none() && grant.reservation.id != 0);
        assert!(
            self.gone.iter().all(|gone| gone.1 != grant.reservation.id),
            "a handle comes again"
        );
    }

    fn release(&mut self, which: usize, with: Option<usize>, death: &[(u64, u64)], how: How) {
        if self.live.is_empty() {
            return;
        }
        let (&id, &held) = self.live.iter().nth(which % self.live.len()).expect("there are some");
        let bytes = self.bytes(&held);
        for at in [0, held.size as usize - 1] {
            // SAFETY: the bytes are reserved.
            assert_eq!(unsafe { bytes.add(at).read() }, held.mark, "somebody else wrote there");
        }
        let with = with.unwrap_or(held.pool);
        let entries = list(death);
        let frontier = strandline_frontier { entries: entries.as_ptr(), count: entries.len() };
        let (pool, reservation) = (self.pool(with), strandline_reservation { id });
        let status = match how {
            // SAFETY: what the types say.
            How::After => unsafe { strandline_release(pool, reservation, &raw const frontier) },
            How::Unknown => strandline_release_unknown(pool, reservation),
            How::Cancel => strandline_cancel(pool, reservation),
        };
        let expected = if matches!(how, How::After) && !is_frontier(death) {
            strandline_status::INVALID
        } else if self.pools[with].is_none() {
            strandline_status::UNKNOWN_HANDLE
        } else if with != held.pool {
            strandline_status::OTHER_POOL
        } else {
            strandline_status::OK
        };
        assert_eq!(status, expected);
        if status == strandline_status::OK {
            self.live.remove(&id);
            self.gone.push((held.pool, id));
        }
    }

    fn give_back(&self, pool: usize, id: u64) -> strandline_status {
        // SAFETY: null is allowed.
        unsafe { strandline_release(self.pool(pool), strandline_reservation { id }, null()) }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Acquire { pool, size, known, may_wait, room } => {
                self.acquire(*pool, *size, known, *may_wait, *room);
            }
            Step::Release { which, pool, death, how } => self.release(*which, *pool, death, *how),
            Step::Again { which } => {
                if let Some(&(pool, id)) = self.gone.get(which % self.gone.len().max(1)) {
                    assert_eq!(self.give_back(pool, id), strandline_status::UNKNOWN_HANDLE);
                }
            }
            Step::Forge { pool, id } => {
                // A number that is a live handle is no forgery.
                if !self.live.contains_key(id) {
                    let status = self.give_back(*pool, *id);
                    // Other tests of this process may have it.
                    assert!(matches!(
                        status,
                        strandline_status::UNKNOWN_HANDLE | strandline_status::OTHER_POOL
                    ));
                }
            }
            Step::Advance { axis, epoch } => {
                let status = strandline_tracker_advance(self.tracker, *axis, *epoch);
                let expected =
                    if *axis < AXES { strandline_status::OK } else { strandline_status::INVALID };
                assert_eq!(status, expected);
            }
            Step::Null { call } => self.null(*call),
            Step::Trim { pool } => {
                // SAFETY: null is allowed.
                let status = unsafe { strandline_pool_trim(self.pool(*pool), null_mut()) };
                assert_eq!(status == strandline_status::OK, self.pools[*pool].is_some());
            }
            Step::Destroy { pool } => {
                let status = strandline_pool_destroy(self.pool(*pool));
                let expected = if self.pools[*pool].is_none() {
                    strandline_status::UNKNOWN_HANDLE
                } else if self.live.values().any(|held| held.pool == *pool) {
                    strandline_status::IN_USE
                } else {
                    strandline_status::OK
                };
                assert_eq!(status, expected);
                if status == strandline_status::OK {
                    self.pools[*pool] = None;
                }
            }
        }
    }

    /// Null where something is needed changes nothing.
    fn null(&self, call: usize) {
        let pool = self.pool(0);
        let frontier = strandline_frontier { entries: null(), count: 2 };
        let mut grant = strandline_grant::default();
        let request = strandline_request {
            size: 1,
            alignment: 1,
            after: frontier,
            wait: null_mut(),
            wait_capacity: 0,
            flags: 0,
        };
        // SAFETY: null is allowed.
        let status = unsafe {
            match call {
                0 => strandline_acquire(pool, null(), &raw mut grant),
                1 => strandline_acquire(pool, &raw const request, null_mut()),
                2 => strandline_acquire(pool, &raw const request, &raw mut grant),
                3 => {
                    strandline_release(pool, strandline_reservation::default(), &raw const frontier)
                }
                4 => strandline_pool_address(pool, 0, 0, 0, null_mut()),
                5 => strandline_pool_counters(pool, null_mut()),
                6 => strandline_frontier_compare(null(), null(), null_mut()),
                _ => strandline_frontier_merge(
                    &raw const frontier,
                    &raw const frontier,
                    null_mut(),
                    0,
                    null_mut(),
                ),
            }
        };
        assert_eq!(status, strandline_status::NULL);
    }

    fn end(mut self) {
        for (id, held) in std::mem::take(&mut self.live) {
            assert_eq!(self.give_back(held.pool, id), strandline_status::OK);
        }
        for pool in self.pools.iter().flatten() {
            let mut stats = strandline_pool_stats::default();
            // SAFETY: a place for them.
            let status = unsafe { strandline_pool_counters(*pool, &raw mut stats) };
            assert_eq!(status, strandline_status::OK);
            assert_eq!((stats.live, stats.reserved_bytes), (0, 0));
            assert_eq!(strandline_pool_destroy(*pool), strandline_status::OK);
        }
        assert_eq!(strandline_slabs_destroy(self.slabs), strandline_status::OK);
        assert_eq!(strandline_tracker_destroy(self.tracker), strandline_status::OK);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_call_has_the_status_that_it_must(steps in prop::collection::vec(step(), 1..80)) {
        let mut books = Books::new();
        for step in &steps {
            books.step(step);
        }
        books.end();
    }

    /// Merging and comparing, against maps.
    #[test]
    fn frontiers_are_maps(a in entries(), b in entries(), room in 0..8_usize) {
        let (left, right) = (list(&a), list(&b));
        let [fa, fb] = [&left, &right].map(|entries| strandline_frontier { entries: entries.as_ptr(), count: entries.len() });
        let mut order = strandline_order::EQUAL;
        let mut merged = vec![strandline_entry::default(); room + 1];
        let mut count = 0;
        // SAFETY: what the types say.
        let (compared, joined) = unsafe {(
            strandline_frontier_compare(&raw const fa, &raw const fb, &raw mut order),
            strandline_frontier_merge(&raw const fa, &raw const fb, merged.as_mut_ptr(), room, &raw mut count),
        )};
        if !is_frontier(&a) || !is_frontier(&b) {
            prop_assert_eq!((compared, joined), (strandline_status::INVALID, strandline_status::INVALID));
            return Ok(());
        }
        prop_assert_eq!(compared, strandline_status::OK);
        let (a, b): (BTreeMap<_, _>, BTreeMap<_, _>) = (a.into_iter().collect(), b.into_iter().collect());
        let covers = |x: &BTreeMap<u64, u64>, y: &BTreeMap<u64, u64>| y.iter().all(|(axis, epoch)| x.get(axis) >= Some(epoch));
        prop_assert_eq!(order, match (covers(&b, &a), covers(&a, &b)) {
            (true, true) => strandline_order::EQUAL,
            (true, false) => strandline_order::BEFORE,
            (false, true) => strandline_order::AFTER,
            (false, false) => strandline_order::CONCURRENT,
        });
        let mut both = a;
        for (axis, epoch) in b {
            let place = both.entry(axis).or_default();
            *place = epoch.max(*place);
        }
        prop_assert_eq!(count, both.len());
        if count > room {
            prop_assert_eq!(joined, strandline_status::BUFFER_TOO_SMALL);
            prop_assert!(merged.iter().all(|entry| *entry == strandline_entry::default()));
        } else {
            prop_assert_eq!(joined, strandline_status::OK);
            let got: Vec<_> = merged[..count].iter().map(|entry| (entry.axis, entry.epoch)).collect();
            prop_assert_eq!(got, both.into_iter().collect::<Vec<_>>());
        }
    }
}
