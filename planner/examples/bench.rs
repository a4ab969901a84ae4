//! tmp
#![allow(missing_docs)]
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use strandline_planner::*;
fn main() {
    let secs: f64 = std::env::args().nth(1).unwrap().parse().unwrap();
    let cap: u64 = std::env::args().nth(2).unwrap().parse().unwrap();
    for path in std::env::args().skip(3) {
        let text = std::fs::read_to_string(&path).unwrap();
        let l: Vec<Lifetime> = text
            .lines()
            .skip(1)
            .map(|l| {
                let v: Vec<u64> = l.split(',').map(|x| x.parse().unwrap()).collect();
                Lifetime { lower: v[1], upper: v[2], size: v[3], alignment: 1, stream: 0 }
            })
            .collect();
        let t = Instant::now();
        let p = Problem::new(&l).unwrap();
        let best = AtomicU64::new(u64::MAX);
        let go = |b: u64| {
            let was = best.fetch_min(b, Ordering::Relaxed);
            if b < was {
                eprintln!("  {:.2}s {b}", t.elapsed().as_secs_f64());
            }
            t.elapsed() < Duration::from_secs_f64(secs)
                && best.load(Ordering::Relaxed) > cap.max(p.bound())
        };
        let plans: Vec<Plan> = std::thread::scope(|s| {
            let h: Vec<_> = (0..2)
                .map(|seed| {
                    let (p, go) = (&p, &go);
                    s.spawn(move || plan(p, &Options { seed, enough: cap }, go))
                })
                .collect();
            h.into_iter().map(|h| h.join().unwrap()).collect()
        });
        for (i, x) in plans.iter().enumerate() {
            check::check(&l, &x.offsets, x.bytes).unwrap();
            println!(
                "{path} worker {i}: {} bound {} live {} parts {} over {:.3}% {:.2}s",
                x.bytes,
                x.bound,
                p.bound(),
                p.parts_by_time(),
                (x.bytes as f64 / p.bound() as f64 - 1.0) * 100.0,
                t.elapsed().as_secs_f64()
            );
        }
    }
}
