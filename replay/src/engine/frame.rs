//! The pools at this instant, with what the engine knows of each block.

use super::Engine;
use crate::recording::{AxisView, Block, Frame, SlabView, State};
use crate::streams::stream_of;
use std::collections::HashMap;
use strandline_core::inspect::BlockState;
use strandline_core::{Progress, SlabId};

impl Engine {
    /// What a picture shows of this instant. O(blocks).
    ///
    /// Looking changes nothing: a run that is looked at after every event goes as one that never is. Free blocks name the stream
    /// that freed them only if the engine [remembers](Self::remembering).
    #[must_use]
    pub fn frame(&mut self) -> Frame {
        let mut live = HashMap::new();
        for block in self.live.iter().flatten() {
            let place = (block.reservation.slab(), block.reservation.offset());
            live.insert(place, (block.stream, block.event));
        }
        let streams = self.streams.count();
        let mut frame = Frame {
            event: self.event,
            stats: self.pools.stats(),
            live_bytes: self.live_bytes,
            ..Frame::default()
        };
        for stream in 0..streams {
            let axis = self.streams.axis(stream);
            frame.axes.push(AxisView {
                axis,
                submitted: self.streams.submitted(stream),
                completed: self.streams.tracker().reached(axis),
            });
        }
        for (pool, number) in self.pools.set().pools().iter().zip(0..) {
            let mut current: Option<SlabId> = None;
            pool.inspect(&mut |view| {
                let end = view.offset.saturating_add(view.size);
                if current != Some(view.slab) {
                    current = Some(view.slab);
                    frame.slabs.push(SlabView { pool: number, id: view.slab, bytes: 0 });
                }
                if let Some(slab) = frame.slabs.last_mut() {
                    slab.bytes = slab.bytes.max(end);
                }
                let (mut requested, mut since) = (0, 0);
                let freed_by = || self.history.as_ref()?.last(view.slab, view.offset, view.size);
                let (state, stream) = match view.state {
                    BlockState::Live { requested: asked } => {
                        requested = asked;
                        let holder = live.get(&(view.slab, view.offset));
                        since = holder.map_or(0, |&(_, event)| event);
                        (State::Live, holder.map(|&(stream, _)| stream))
                    }
                    BlockState::Clean => (State::Clean, freed_by()),
                    BlockState::Pending(death) => {
                        let first = frame.deaths.len();
                        for entry in death.entries() {
                            if let Some(of) = stream_of(entry.axis).filter(|&of| of < streams) {
                                frame.deaths.push((of, entry.epoch));
                            }
                        }
                        // Nobody frees padding, but what a single stream is waited for was its.
                        let alone = match frame.deaths[first..] {
                            [(stream, _)] => Some(stream),
                            _ => None,
                        };
                        (State::Pending, freed_by().or(alone))
                    }
                    BlockState::Tainted => (State::Tainted, freed_by()),
                };
                frame.blocks.push(Block {
                    slab: frame.slabs.len() as u32 - 1,
                    offset: view.offset,
                    bytes: view.size,
                    requested,
                    state,
                    stream,
                    since,
                    death_end: frame.deaths.len() as u32,
                });
            });
        }
        if let Some(history) = &mut self.history {
            let held: std::collections::HashSet<SlabId> =
                frame.slabs.iter().map(|slab| slab.id).collect();
            history.retain(|slab| held.contains(&slab));
        }
        frame
    }
}
