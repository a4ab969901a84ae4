use super::*;

/// A program while it is written.
#[derive(Default)]
struct Program {
    steps: Vec<Step>,
    vacant: Vec<u32>,
    slots: u32,
}

impl Program {
    fn push(&mut self, size: u64, what: What) {
        let line = self.steps.len() as u32 + 1;
        self.steps.push(Step { time_ns: 0, size, what, stream: 0, line });
    }

    fn alloc(&mut self, size: u64) -> u32 {
        let slot = self.vacant.pop().unwrap_or(self.slots);
        self.slots = self.slots.max(slot + 1);
        self.push(size, What::Alloc(slot));
        slot
    }

    fn free(&mut self, slot: u32) {
        self.push(0, What::Free(slot));
        // The size of a free is that of its block, as the checker has it.
        let size =
            self.steps.iter().rev().find(|step| step.what == What::Alloc(slot)).unwrap().size;
        self.steps.last_mut().unwrap().size = size;
        self.vacant.push(slot);
    }

    /// Layers forwards, whose activations wait, and backwards; `extra` bytes in between, if there are any.
    fn step(&mut self, layers: usize, extra: u64) {
        let mut kept = Vec::new();
        for _ in 0..layers {
            let scratch = self.alloc(300);
            kept.push([100, 200, 150].map(|size| self.alloc(size)));
            self.free(scratch);
        }
        let loss = self.alloc(8);
        if extra > 0 {
            let extra = self.alloc(extra);
            self.free(extra);
        }
        for blocks in kept.into_iter().rev() {
            let gradient = self.alloc(400);
            blocks.into_iter().for_each(|slot| self.free(slot));
            self.free(gradient);
        }
        self.free(loss);
    }
}

/// The requests before a position.
fn requests_before(steps: &[Step], cut: usize) -> usize {
    steps[..cut].iter().filter(|step| matches!(step.what, What::Alloc(_))).count()
}

#[test]
fn a_step_is_found_and_its_layers_are_none() {
    let mut program = Program::default();
    (0..30).for_each(|n| {
        program.alloc(5000 + n);
    });
    let begins: Vec<usize> = (0..6)
        .map(|n| {
            let at = program.steps.len();
            // One of the steps has a request more.
            program.step(12, if n == 3 { 77 } else { 0 });
            at
        })
        .collect();
    let found = find(&program.steps, &[]).unwrap();
    assert_eq!(found.by, By::Requests);
    let lengths: Vec<usize> = found
        .cuts
        .windows(2)
        .map(|cuts| {
            requests_before(&program.steps, cuts[1]) - requests_before(&program.steps, cuts[0])
        })
        .collect();
    assert!(lengths.len() >= 5, "{lengths:?}");
    assert!(lengths.iter().all(|&length| length == 61 || length == 62), "{lengths:?}");
    // It begins where hardly anything but the weights is live.
    assert!(begins[..2].contains(&found.cuts[0]), "{:?}, begins {begins:?}", found.cuts);
}

#[test]
fn marks_come_before_what_is_found() {
    let mut program = Program::default();
    let mut lines = Vec::new();
    for _ in 0..4 {
        program.step(3, 0);
        // Before the next event's line, as an entry of its own that is no event has one.
        lines.push(program.steps.last().unwrap().line + 1);
    }
    let length = program.steps.len() / 4;
    let found = find(&program.steps, &lines).unwrap();
    let cuts = vec![length, 2 * length, 3 * length, 4 * length];
    assert_eq!(found, Steps { cuts, by: By::Marks });
    // One mark bounds no step.
    assert_eq!(find(&program.steps, &lines[..1]).map(|found| found.by), Some(By::Requests));
    // Blocks from before the trace stand first, with the lines of their frees.
    program.steps.splice(0..0, [Step { line: 500, ..program.steps[0] }]);
    assert_eq!(find(&program.steps, &lines).unwrap().cuts[0], length + 1);
}

#[test]
fn what_does_not_repeat_has_no_steps() {
    // Layers alone: what they hold grows from turn to turn.
    let mut program = Program::default();
    let mut held = Vec::new();
    for _ in 0..40 {
        let scratch = program.alloc(900);
        held.extend((1..12).map(|n| program.alloc(n * 64)));
        program.free(scratch);
    }
    held.into_iter().rev().for_each(|slot| program.free(slot));
    assert_eq!(find(&program.steps, &[]), None);
    // Sizes that never come again, and hardly anything.
    let mut program = Program::default();
    for n in 0..500 {
        let slot = program.alloc(1 + n * n);
        program.free(slot);
    }
    assert_eq!(find(&program.steps, &[]), None);
    assert_eq!(find(&[], &[]), None);
    assert_eq!(find(&[], &[3, 5]), None);
}
