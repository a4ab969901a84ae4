//! The interface definitions in `wit/`: they resolve, every item says what it is and since when, and the
//! worlds give exactly the authority that they should.

use std::path::Path;
use wit_parser::{
    Docs, FunctionKind, Interface, PackageId, Resolve, Stability, TypeDefKind, WorldId, WorldItem,
};

const PACKAGE: &str = "strandline:substrate@0.1.0";

fn resolve() -> (Resolve, PackageId) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
    let mut resolve = Resolve::default();
    match resolve.push_dir(&folder) {
        Ok((package, _)) => (resolve, package),
        Err(error) => panic!("{}: {error:?}", folder.display()),
    }
}

/// Collects what is not documented or has no version.
#[derive(Default)]
struct Lacking(Vec<String>);

impl Lacking {
    fn item(&mut self, name: &str, docs: &Docs, stability: &Stability) {
        self.docs(name, docs);
        if !matches!(stability, Stability::Stable { .. }) {
            self.0.push(format!("{name}: no @since"));
        }
    }

    fn docs(&mut self, name: &str, docs: &Docs) {
        if docs.contents.as_ref().is_none_or(|text| text.trim().is_empty()) {
            self.0.push(format!("{name}: no documentation"));
        }
    }

    fn interface(&mut self, resolve: &Resolve, interface: &Interface) {
        let name = interface.name.as_deref().unwrap_or("?");
        self.item(name, &interface.docs, &interface.stability);
        for (type_name, &id) in &interface.types {
            let path = format!("{name}.{type_name}");
            let def = &resolve.types[id];
            match &def.kind {
                // `use` of another interface's type: documented there.
                TypeDefKind::Type(wit_parser::Type::Id(_)) => continue,
                TypeDefKind::Record(record) => {
                    for field in &record.fields {
                        self.docs(&format!("{path}.{}", field.name), &field.docs);
                    }
                }
                TypeDefKind::Variant(variant) => {
                    for case in &variant.cases {
                        self.docs(&format!("{path}.{}", case.name), &case.docs);
                    }
                }
                TypeDefKind::Enum(cases) => {
                    for case in &cases.cases {
                        self.docs(&format!("{path}.{}", case.name), &case.docs);
                    }
                }
                TypeDefKind::Flags(flags) => {
                    for flag in &flags.flags {
                        self.docs(&format!("{path}.{}", flag.name), &flag.docs);
                    }
                }
                _ => {}
            }
            self.item(&path, &def.docs, &def.stability);
        }
        for (function_name, function) in &interface.functions {
            let path = format!("{name}.{function_name}");
            self.item(&path, &function.docs, &function.stability);
        }
    }
}

#[test]
fn every_item_is_documented_and_dated() {
    let (resolve, package) = resolve();
    let package = &resolve.packages[package];
    assert_eq!(package.name.to_string(), PACKAGE);
    let mut lacking = Lacking::default();
    lacking.docs("the package", &package.docs);
    assert!(package.interfaces.len() >= 10, "an interface is gone");
    for &id in package.interfaces.values() {
        lacking.interface(&resolve, &resolve.interfaces[id]);
    }
    for (name, &id) in &package.worlds {
        let world = &resolve.worlds[id];
        lacking.item(name, &world.docs, &world.stability);
        for item in world.imports.values().chain(world.exports.values()) {
            match item {
                WorldItem::Function(function) => {
                    lacking.item(
                        &format!("{name}.{}", function.name),
                        &function.docs,
                        &function.stability,
                    );
                }
                WorldItem::Interface { stability, .. } => {
                    if !matches!(stability, Stability::Stable { .. }) {
                        lacking.0.push(format!("{name}: an item has no @since"));
                    }
                }
                WorldItem::Type { .. } => {}
            }
        }
    }
    assert!(lacking.0.is_empty(), "{:#?}", lacking.0);
}

fn names(resolve: &Resolve, world: WorldId, imports: bool) -> Vec<String> {
    let world = &resolve.worlds[world];
    let items = if imports { &world.imports } else { &world.exports };
    let mut names: Vec<String> = items
        .iter()
        .map(|(key, item)| match item {
            WorldItem::Interface { id, .. } => {
                resolve.interfaces[*id].name.clone().unwrap_or_default()
            }
            _ => resolve.name_world_key(key),
        })
        .collect();
    names.sort();
    names
}

#[test]
fn worlds_have_exactly_these_interfaces() {
    let (resolve, package) = resolve();
    let world = |name: &str| resolve.packages[package].worlds[name];
    let [substrate, guest, guest_sync] = ["substrate", "guest", "guest-sync"].map(world);
    // `types` has no functions: it is imported for its names only.
    assert_eq!(names(&resolve, substrate, true), ["notify", "slabs", "types"]);
    assert_eq!(
        names(&resolve, substrate, false),
        ["authority", "frontiers", "inspect", "pools", "tracker"]
    );
    // No authority, no tracker, no slabs.
    assert_eq!(names(&resolve, guest, true), ["device", "frontiers", "pools", "types", "waits"]);
    assert_eq!(names(&resolve, guest, false), ["run"]);
    assert_eq!(names(&resolve, guest_sync, true), ["device", "frontiers", "pools", "types"]);
    assert_eq!(names(&resolve, guest_sync, false), ["run"]);
}

#[test]
fn only_waits_are_async() {
    let (resolve, package) = resolve();
    let mut waits = Vec::new();
    for (name, &id) in &resolve.packages[package].interfaces {
        for (function, item) in &resolve.interfaces[id].functions {
            if matches!(
                item.kind,
                FunctionKind::AsyncFreestanding
                    | FunctionKind::AsyncMethod(_)
                    | FunctionKind::AsyncStatic(_)
            ) {
                waits.push(format!("{name}.{function}"));
            }
        }
    }
    assert_eq!(waits, ["waits.wait", "waits.changed"]);
}

/// `wkg build` encodes the package as a component of types, and reads `wkg.toml` for what to say about it.
#[test]
fn the_package_builds_as_wkg_builds_it() {
    let (resolve, package) = resolve();
    let bytes = wit_component::encode(&resolve, package).unwrap();
    let (built, again) = match wit_component::decode(&bytes).unwrap() {
        wit_component::DecodedWasm::WitPackage(resolve, package) => (resolve, package),
        wit_component::DecodedWasm::Component(..) => panic!("a component, not a package"),
    };
    let (source, built) = (&resolve.packages[package], &built.packages[again]);
    assert_eq!(built.name.to_string(), PACKAGE);
    assert_eq!(built.docs, source.docs, "documentation goes with it");
    assert!(built.interfaces.keys().eq(source.interfaces.keys()), "{:?}", built.interfaces);
    assert!(built.worlds.keys().eq(source.worlds.keys()), "{:?}", built.worlds);
}

#[test]
fn what_wkg_says_of_the_package_is_what_it_takes() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wkg.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let config: toml::Table = text.parse().unwrap();
    assert!(config.keys().eq(["metadata"]), "{config:?}");
    let metadata = config["metadata"].as_table().unwrap();
    // The fields of `wasm-pkg-core`'s metadata; it passes over others without a word.
    let known = ["author", "description", "licenses", "source", "homepage", "revision"];
    for (key, value) in metadata {
        assert!(known.contains(&key.as_str()), "{key}");
        assert!(value.as_str().is_some_and(|value| !value.is_empty()), "{key}: {value}");
    }
    assert_eq!(metadata["licenses"].as_str(), Some("MIT OR Apache-2.0"));
}
