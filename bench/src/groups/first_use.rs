//! `slabs`: new memory from the system until every page of it has been written.

use crate::harness::{Case, Contender, Stopwatch};
use std::hint::black_box;
use strandline_core::{Grant, SlabMap, SlabProvider};
use strandline_host_native::{MmapBuilder, MmapSlabProvider};

/// Bytes of a slab.
const SLAB: u64 = 16 << 20;

pub(super) fn cases() -> impl Iterator<Item = Case> {
    std::iter::once(Case {
        group: "slabs",
        name: "16 MiB of new memory, every page written, given back".into(),
        unit: "page",
        reference: 0,
        goals: Vec::new(),
        contenders: Box::new(contenders),
    })
}

fn contenders() -> Vec<Contender> {
    let ours = MmapSlabProvider::builder;
    vec![
        Contender::new("calloc, pages as they are written", |pages| {
            timed(pages, || {
                let mut memory = vec![0_u8; SLAB as usize];
                for page in memory.chunks_mut(page() as usize) {
                    page[0] = 1;
                }
                black_box(&memory);
            })
        }),
        slab("strandline, pages as they are written", ours()),
        slab("strandline, prefaulted", ours().prefault(true)),
        slab("strandline, prefaulted, huge pages advised", ours().prefault(true).huge_pages(true)),
    ]
}

fn page() -> u64 {
    rustix::param::page_size() as u64
}

/// Whole slabs, as many as have that many pages.
fn timed(pages: u64, mut slab: impl FnMut()) -> std::time::Duration {
    let slabs = (pages * page()).div_ceil(SLAB);
    let clock = Stopwatch::start();
    (0..slabs).for_each(|_| slab());
    // What was done may be more than was asked for.
    clock.elapsed().mul_f64((pages * page()) as f64 / (slabs * SLAB) as f64)
}

fn slab(name: &str, builder: MmapBuilder) -> Contender {
    let provider: MmapSlabProvider = match builder.build() {
        Ok(provider) => provider,
        Err(error) => panic!("{error}"),
    };
    Contender::new(name, move |pages| {
        timed(pages, || {
            let Ok(Grant::Slab(slab)) = provider.acquire(SLAB) else { panic!("no memory") };
            let written = provider.map(slab.id, 0, slab.size).map(|buffer| {
                for at in (0..slab.size).step_by(page() as usize) {
                    // In the buffer, by its own size.
                    let _ = buffer.write(at, &[1]);
                }
            });
            black_box(written).and_then(|()| provider.release(slab.id)).unwrap_or_else(|error| {
                panic!("{error}");
            });
        })
    })
}
