//! The guests as components, built when they are first needed.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The folder that `cargo xtask guests` builds into; its answer is the last line it prints.
fn folder() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        if let Some(folder) = std::env::var_os("STRANDLINE_GUESTS") {
            return folder.into();
        }
        let built = Command::new(env!("CARGO"))
            .args(["run", "--quiet", "--package", "xtask", "--", "guests"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo runs");
        let said = String::from_utf8_lossy(&built.stdout).into_owned();
        assert!(
            built.status.success(),
            "`cargo xtask guests` failed:\n{said}{}",
            String::from_utf8_lossy(&built.stderr)
        );
        said.lines().last().expect("a folder").into()
    })
}

fn read(name: &str) -> Vec<u8> {
    let path = folder().join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The guest that runs cases and hostile programs.
pub(crate) fn conformance() -> Vec<u8> {
    read("conformance.wasm")
}
