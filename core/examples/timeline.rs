//! A timeline semaphore between a producer and a consumer: the value says how far the producer is, the frontier says what that rests on.
//!
//! ```sh
//! cargo run -p strandline-core --example timeline
//! ```

use std::error::Error;
use std::sync::mpsc;

use strandline_core::{Axis, Frontier, Semaphore};

fn main() -> Result<(), Box<dyn Error>> {
    let (decode, upload) = (Axis::host(1), Axis::queue(0, 0));
    let frames = Semaphore::new(0);

    // The consumer asks for frame 2; the call comes on the thread that signals.
    let (tell, told) = mpsc::channel();
    frames.on_reach(2, move |reached| {
        // The receiver lives as long as main.
        let _ = tell.send(reached);
    });

    frames.signal(1, Frontier::from_entry(decode, 1).as_ref())?;
    assert!(told.try_recv().is_err(), "frame 1 is not frame 2");
    frames.signal(2, Frontier::from_entry(upload, 7).as_ref())?;

    let reached = told.recv()??;
    println!("frame {} is there; it rests on {}", reached.value, reached.frontier);
    assert_eq!(
        (reached.frontier.as_ref().get(decode), reached.frontier.as_ref().get(upload)),
        (1, 7)
    );

    // Values only rise: a second frame 2 is refused, and says what the value is.
    let refused = frames.signal(2, Frontier::default().as_ref()).expect_err("2 is not above 2");
    println!("refused: {refused}");
    Ok(())
}
