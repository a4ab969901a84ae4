//! The component file: small, and with no need but its world's.

use crate::wasm;
use wasmtime::component::Component;
use wasmtime::{Config, Engine};

/// Bytes that the component may have.
const LARGEST: usize = 200 << 10;

#[test]
fn it_imports_exactly_its_world() {
    let engine = Engine::new(&Config::new()).unwrap();
    let component = Component::new(&engine, wasm()).unwrap();
    let ty = component.component_type();
    let mut imports: Vec<&str> = ty.imports(&engine).map(|(name, _)| name).collect();
    imports.sort_unstable();
    let of = |names: &[&str]| -> Vec<String> {
        names.iter().map(|name| format!("strandline:substrate/{name}@0.1.0")).collect()
    };
    assert_eq!(imports, of(&["notify", "slabs", "types"]));
    let mut exports: Vec<&str> = ty.exports(&engine).map(|(name, _)| name).collect();
    exports.sort_unstable();
    assert_eq!(exports, of(&["authority", "frontiers", "inspect", "pools", "tracker"]));
}

#[test]
fn it_is_small() {
    let bytes = wasm().len();
    assert!(bytes < LARGEST, "{bytes} bytes, of {LARGEST}");
}
