//! Which allocators and settings are compared, and what one would paste to get each.

use super::Kind;
use strandline_twins::Twin;
use strandline_twins::bfc::{Bfc, Growth};
use strandline_twins::rmm::{Arena, ArenaSettings, Binning, BinningSettings, Pool, PoolSettings};
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
    /// What the line takes besides, in words; empty if nothing.
    pub needs: &'static str,
    /// Its model, unused.
    pub twin: Box<dyn Twin + Send>,
    /// Whether it is the recorded allocator, whatever its settings, or another one.
    pub kind: Kind,
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

/// How PyTorch's rows are called.
pub(super) const TORCH_NAME: &str = "PyTorch";

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

/// Which allocator a trace was recorded from, as far as its format tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Recorded<'a> {
    /// PyTorch, with these settings.
    Torch(&'a Settings),
    /// RMM: its logs do not tell the resource.
    Rmm,
    /// Unknown.
    Unknown,
}

/// Everything that is compared, in the order of what a user can do today: the recorded settings, each other setting of the recorded
/// allocator, other allocators.
#[must_use]
pub fn choices(
    recorded: Recorded<'_>,
    capacity: Option<u64>,
    peak_active: u64,
    sweep: bool,
) -> Vec<Choice> {
    let mut choices = match recorded {
        Recorded::Torch(settings) => torch(Some(settings), capacity, sweep),
        Recorded::Rmm => rmm(capacity, peak_active, sweep, Kind::Own),
        Recorded::Unknown => Vec::new(),
    };
    if !matches!(recorded, Recorded::Torch(_)) {
        choices.extend(torch(None, capacity, sweep));
    }
    if recorded != Recorded::Rmm {
        choices.extend(rmm(capacity, peak_active, sweep, Kind::Other));
    }
    choices.extend(bfc(capacity));
    choices
}

/// PyTorch: with the recorded settings first, if it is what was recorded.
fn torch(recorded: Option<&Settings>, capacity: Option<u64>, sweep: bool) -> Vec<Choice> {
    let choice = |settings: &Settings, current| Choice {
        allocator: TORCH_NAME,
        settings: settings.to_string(),
        paste: lines(settings),
        needs: if settings.large_segment == Settings::default().large_segment {
            ""
        } else {
            "PyTorch 2.9 or later: earlier releases refuse the option"
        },
        twin: Box::new(Torch::new(settings.clone())),
        kind: if recorded.is_some() { Kind::Own } else { Kind::Other },
        current,
    };
    let mut tried: Vec<Settings> = recorded.cloned().into_iter().collect();
    let mut choices: Vec<Choice> =
        recorded.map(|settings| choice(settings, true)).into_iter().collect();
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
            choices.push(choice(&settings, false));
            tried.push(settings);
        }
    }
    choices
}

/// What to paste for settings. The threshold works with a memory fraction only, which the environment cannot set.
fn lines(settings: &Settings) -> Vec<String> {
    let mut lines = vec![format!("PYTORCH_CUDA_ALLOC_CONF={}", settings.conf())];
    if settings.gc_threshold > 0.0 {
        lines.push("torch.cuda.set_per_process_memory_fraction(1.0)".to_owned());
    }
    lines
}

/// RMM's resources, over CUDA's own allocations.
fn rmm(capacity: Option<u64>, peak_active: u64, sweep: bool, kind: Kind) -> Vec<Choice> {
    const CUDA: &str = "rmm::mr::cuda_memory_resource cuda;";
    let maximum = capacity.map(|bytes| bytes / MIB * MIB);
    // What begins with a size begins with what is needed at least; its maximum is the device, where that is known.
    let fits = |&bytes: &u64| capacity.is_none_or(|c| bytes <= c);
    let initial = peak_active.checked_next_multiple_of(MIB).filter(fits);
    let larger = |percent: u64| {
        (peak_active / 100).checked_mul(percent)?.checked_next_multiple_of(MIB).filter(fits)
    };
    let python = |initial: u64| {
        let maximum = maximum.map_or(String::new(), |m| format!(", maximum_pool_size={m}"));
        format!(
            "rmm.mr.PoolMemoryResource(rmm.mr.CudaMemoryResource(), initial_pool_size={initial}{maximum})"
        )
    };
    let cpp = |initial: u64| {
        let maximum = maximum.map_or(String::new(), |m| format!(", {m}"));
        format!("{CUDA} rmm::mr::pool_memory_resource pool{{&cuda, {initial}{maximum}}};")
    };
    let needs = if kind == Kind::Own {
        "rmm.mr.set_current_device_resource() to be called with it before the first allocation"
    } else {
        "a program that allocates through RMM; PyTorch does after \
         torch.cuda.memory.change_current_allocator(rmm.allocators.torch.rmm_torch_allocator)"
    };
    let pool = |initial| PoolSettings { initial, maximum, reclaims: false };
    let mut choices = Vec::new();
    let mut add = |allocator, settings, paste, twin| {
        choices.push(Choice { allocator, settings, paste, needs, twin, kind, current: false });
    };
    let mut initials = vec![0];
    initials.extend(initial);
    if sweep {
        initials.extend([larger(110), larger(125)].into_iter().flatten());
    }
    initials.dedup();
    for initial in initials {
        let paste = vec![python(initial), cpp(initial)];
        let twin = Box::new(Pool::new(pool(initial)));
        add("RMM pool", format!("initial_pool_size {}", in_mib(initial)), paste, twin);
    }
    let mut sizes: Vec<u64> = Vec::new();
    for size in [maximum, initial, larger(110), larger(125)].into_iter().flatten() {
        let size = size.max(MIB);
        if !sizes.contains(&size) {
            sizes.push(size);
        }
    }
    sizes.truncate(if sweep { 4 } else { 2 });
    for size in sizes {
        let paste = vec![
            format!("rmm.mr.ArenaMemoryResource(rmm.mr.CudaMemoryResource(), arena_size={size})"),
            format!("{CUDA} rmm::mr::arena_memory_resource arena{{&cuda, {size}}};"),
        ];
        let twin: Box<dyn Twin + Send> = Box::new(Arena::new(ArenaSettings { size }));
        add("RMM arena", format!("arena_size {}", in_mib(size)), paste, twin);
    }
    let exponents: &[(u32, u32)] = if sweep { &[(8, 12), (8, 16), (12, 20)] } else { &[(8, 16)] };
    for &(smallest, largest) in exponents {
        let paste = vec![
            format!("rmm.mr.BinningMemoryResource({}, {smallest}, {largest})", python(0)),
            format!(
                "{} rmm::mr::binning_memory_resource bins{{&pool, {smallest}, {largest}}};",
                cpp(0)
            ),
        ];
        let settings = BinningSettings { smallest, largest, pool: pool(0) };
        let twin = Box::new(Binning::new(settings));
        add("RMM binning", format!("bins 2^{smallest} to 2^{largest}, over a pool"), paste, twin);
    }
    choices
}

/// Whole MiB, so that two sizes look like two.
fn in_mib(bytes: u64) -> String {
    if bytes == 0 { "0".to_owned() } else { format!("{} MiB", bytes / MIB) }
}

/// BFC arenas.
fn bfc(capacity: Option<u64>) -> Vec<Choice> {
    let ort = |strategy: u32, name: &str| {
        let limit = capacity.unwrap_or(0);
        vec![
            format!(
                "onnxruntime.OrtArenaCfg({{\"max_mem\": {limit}, \"arena_extend_strategy\": {strategy}, \
                 \"initial_chunk_size_bytes\": {MIB}, \"max_dead_bytes_per_chunk\": {}, \
                 \"initial_growth_chunk_size_bytes\": {}}})",
                128 * MIB,
                2 * MIB
            ),
            format!(
                "providers=[(\"CUDAExecutionProvider\", {{\"arena_extend_strategy\": \"{name}\"{}}})]",
                capacity.map_or(String::new(), |c| format!(", \"gpu_mem_limit\": {c}"))
            ),
        ]
    };
    [
        (
            Growth::Xla,
            "TensorFlow",
            "BFC, allow_growth (XLA alike)",
            vec!["TF_FORCE_GPU_ALLOW_GROWTH=true".to_owned()],
        ),
        (Growth::NextPowerOfTwo, "ONNX Runtime", "BFC, kNextPowerOfTwo", ort(0, "kNextPowerOfTwo")),
        (
            Growth::SameAsRequested,
            "ONNX Runtime",
            "BFC, kSameAsRequested",
            ort(1, "kSameAsRequested"),
        ),
    ]
    .map(|(growth, allocator, settings, paste)| Choice {
        allocator,
        settings: settings.to_owned(),
        paste,
        needs: "",
        twin: Box::new(Bfc::new(growth)),
        kind: Kind::Other,
        current: false,
    })
    .into()
}
