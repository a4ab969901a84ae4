//! The lifetimes of a trace's blocks, for a planner.
//!
//! A block lives from its allocation until it is over: a block that was [retired](crate::event::Action::Retire) is in use by other
//! streams until its free, so the most bytes live at once are the trace's *peak active*. Times are numbers of steps. What is never freed
//! lives to the end; a request that was refused lives for its own step. Cost: O(1) a step. Memory: 40 bytes a block.

use crate::session::{SessionError, TraceFile};
use crate::validate::{Totals, What};

/// A block of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockLife {
    /// The step that allocates it.
    pub lower: u64,
    /// The step by which it is over.
    pub upper: u64,
    /// Bytes, above 0.
    pub size: u64,
    /// Dense number of the stream that allocates it.
    pub stream: u32,
    /// Where the allocation stands: see [`crate::event::Event::line`].
    pub line: u32,
}

/// All blocks of a trace, in the order of their allocations, and what the trace holds.
///
/// # Errors
/// The trace cannot be read, is not sound, or allocates nothing.
pub fn of(trace: &TraceFile) -> Result<(Vec<BlockLife>, Totals), SessionError> {
    let reader = trace.open()?;
    if reader.is_state_only() {
        return Err(SessionError::StateOnly(trace.path().to_owned()));
    }
    let mut steps = reader.steps();
    let mut blocks: Vec<BlockLife> = Vec::new();
    // The block in each slot.
    let mut slots: Vec<usize> = Vec::new();
    let mut now = 0;
    for step in steps.by_ref() {
        let step = step.map_err(|error| SessionError::Trace(trace.path().to_owned(), error))?;
        match step.what {
            What::Alloc(slot) | What::Held(slot) => {
                let slot = slot as usize;
                if slots.len() <= slot {
                    slots.resize(slot + 1, usize::MAX);
                }
                slots[slot] = blocks.len();
                blocks.push(BlockLife {
                    lower: now,
                    upper: u64::MAX,
                    size: step.size,
                    stream: step.stream,
                    line: step.line,
                });
            }
            What::Free(slot) => {
                let number = slots.get(slot as usize).copied().unwrap_or(usize::MAX);
                if let Some(block) = blocks.get_mut(number) {
                    block.upper = now;
                }
            }
            // It was refused when the trace was recorded, and is asked for again; a replay gives it back at once.
            What::Failure if step.size > 0 => blocks.push(BlockLife {
                lower: now,
                upper: now + 1,
                size: step.size,
                stream: step.stream,
                line: step.line,
            }),
            What::Retire(_) | What::Failure => {}
        }
        now += 1;
    }
    for block in &mut blocks {
        block.upper = block.upper.min(now);
    }
    if blocks.is_empty() {
        return Err(SessionError::Nothing(trace.path().to_owned()));
    }
    Ok((blocks, *steps.totals()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::ReadOptions;
    use crate::session::Input;
    use std::io::{self, Cursor, Read};
    use std::sync::Arc;

    #[derive(Debug)]
    struct Text(&'static str);

    impl Input for Text {
        fn open(&self) -> io::Result<Box<dyn Read + Send>> {
            Ok(Box::new(Cursor::new(self.0)))
        }
    }

    #[test]
    fn a_block_lives_until_it_is_over_and_what_is_not_freed_to_the_end() {
        let text = "id,lower,upper,size\na,0,4,10\nb,1,2,20\nc,2,9,30\n";
        let trace = TraceFile::of("text", Arc::new(Text(text)), ReadOptions::default());
        let (blocks, totals) = of(&trace).expect("sound");
        let lives: Vec<_> = blocks.iter().map(|b| (b.lower, b.upper, b.size, b.line)).collect();
        assert_eq!(lives, [(0, 4, 10, 2), (1, 2, 20, 3), (3, 5, 30, 4)]);
        assert_eq!(totals.peak_active_bytes, 40);
        let open = "time_ns,action,id,size,stream,thread\n0,alloc,1,8,0,0\n1,alloc,2,8,0,0\n2,free,1,8,0,0\n";
        let trace = TraceFile::of("text", Arc::new(Text(open)), ReadOptions::default());
        let (blocks, _) = of(&trace).expect("sound");
        let lives: Vec<_> = blocks.iter().map(|b| (b.lower, b.upper)).collect();
        assert_eq!(lives, [(0, 2), (1, 3)]);
    }
}
