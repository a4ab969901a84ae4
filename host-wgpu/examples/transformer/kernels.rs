//! The block's kernels: WGSL with the shapes put into its text.

use crate::{HEAD, HEADS, INNER, TOKENS, WIDTH};
use strandline_host_wgpu::{BindingKind, Gpu, Kernel, KernelError};

pub(crate) struct Kernels {
    /// y = x, each row over its root mean square.
    pub(crate) norm: Kernel,
    /// y = x · w.
    pub(crate) square: Kernel,
    /// Causal attention of all heads.
    pub(crate) attention: Kernel,
    /// y += x · w.
    pub(crate) project: Kernel,
    /// y = gelu(x · w), wider.
    pub(crate) up: Kernel,
    /// y += x · w, narrower.
    pub(crate) down: Kernel,
}

/// Bindings of these names, in order.
fn bindings(names: &[&str]) -> String {
    let one = |(i, name): (usize, &&str)| {
        format!("@group(0) @binding({i}) var<storage, read_write> {name}: array<f32>;\n")
    };
    names.iter().enumerate().map(one).collect()
}

/// A kernel's main function, for this many threads.
fn main(threads: usize, body: &str) -> String {
    format!(
        "@compute @workgroup_size(64)
        fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
            if id.x >= {threads}u {{ return; }}
            {body}
        }}"
    )
}

fn matmul(inner: usize, columns: usize, end: &str) -> String {
    let body = format!(
        "let row = id.x / {columns}u;
        let column = id.x % {columns}u;
        var sum = 0.0;
        for (var i = 0u; i < {inner}u; i++) {{
            sum += x[row * {inner}u + i] * w[i * {columns}u + column];
        }}
        {end}"
    );
    bindings(&["x", "w", "y"]) + &main(TOKENS * columns, &body)
}

fn norm() -> String {
    let body = format!(
        "let at = id.x * {WIDTH}u;
        var sum = 0.0;
        for (var i = 0u; i < {WIDTH}u; i++) {{ sum += x[at + i] * x[at + i]; }}
        let scale = inverseSqrt(sum / {WIDTH}.0 + 1e-5);
        for (var i = 0u; i < {WIDTH}u; i++) {{ y[at + i] = x[at + i] * scale; }}"
    );
    bindings(&["x", "y"]) + &main(TOKENS, &body)
}

fn attention() -> String {
    let scale = 1.0 / (HEAD as f32).sqrt();
    let body = format!(
        "let row = id.x / {HEADS}u;
        let at = (id.x % {HEADS}u) * {HEAD}u;
        var score: array<f32, {TOKENS}>;
        var most = -1e30;
        for (var t = 0u; t <= row; t++) {{
            var dot = 0.0;
            for (var i = 0u; i < {HEAD}u; i++) {{
                dot += q[row * {WIDTH}u + at + i] * k[t * {WIDTH}u + at + i];
            }}
            score[t] = dot * {scale:?};
            most = max(most, score[t]);
        }}
        var sum = 0.0;
        for (var t = 0u; t <= row; t++) {{
            score[t] = exp(score[t] - most);
            sum += score[t];
        }}
        for (var i = 0u; i < {HEAD}u; i++) {{
            var mixed = 0.0;
            for (var t = 0u; t <= row; t++) {{ mixed += score[t] * v[t * {WIDTH}u + at + i]; }}
            y[row * {WIDTH}u + at + i] = mixed / sum;
        }}"
    );
    bindings(&["q", "k", "v", "y"]) + &main(TOKENS * HEADS, &body)
}

/// The hyperbolic tangent's form of the Gaussian error linear unit.
const GELU: &str =
    "y[id.x] = 0.5 * sum * (1.0 + tanh(0.7978845608 * (sum + 0.044715 * sum * sum * sum)));";

impl Kernels {
    pub(crate) fn new(gpu: &Gpu) -> Result<Self, KernelError> {
        let kernel = |label, wgsl: &str, n| {
            Kernel::new(gpu, label, wgsl, "main", &vec![BindingKind::Storage; n])
        };
        Ok(Self {
            norm: kernel("norm", &norm(), 2)?,
            square: kernel("square", &matmul(WIDTH, WIDTH, "y[id.x] = sum;"), 3)?,
            attention: kernel("attention", &attention(), 4)?,
            project: kernel("project", &matmul(WIDTH, WIDTH, "y[id.x] += sum;"), 3)?,
            up: kernel("up", &matmul(WIDTH, INNER, GELU), 3)?,
            down: kernel("down", &matmul(INNER, WIDTH, "y[id.x] += sum;"), 3)?,
        })
    }
}
