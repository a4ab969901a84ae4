//! A plan as a picture: lifetimes to the right, addresses up.

use core::fmt::Write as _;
use strandline_planner::{Lifetime, Plan};

const WIDTH: f64 = 1200.0;
const HEIGHT: f64 = 700.0;
const MARGIN: f64 = 30.0;
/// More blocks than that are no picture and no file that a browser likes: the largest by area are drawn.
const MOST: usize = 20_000;

/// Draws a plan.
pub(crate) fn draw(title: &str, lifetimes: &[Lifetime], plan: &Plan) -> String {
    let from = lifetimes.iter().map(|block| block.lower).min().unwrap_or(0);
    let to = lifetimes.iter().map(|block| block.upper).max().unwrap_or(1);
    let (across, up) = (WIDTH / (to - from).max(1) as f64, HEIGHT / plan.bytes.max(1) as f64);
    let mut blocks: Vec<_> = lifetimes.iter().zip(&plan.offsets).enumerate().collect();
    let area = |block: &Lifetime| u128::from(block.upper - block.lower) * u128::from(block.size);
    blocks.sort_by_key(|(number, (block, _))| (core::cmp::Reverse(area(block)), *number));
    blocks.truncate(MOST);
    let title = title.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let (wide, high) = (WIDTH + 2.0 * MARGIN, HEIGHT + 2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {wide} {high}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <style>rect{{stroke:#0004;stroke-width:.3}} .b{{fill:none;stroke:#888}} text{{fill:#888}} line{{stroke:#d33;stroke-dasharray:6 4}}</style>\n\
         <text x=\"{MARGIN}\" y=\"20\">{title}: {} bytes, bound {} (dashed); time to the right, addresses up</text>\n",
        plan.bytes, plan.bound
    );
    for (number, (block, &offset)) in blocks {
        let x = MARGIN + (block.lower - from) as f64 * across;
        let width = (block.upper - block.lower) as f64 * across;
        let height = block.size as f64 * up;
        let y = MARGIN + HEIGHT - offset as f64 * up - height;
        // Streams differ in hue, neighbours of a stream in lightness.
        let hue = (210 + u64::from(block.stream) * 137) % 360;
        let light = 45 + (number * 7) % 30;
        // Writing into a string does not fail.
        let _ = writeln!(
            svg,
            "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{width:.2}\" height=\"{height:.2}\" fill=\"hsl({hue},50%,{light}%)\">\
             <title>block {number}: {} bytes at {offset}, from {} to {}, stream {}</title></rect>",
            block.size, block.lower, block.upper, block.stream
        );
    }
    let y = MARGIN + HEIGHT - plan.bound as f64 * up;
    let _ = write!(
        svg,
        "<line x1=\"{MARGIN}\" x2=\"{}\" y1=\"{y:.2}\" y2=\"{y:.2}\"/>\n\
         <rect class=\"b\" x=\"{MARGIN}\" y=\"{MARGIN}\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n</svg>\n",
        MARGIN + WIDTH
    );
    svg
}
