//! The same block on the processor.

use crate::{HEAD, HEADS, INNER, TOKENS, WIDTH, Weights};

fn norm(x: &[f32]) -> Vec<f32> {
    let row = |row: &[f32]| {
        let mean = row.iter().map(|x| x * x).sum::<f32>() / WIDTH as f32;
        let scale = 1.0 / (mean + 1e-5).sqrt();
        row.iter().map(|x| x * scale).collect::<Vec<_>>()
    };
    x.chunks(WIDTH).flat_map(row).collect()
}

fn matmul(x: &[f32], w: &[f32], inner: usize, columns: usize) -> Vec<f32> {
    let mut y = Vec::with_capacity(TOKENS * columns);
    for row in x.chunks(inner) {
        for column in 0..columns {
            y.push(row.iter().zip(w[column..].iter().step_by(columns)).map(|(x, w)| x * w).sum());
        }
    }
    y
}

fn attention(q: &[f32], k: &[f32], v: &[f32]) -> Vec<f32> {
    let mut y = vec![0.0; TOKENS * WIDTH];
    for row in 0..TOKENS {
        for at in (0..HEADS).map(|head| head * HEAD) {
            let dot = |t: usize| -> f32 {
                (0..HEAD).map(|i| q[row * WIDTH + at + i] * k[t * WIDTH + at + i]).sum()
            };
            let scores: Vec<f32> = (0..=row).map(|t| dot(t) / (HEAD as f32).sqrt()).collect();
            let most = scores.iter().copied().fold(f32::MIN, f32::max);
            let powers: Vec<f32> = scores.iter().map(|score| (score - most).exp()).collect();
            let sum: f32 = powers.iter().sum();
            for i in 0..HEAD {
                let rows = v[at + i..].iter().step_by(WIDTH);
                let mixed: f32 = powers.iter().zip(rows).map(|(power, v)| power * v).sum();
                y[row * WIDTH + at + i] = mixed / sum;
            }
        }
    }
    y
}

fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + (0.797_884_6 * (x + 0.044_715 * x * x * x)).tanh())
}

fn sum(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

pub(crate) fn block(x: &[f32], weights: &Weights<Vec<f32>>) -> Vec<f32> {
    let normed = norm(x);
    let [q, k, v] = [&weights.q, &weights.k, &weights.v].map(|w| matmul(&normed, w, WIDTH, WIDTH));
    let h = sum(x, &matmul(&attention(&q, &k, &v), &weights.o, WIDTH, WIDTH));
    let wide = matmul(&norm(&h), &weights.up, WIDTH, INNER);
    let inner: Vec<f32> = wide.into_iter().map(gelu).collect();
    sum(&h, &matmul(&inner, &weights.down, INNER, WIDTH))
}
