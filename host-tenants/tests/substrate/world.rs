//! The component file: no need but its world's, and no larger than it was.

use crate::{module, module_with_plans, wasm};

/// Bytes that the component may have: what it has, and a little room. It was 202 KB before pools looked at everything that is
/// ready before they refuse and gave slabs back to make room; that a refusal is right is worth the 56 KB.
const LARGEST: usize = 256 << 10;

#[test]
fn it_imports_exactly_its_world() {
    let of = |names: &[&str]| -> Vec<String> {
        names.iter().map(|name| format!("strandline:substrate/{name}@0.1.0")).collect()
    };
    assert_eq!(module().imports(), of(&["notify", "slabs", "types"]));
    let exports = of(&["authority", "frontiers", "inspect", "pools", "tracker"]);
    assert_eq!(module().exports(), exports);

    assert_eq!(module_with_plans().imports(), module().imports());
    let exports = of(&["authority", "frontiers", "inspect", "plans", "pools", "tracker"]);
    assert_eq!(module_with_plans().exports(), exports);
}

#[test]
fn it_does_not_grow_unnoticed() {
    let bytes = wasm().len();
    assert!(bytes < LARGEST, "{bytes} bytes, of {LARGEST}");
}
