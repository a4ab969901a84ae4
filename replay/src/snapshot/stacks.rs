//! Call stacks, interned: of a million entries a few thousand have stacks of their own.
//!
//! A stack is a list of frames, the innermost first. Its *line* is the frame that people look for: the first that is not in a
//! library, or the innermost one if all are. Cost: O(frames) to add a stack, O(1) to look at one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// A frame of a call stack.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Frame {
    /// The source file.
    pub file: Box<str>,
    /// The line, from 1.
    pub line: u32,
    /// The function.
    pub function: Box<str>,
}

impl core::fmt::Display for Frame {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}:{} {}", self.file, self.line, self.function)
    }
}

/// All stacks of a snapshot. Stack 0 is the empty one.
#[derive(Clone, Debug)]
pub struct Stacks {
    frames: Vec<Frame>,
    frame_numbers: HashMap<Frame, u32>,
    stacks: Vec<Box<[u32]>>,
    stack_numbers: HashMap<Box<[u32]>, u32>,
    lines: Vec<Option<u32>>,
}

impl Default for Stacks {
    fn default() -> Self {
        let mut stacks = Self {
            frames: Vec::new(),
            frame_numbers: HashMap::new(),
            stacks: Vec::new(),
            stack_numbers: HashMap::new(),
            lines: Vec::new(),
        };
        stacks.stack(&[]);
        stacks
    }
}

impl Stacks {
    /// The number of a frame.
    pub fn frame(&mut self, frame: Frame) -> u32 {
        match self.frame_numbers.entry(frame) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                let number = self.frames.len() as u32;
                self.frames.push(new.key().clone());
                *new.insert(number)
            }
        }
    }

    /// The number of a stack of frames, the innermost first.
    pub fn stack(&mut self, frames: &[u32]) -> u32 {
        if let Some(&number) = self.stack_numbers.get(frames) {
            return number;
        }
        let number = self.stacks.len() as u32;
        let library = |&&frame: &&u32| !is_library(&self.frames[frame as usize].file);
        let line = frames.iter().find(library).or(frames.first()).copied();
        self.stacks.push(frames.into());
        self.stack_numbers.insert(frames.into(), number);
        self.lines.push(line);
        number
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.stacks.len()
    }

    /// Whether no entry has a stack.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The frames of a stack, the innermost first.
    pub fn frames(&self, stack: u32) -> impl ExactSizeIterator<Item = &Frame> {
        let frames = self.stacks.get(stack as usize).map_or(&[][..], |frames| frames);
        frames.iter().map(|&frame| &self.frames[frame as usize])
    }

    /// The numbers of a stack's frames, the innermost first.
    #[must_use]
    pub fn numbers(&self, stack: u32) -> &[u32] {
        self.stacks.get(stack as usize).map_or(&[], |frames| frames)
    }

    /// All frames, by number.
    #[must_use]
    pub fn all_frames(&self) -> &[Frame] {
        &self.frames
    }

    /// The number of a stack's line: the first frame that is not in a library.
    #[must_use]
    pub fn line(&self, stack: u32) -> Option<u32> {
        self.lines.get(stack as usize).copied().flatten()
    }

    /// How a line is called in reports: `file:line function`.
    #[must_use]
    pub fn line_name(&self, line: Option<u32>) -> String {
        match line.and_then(|line| self.frames.get(line as usize)) {
            Some(frame) => frame.to_string(),
            None => NO_STACK.to_owned(),
        }
    }
}

/// How memory without a call stack is called in reports.
pub const NO_STACK: &str = "(no stack recorded)";

/// Whether a file belongs to a library or to no source file at all, so that its lines are not the user's.
fn is_library(file: &str) -> bool {
    let of = |part: &str| file.contains(part);
    file.is_empty()
        || file == "??"
        || file.starts_with("torch/")
        || file.starts_with('<')
        || [".so", ".cpp", ".cc", ".h", ".cu"].iter().any(|end| file.ends_with(end))
        || of("/site-packages/")
        || of("/dist-packages/")
        || of("/torch/")
        || of("/lib/python")
        || file.starts_with("lib/python")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_the_first_of_the_user() {
        let mut stacks = Stacks::default();
        let frame = |file: &str, line| Frame { file: file.into(), line, function: "f".into() };
        let [torch, user, site] = [
            ("torch/nn/modules/linear.py", 125),
            ("app/model.py", 7),
            ("/x/lib/python3.12/site-packages/a.py", 3),
        ]
        .map(|(file, line)| stacks.frame(frame(file, line)));
        let inner = stacks.stack(&[torch, site, user]);
        let library = stacks.stack(&[torch, site]);
        assert_eq!(stacks.stack(&[torch, site, user]), inner);
        assert_eq!(stacks.line(inner), Some(user));
        assert_eq!(stacks.line(library), Some(torch));
        assert_eq!(stacks.line(0), None);
        assert_eq!(stacks.line_name(stacks.line(inner)), "app/model.py:7 f");
        assert_eq!(stacks.frames(library).len(), 2);
        assert_eq!(stacks.line_name(Some(99)), NO_STACK);
    }
}
