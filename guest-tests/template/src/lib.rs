//! A guest: it fills a transient buffer in the order of a queue, reads it back, and says what it saw.

wit_bindgen::generate!({ world: "guest-sync", path: "wit", generate_all });

use strandline::substrate::device::{self, Memory, Queue, QueueError, Slice};
use strandline::substrate::pools::{Permissions, Request};

struct Program;
export!(Program);

impl Guest for Program {
    fn run(arguments: Vec<String>) -> Result<String, String> {
        let bytes = match arguments.first() {
            Some(first) => first.parse().map_err(|_| format!("{first:?} is no number of bytes"))?,
            None => 4096,
        };
        let queue = device::open_queue().map_err(said)?;
        let seen = fill_and_read(&queue, bytes, 0x2a)?;
        let right = seen.iter().filter(|&&byte| byte == 0x2a).count();
        Ok(format!("{right} of {} bytes came back as they were written", seen.len()))
    }
}

/// Everything is submitted at once, and runs in this order: alloca, fill, read, dealloca.
fn fill_and_read(queue: &Queue, bytes: u64, value: u8) -> Result<Vec<u8>, String> {
    let pools = device::lent_pools();
    let pool = pools.first().ok_or("the host lends no pool")?;
    let may = Permissions::GROW | Permissions::WAIT;
    let request = Request { size: bytes, alignment: 256, after: Vec::new(), may };
    let alloca = queue.alloca(pool, &request).map_err(said)?;
    let all = Slice { memory: Memory::Transient(&alloca.buffer), offset: 0, len: bytes };
    queue.fill(&all, value, &[]).map_err(said)?;
    let read = queue.read(&all, &[]).map_err(said)?;
    queue.dealloca(alloca.buffer, &[]).map_err(|refused| said(refused.error))?;
    // This world cannot wait, so it looks how far the queue has come; the world `guest` has `waits`.
    while device::reached(queue.axis()) < read.epoch() {
        std::hint::spin_loop();
    }
    read.take().map_err(said)?.ok_or_else(|| "nothing was read".to_owned())
}

fn said(error: QueueError) -> String {
    format!("{error:?}")
}
