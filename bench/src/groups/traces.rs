//! `trace`: the recorded traces that the repository ships, event by event, through each allocator.
//!
//! A trace is read once, sizes rounded up to 256 bytes, and played in a circle; what lives at its end is freed
//! there. The capacity is twice the peak of live bytes. The serving log has blocks of one size only: its
//! operations are those of a paged KV cache.

use crate::harness::{Case, Contender};
use crate::peers::{Deaths, GpuAllocator, OffsetAllocator, Ours, Peer, Queues, Rlsf, Talc};
use crate::tape::{self, Event, Trace};
use std::fs::File;
use std::path::Path;
use std::rc::Rc;
use strandline_core::offset::tlsf::{Config, Placement};
use strandline_replay::format::{ReadOptions, TraceReader};
use strandline_replay::validate::What;

/// Events that are read of a trace; the rest of a longer one is left out.
const MAX_EVENTS: usize = 1 << 20;

/// Peak of live bytes up to which allocators are measured that write into the memory they manage.
const IN_BAND_BYTES: u64 = 2 << 30;

pub(super) fn cases() -> impl Iterator<Item = Case> {
    ["resnet50_train", "bert_train", "gpt2_generate", "vit_infer", "azure_llm_code_2023"]
        .into_iter()
        .map(|name| Case {
            group: "trace",
            name: name.into(),
            unit: "event",
            reference: 0,
            goals: Vec::new(),
            contenders: Box::new(move || contenders(name)),
        })
}

fn contenders(name: &str) -> Vec<Contender> {
    let path = super::packing::path(name);
    let trace = match load(&path) {
        Ok(trace) => Rc::new(trace),
        // Part of the repository: nothing to be measured without it.
        Err(error) => panic!("{}: {error}", path.display()),
    };
    let (capacity, slots) = (2 * trace.peak_bytes, trace.slots);
    let ours = |placement, deaths| {
        let config = Config { placement, ..Config::default() };
        Ours::new(capacity, slots, config, deaths, Queues(1)).ok()
    };
    let mut all = vec![
        play("offset-allocator", Some(OffsetAllocator::new(capacity, slots)), &trace),
        play(
            "strandline, 1-entry frontiers, 64 in flight",
            ours(Placement::FAST, Deaths::Behind(64)),
            &trace,
        ),
        play("strandline, idle", ours(Placement::FAST, Deaths::Idle), &trace),
        play("strandline, idle, packed placement", ours(Placement::PACKED, Deaths::Idle), &trace),
    ];
    #[cfg(feature = "vma")]
    all.push(play("VMA virtual block", crate::peers::VirtualBlock::new(capacity, slots), &trace));
    if trace.peak_bytes <= IN_BAND_BYTES {
        all.push(play("rlsf", Rlsf::new(capacity, slots), &trace));
        all.push(play("talc", Talc::new(capacity, slots), &trace));
    }
    all.push(play("gpu-allocator", GpuAllocator::new(slots), &trace));
    all
}

fn play<P: Peer + 'static>(name: &str, peer: Option<P>, trace: &Rc<Trace>) -> Contender {
    tape::contender(name, peer, Rc::clone(trace))
}

fn load(path: &Path) -> Result<Trace, Box<dyn std::error::Error>> {
    let mut steps = TraceReader::new(File::open(path)?, ReadOptions::default())?.steps();
    let mut events = Vec::new();
    let mut live: Vec<u64> = Vec::new();
    let (mut bytes, mut peak_bytes) = (0_u64, 0);
    for step in steps.by_ref().take(MAX_EVENTS) {
        let step = step?;
        match step.what {
            What::Alloc(slot) | What::Held(slot) => {
                let size = step.size.next_multiple_of(256);
                let index = slot as usize;
                if index >= live.len() {
                    live.resize(index + 1, 0);
                }
                live[index] = size;
                bytes += size;
                peak_bytes = peak_bytes.max(bytes);
                events.push(Event { slot, size: u32::try_from(size)? });
            }
            What::Free(slot) => {
                bytes -= std::mem::take(&mut live[slot as usize]);
                events.push(Event { slot, size: 0 });
            }
            What::Retire(_) | What::Failure => {}
        }
    }
    for (slot, &size) in live.iter().enumerate() {
        if size != 0 {
            events.push(Event { slot: slot as u32, size: 0 });
        }
    }
    Ok(Trace { events, slots: live.len() as u32, peak_bytes })
}
