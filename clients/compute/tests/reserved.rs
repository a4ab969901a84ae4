//! With the sizes that a recording gives, cubecl holds no more than without, for 1, 4 and 8 threads, and computes the same.

use strandline_client_compute::{MIB, OpenError, Run, RunError, expected, run, sizes};

/// A run. `None`, said aloud, where there is no adapter; in CI that is a failure.
fn try_run(pages: &[Option<u64>]) -> Option<Run> {
    match run(pages) {
        Ok(run) => Some(run),
        Err(RunError::Open(OpenError::NoAdapter)) => {
            let ci = std::env::var_os("CI").is_some_and(|ci| !ci.is_empty() && ci != "false");
            assert!(!ci, "no GPU adapter: CI must have one (mesa-vulkan-drivers, libvulkan1)");
            eprintln!("skipped: no GPU adapter here");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn check(run: &Run) {
    for (thread, answer) in run.answers.iter().enumerate() {
        assert!(*answer == expected(thread), "the answer of thread {thread}");
    }
}

#[test]
fn cubecl_holds_no_more_with_the_sizes_of_a_recording() {
    println!(
        "threads  live MiB  fitted MiB  reserved before  over live  reserved after  over live"
    );
    for threads in [1, 4, 8] {
        let Some(before) = try_run(&vec![None; threads]) else { return };
        check(&before);
        let of = |trace| sizes(trace, &before.memory).unwrap();
        let sizes: Vec<_> = before.traces.iter().map(of).collect();
        let fitted: u64 = sizes.iter().map(|sizes| sizes.fitted).sum();
        let judged: u64 = sizes.iter().map(|sizes| sizes.without).sum();
        assert_eq!(judged, before.reserved, "the crate's manager alone holds what it held here");
        let pages: Vec<_> = sizes.iter().map(|sizes| sizes.page).collect();
        assert!(pages.iter().all(Option::is_some), "a size that helps: {sizes:?}");
        let Some(after) = try_run(&pages) else { return };
        check(&after);
        let mib = |bytes: u64| bytes as f64 / MIB as f64;
        let over = |run: &Run| run.reserved as f64 / run.live as f64;
        println!(
            "{threads:>7}  {:>8.1}  {:>10.1}  {:>15.1}  {:>9.2}  {:>14.1}  {:>9.2}",
            mib(before.live),
            mib(fitted),
            mib(before.reserved),
            over(&before),
            mib(after.reserved),
            over(&after)
        );
        assert_eq!(before.live, after.live, "the same program");
        let promised: u64 = sizes.iter().map(|sizes| sizes.expected).sum();
        assert_eq!(after.reserved, promised);
        assert!(after.reserved <= before.reserved, "{sizes:?}");
    }
}

#[test]
fn a_recording_is_a_trace_that_plays() {
    let Some(run) = try_run(&[None]) else { return };
    let text = run.traces[0].to_csv();
    assert!(text.lines().count() > 200, "{text}");
    let scan = run.traces[0].to_file().scan(&mut |_| ()).unwrap();
    assert_eq!(scan.streams, 1);
    // Slices are multiples of 256 bytes, so that in use is a little more than was asked for.
    let peak = scan.totals.peak_active_bytes;
    assert!(peak <= run.live && run.live < peak + peak / 50, "{peak} {}", run.live);
}
