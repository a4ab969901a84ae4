//! Writes the C bindings of the world `guest`: `strandline-c-bindings WIT OUT`.

use std::path::PathBuf;
use wit_bindgen_core::{Files, wit_parser::Resolve};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(wit), Some(out), None) = (arguments.next(), arguments.next(), arguments.next())
    else {
        anyhow::bail!("usage: strandline-c-bindings WIT OUT");
    };
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(&wit)?;
    let world = resolve.select_world(&[package], Some("guest"))?;
    let mut files = Files::default();
    wit_bindgen_c::Opts::default().build().generate(&mut resolve, world, &mut files)?;
    std::fs::create_dir_all(&out)?;
    for (name, contents) in files.iter() {
        std::fs::write(out.join(name), contents)?;
    }
    Ok(())
}
