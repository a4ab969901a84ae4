//! `strandline info`: what this machine offers.

use crate::Ending;
use crate::args::InfoArgs;
use crate::output::{self, Error};
use crate::provider::{Adapters, adapters};
use serde_json::json;
use strandline_host_native::machine_info;
use strandline_replay::build::Backing;
use strandline_replay::size::Bytes;

pub(crate) fn run(args: &InfoArgs) -> Result<Ending, Error> {
    let machine = machine_info();
    let provider = Backing::mmap(None)?.provider.properties();
    let Adapters { text: gpus, json: adapters } = adapters();
    let text = if args.json {
        let report = json!({
            "adapters": adapters,
            "providers": [{
                "name": "mmap",
                "memory_type": format!("{:?}", provider.memory_type),
                "usage": format!("{:?}", provider.usage),
                "alignment_bytes": provider.alignment,
                "granularity_bytes": provider.granularity,
                "max_slab_bytes": provider.max_slab_size,
            }],
            "machine": {
                "page_bytes": machine.page_size,
                "huge_page_bytes": machine.huge_page_size,
                "transparent_huge_pages": machine.transparent_huge_pages.map(|mode| mode.to_string()),
                "memory_bytes": machine.memory_total,
                "memory_available_bytes": machine.memory_available,
                "processors": machine.processors,
            },
        });
        format!("{report:#}\n")
    } else {
        let size = |bytes: Option<u64>| {
            bytes.map_or("unknown".to_owned(), |bytes| Bytes(bytes).to_string())
        };
        format!(
            "provider mmap: anonymous memory of this machine\n\
             \x20 memory type   {:?}\n\
             \x20 usage         {:?}\n\
             \x20 alignment     {}\n\
             \x20 granularity   {}\n\
             \x20 largest slab  {}\n\
             \n\
             {gpus}\n\
             machine\n\
             \x20 memory        {}, {} available\n\
             \x20 page          {}, huge {} ({})\n\
             \x20 processors    {}\n",
            provider.memory_type,
            provider.usage,
            Bytes(provider.alignment),
            Bytes(provider.granularity),
            Bytes(provider.max_slab_size),
            size(machine.memory_total),
            size(machine.memory_available),
            Bytes(machine.page_size),
            size(machine.huge_page_size),
            machine.transparent_huge_pages.map_or("unknown".to_owned(), |mode| mode.to_string()),
            machine.processors.map_or("unknown".to_owned(), |n| n.to_string()),
        )
    };
    output::print(&text)?;
    Ok(Ending::Satisfied)
}
