//! How fast each twin plays: requests and frees a second, over sizes and lifetimes as a training run has them.
//!
//! `cargo run --release -p strandline-twins --example speed`. Times are those of the processor where the system tells them, so that
//! other work of the machine counts little.

use std::time::SystemTime;
use strandline_twins::bfc::{Bfc, Growth};
use strandline_twins::rmm::{Arena, ArenaSettings, Binning, BinningSettings, Pool, PoolSettings};
use strandline_twins::torch::{Settings, Torch};
use strandline_twins::{Device, Request, Twin};

const EVENTS: usize = 1_000_000;
/// Blocks live at once.
const LIVE: usize = 3000;

#[derive(Clone, Copy)]
enum Step {
    Allocate(u64, u64),
    /// The block in this place of the live ones.
    Free(usize),
}

/// Seconds that this thread had a processor, or of the clock where the system does not tell.
fn seconds() -> f64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let ns = told.and_then(|told| told.split(' ').next()?.parse::<f64>().ok());
    let clock = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    ns.map_or_else(|| clock().as_secs_f64(), |ns| ns / 1e9)
}

/// xorshift64*.
fn random(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8
}

fn program(streams: u64) -> Vec<Step> {
    let (mut state, mut live, mut steps) = (7, 0, Vec::with_capacity(EVENTS));
    while steps.len() < EVENTS {
        let phase = steps.len() % 20_000;
        // Each step of training fills up and empties again.
        let wanted = LIVE / 4 + LIVE * phase.min(20_000 - phase) / 10_000 * 3 / 4;
        if live > wanted {
            steps.push(Step::Free(random(&mut state) as usize % live));
            live -= 1;
        } else {
            let r = random(&mut state);
            let size = match r % 100 {
                0..50 => (r >> 8) % 12_000 + 4,
                50..80 => ((r >> 8) % 512 + 1) * 2048,
                80..97 => ((r >> 8) % 64 + 1) << 18,
                _ => ((r >> 8) % 180 + 16) << 20,
            };
            steps.push(Step::Allocate(size, (r >> 40) % streams));
            live += 1;
        }
    }
    steps
}

fn play(name: &str, twin: &mut dyn Twin, steps: &[Step]) {
    let (mut device, mut live, mut refused) = (Device::new(None), Vec::new(), 0);
    let start = seconds();
    for &step in steps {
        match step {
            Step::Allocate(size, stream) => {
                let got = twin.allocate(Request { size, stream, pool: 0 }, &mut device).ok();
                refused += u32::from(got.is_none());
                live.push(got.map(|got| (got.id, stream)));
            }
            Step::Free(place) => {
                if let Some((id, stream)) = live.swap_remove(place) {
                    twin.free_requested(id, stream);
                    twin.free_completed(id);
                }
            }
        }
    }
    let rate = steps.len() as f64 / (seconds() - start) / 1e6;
    println!("{name:<34}{rate:>8.2} million a second, {refused} refused");
}

fn main() {
    for streams in [1, 4] {
        println!("{streams} streams, {EVENTS} requests and frees, up to {LIVE} live");
        let steps = program(streams);
        for conf in ["", "expandable_segments:True", "max_split_size_mb:64"] {
            let Ok(settings) = Settings::parse(conf) else { continue };
            play(&format!("PyTorch {conf}"), &mut Torch::new(settings), &steps);
        }
        play("RMM pool", &mut Pool::new(PoolSettings::default()), &steps);
        play("RMM arena", &mut Arena::new(ArenaSettings { size: 64 << 30 }), &steps);
        let pool = PoolSettings::default();
        let bins = BinningSettings { smallest: 8, largest: 16, pool };
        play("RMM binning", &mut Binning::new(bins), &steps);
        for growth in [Growth::Xla, Growth::NextPowerOfTwo, Growth::SameAsRequested] {
            play(&format!("BFC {growth:?}"), &mut Bfc::new(growth), &steps);
        }
    }
}
