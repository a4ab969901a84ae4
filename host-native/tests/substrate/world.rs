//! The component file: no need but its world's, and no larger than it was.

use crate::{module, wasm};

/// Bytes that the component may have: what it has, and a little room.
const LARGEST: usize = 200 << 10;
/// The same from a compiler that takes no unstable flags: its library is built for speed, and a panic calls a handler.
const LARGEST_STABLE: usize = 224 << 10;

#[test]
fn it_imports_exactly_its_world() {
    let of = |names: &[&str]| -> Vec<String> {
        names.iter().map(|name| format!("strandline:substrate/{name}@0.1.0")).collect()
    };
    assert_eq!(module().imports(), of(&["notify", "slabs", "types"]));
    let exports = of(&["authority", "frontiers", "inspect", "pools", "tracker"]);
    assert_eq!(module().exports(), exports);
}

#[test]
fn it_does_not_grow_unnoticed() {
    let bytes = wasm().len();
    // Said by whoever built it so.
    let stable = std::env::var_os("STRANDLINE_COMPONENT_STABLE").is_some();
    let largest = if stable { LARGEST_STABLE } else { LARGEST };
    assert!(bytes < largest, "{bytes} bytes, of {largest}");
}
