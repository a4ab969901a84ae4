//! What every proactor does, whatever kernel interface is below it.
#![cfg(target_os = "linux")]

use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use strandline_core::*;
use strandline_host_native::proactor::*;

fn each(test: impl Fn(ProactorKind)) {
    for kind in ProactorKind::ALL {
        test(kind);
    }
}

fn run(p: &mut Proactor) {
    while p.pending() > 0 {
        p.poll(Some(Duration::from_secs(10))).unwrap();
    }
}

#[test]
fn smoke() {
    each(|kind| {
        let mut p = Proactor::builder().kind(kind).build().unwrap();
        let h = p.handle();
        let (tx, rx) = mpsc::channel();
        let send = |n: u32| {
            let tx = tx.clone();
            move |c: Completion| tx.send((n, c.result)).unwrap()
        };
        h.submit(Op::nop(), send(0));
        let t = Instant::now() + Duration::from_millis(3);
        h.submit(Op::timer(t), send(1));
        run(&mut p);
        assert!(Instant::now() >= t);
        assert_eq!(rx.try_iter().collect::<Vec<_>>(), [(0, Ok(0)), (1, Ok(0))]);
        let n = Arc::new(Notification::new(Some(strandline_host_native::thread_wake())));
        let seen = n.observe();
        h.submit(Op::wait(n.clone(), seen, None), send(2));
        let id = h.submit(Op::wait(n.clone(), seen, None), send(3));
        assert_eq!(p.poll(Some(Duration::ZERO)).unwrap(), 0);
        h.cancel(id);
        std::thread::scope(|s| {
            s.spawn(|| {
                std::thread::sleep(Duration::from_millis(2));
                n.signal_if_observed()
            });
            run(&mut p);
        });
        assert_eq!(rx.try_iter().collect::<Vec<_>>(), [(3, Err(OpError::Canceled)), (2, Ok(0))]);
        let f: SharedFd = tempfile(b"hello world").into();
        let tx2 = tx.clone();
        h.submit(Op::read_at(f.clone(), 6, vec![0; 100]), move |c| {
            let b = c.buffer.unwrap().into_bytes().unwrap();
            assert_eq!(&b[..5], b"world");
            tx2.send((4, c.result)).unwrap()
        });
        run(&mut p);
        assert_eq!(rx.try_iter().collect::<Vec<_>>(), [(4, Ok(5))]);
        let seq = Sequence::new()
            .then(Op::nop(), send(5))
            .then(Op::write_at(f.clone(), 0, b"HE".to_vec()), send(6))
            .then(Op::read_at(f, 0, vec![0; 3]), send(7));
        h.submit_sequence(seq);
        run(&mut p);
        assert_eq!(rx.try_iter().collect::<Vec<_>>(), [(5, Ok(0)), (6, Ok(2)), (7, Ok(3))]);
        h.submit(Op::wait(n.clone(), n.observe(), None), send(8));
        drop(p);
        assert_eq!(rx.try_iter().collect::<Vec<_>>(), [(8, Err(OpError::Closed))]);
    });
}

fn tempfile(bytes: &[u8]) -> std::fs::File {
    use std::io::Write;
    let path = std::env::temp_dir().join(format!(
        "strandline-{}-{:?}",
        std::process::id(),
        Instant::now()
    ));
    let mut f =
        std::fs::OpenOptions::new().create_new(true).read(true).write(true).open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    f.write_all(bytes).unwrap();
    f
}
