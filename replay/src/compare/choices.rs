//! Which allocators and settings are compared, and what one would paste to get each.

use crate::size::Bytes;
use strandline_twins::Twin;
use strandline_twins::bfc::{Bfc, Growth};
use strandline_twins::rmm::{Pool, PoolSettings};
use strandline_twins::torch::settings::MIB;
use strandline_twins::torch::{Settings, Torch};

/// An allocator to be tried.
pub struct Choice {
    /// The allocator.
    pub allocator: &'static str,
    /// Its settings, in short.
    pub settings: String,
    /// What to paste.
    pub paste: Vec<String>,
    /// Its model, unused.
    pub twin: Box<dyn Twin>,
    /// Whether it is the recorded allocator, whatever its settings.
    pub recorded: bool,
    /// Whether the settings are the recorded ones, too.
    pub current: bool,
}

impl core::fmt::Debug for Choice {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Choice")
            .field("allocator", &self.allocator)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// Settings of PyTorch that are tried, each alone beside what is set already.
const TORCH: [&str; 8] = [
    "",
    "expandable_segments:True",
    "max_split_size_mb:64",
    "max_split_size_mb:128",
    "max_split_size_mb:512",
    "roundup_power2_divisions:4",
    "roundup_power2_divisions:8",
    "large_segment_size_mb:64",
];

/// Values of numeric settings that a sweep tries besides.
const SWEEP: [&str; 12] = [
    "max_split_size_mb:32",
    "max_split_size_mb:256",
    "max_split_size_mb:1024",
    "roundup_power2_divisions:2",
    "roundup_power2_divisions:16",
    "roundup_power2_divisions:32",
    "large_segment_size_mb:40",
    "large_segment_size_mb:128",
    "large_segment_size_mb:256",
    "expandable_segments:True,large_segment_size_mb:12",
    "expandable_segments:True,large_segment_size_mb:4",
    "expandable_segments:True,roundup_power2_divisions:8",
];

/// Everything that is compared: the recorded settings first, then each other setting of the recorded allocator, then others.
#[must_use]
pub fn choices(
    recorded: Option<&Settings>,
    capacity: Option<u64>,
    peak_active: u64,
    sweep: bool,
) -> Vec<Choice> {
    let torch = |settings: &Settings, current| Choice {
        allocator: "PyTorch",
        settings: settings.to_string(),
        paste: vec![format!("PYTORCH_CUDA_ALLOC_CONF={}", settings.conf())],
        twin: Box::new(Torch::new(settings.clone())),
        recorded: recorded.is_some(),
        current,
    };
    let mut choices = Vec::new();
    let mut tried: Vec<Settings> = Vec::new();
    if let Some(settings) = recorded {
        choices.push(torch(settings, true));
        tried.push(settings.clone());
    }
    let mut lines = TORCH.to_vec();
    if sweep {
        lines.extend(SWEEP);
    }
    let mut parsed: Vec<Settings> =
        lines.iter().filter_map(|line| Settings::parse(line).ok()).collect();
    if let Some(limit) = capacity {
        let shares: &[f64] = if sweep { &[0.6, 0.7, 0.8, 0.9] } else { &[0.8] };
        parsed.extend(shares.iter().map(|&gc_threshold| Settings {
            gc_threshold,
            limit: Some(limit),
            ..Settings::default()
        }));
    }
    for settings in parsed {
        if !tried.contains(&settings) {
            choices.push(torch(&settings, false));
            tried.push(settings);
        }
    }
    others(&mut choices, capacity, peak_active);
    choices
}

/// Allocators of other libraries.
fn others(choices: &mut Vec<Choice>, capacity: Option<u64>, peak_active: u64) {
    // A pool that begins with what is needed at least; its maximum is the device, where that is known.
    let initial =
        peak_active.checked_next_multiple_of(MIB).filter(|&b| capacity.is_none_or(|c| b <= c));
    let maximum = capacity.map(|bytes| bytes / MIB * MIB);
    for initial in [Some(0), initial].into_iter().flatten() {
        let of = |name: &str| match (name, maximum) {
            ("python", Some(maximum)) => format!(", maximum_pool_size={maximum}"),
            (_, Some(maximum)) => format!(", {maximum}"),
            (_, None) => String::new(),
        };
        choices.push(Choice {
            allocator: "RMM pool",
            settings: format!("initial_pool_size {}", Bytes(initial)),
            paste: vec![
                format!(
                    "rmm.mr.PoolMemoryResource(rmm.mr.CudaMemoryResource(), initial_pool_size={initial}{})",
                    of("python")
                ),
                format!("rmm::mr::pool_memory_resource pool{{&cuda, {initial}{}}};", of("c++")),
            ],
            twin: Box::new(Pool::new(PoolSettings { initial, maximum })),
            recorded: false,
            current: false,
        });
    }
    for (growth, settings, paste) in [
        (
            Growth::NextPowerOfTwo,
            "kNextPowerOfTwo (TensorFlow, XLA)",
            "arena_extend_strategy: kNextPowerOfTwo",
        ),
        (Growth::SameAsRequested, "kSameAsRequested", "arena_extend_strategy: kSameAsRequested"),
    ] {
        choices.push(Choice {
            allocator: "BFC",
            settings: settings.to_owned(),
            paste: vec![paste.to_owned()],
            twin: Box::new(Bfc::new(growth)),
            recorded: false,
            current: false,
        });
    }
}
