//! The interface definitions are one package, wherever a copy of it has to be: inside the crates that are built from it, and in the folder that is copied to begin a
//! guest.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn definitions(folder: &str) -> BTreeMap<String, String> {
    let folder = root().join(folder);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{folder:?}: {e}"));
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, std::fs::read_to_string(path).unwrap())
    };
    entries.map(read).collect()
}

#[test]
fn every_copy_is_the_same_package() {
    let package = definitions("wit");
    assert!(package.len() > 5 && package.keys().all(|name| name.ends_with(".wit")));
    for copy in ["host-tenants/wit", "core/component/wit", "guest-tests/template/wit"] {
        let copy_of = definitions(copy);
        for (name, text) in &package {
            assert_eq!(copy_of.get(name), Some(text), "{copy}/{name} is not wit/{name}");
        }
        assert_eq!(copy_of.len(), package.len(), "{copy} has more than wit/");
    }
}

#[test]
fn the_package_has_the_version_of_the_crates() {
    let worlds = &definitions("wit")["worlds.wit"];
    let package = concat!("package strandline:substrate@", env!("CARGO_PKG_VERSION"), ";");
    assert!(worlds.contains(package), "{package}");
    for world in ["world substrate {", "world guest {", "world guest-sync {"] {
        assert!(worlds.contains(world), "{world}");
    }
    let annotated = std::fs::read_to_string(root().join("wkg.toml")).unwrap();
    assert!(annotated.contains("[metadata]") && annotated.contains("licenses = \""));
}
