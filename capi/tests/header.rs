//! The committed header is what this crate gives. `STRANDLINE_RENEW=1 cargo test -p strandline-capi --test header` renews it.

use std::fs;
use std::path::Path;

#[test]
fn the_header_is_that_of_this_crate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("a configuration");
    let mut builder = cbindgen::Builder::new().with_config(config);
    // In the order in which a reader needs them.
    for file in ["status", "frontier", "tracker", "slabs", "pool", "pool/stats"] {
        builder = builder.with_src(root.join(format!("src/{file}.rs")));
    }
    let mut made = Vec::new();
    builder.generate().expect("the sources are read").write(&mut made);
    let made = String::from_utf8(made).expect("text");
    let path = root.join("include/strandline.h");
    if std::env::var_os("STRANDLINE_RENEW").is_some() {
        fs::write(&path, &made).expect("written");
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        made == committed,
        "the header is old: STRANDLINE_RENEW=1 cargo test -p strandline-capi --test header"
    );
    // Each function says who may call it.
    let mut said = String::new();
    for line in made.lines() {
        match line.strip_prefix("// ") {
            Some(text) => said += text,
            None if line.contains(" strandline_") && line.ends_with('(')
                || line.contains("(void);") =>
            {
                assert!(
                    said.contains("ny thread"),
                    "{line} does not say from which threads it may be called"
                );
                said.clear();
            }
            None => said.clear(),
        }
    }
}
