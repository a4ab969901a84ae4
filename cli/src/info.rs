//! `strandline info`: what this machine offers.

use crate::Ending;
use crate::args::InfoArgs;
use crate::output::{self, Error};
use crate::proactor;
use crate::provider::{Adapters, adapters};
use serde_json::{Value, json};
use std::time::Duration;
use strandline_host_native::{PrefaultReport, machine_info, measure_prefault, memory_nodes};
use strandline_replay::build::Backing;
use strandline_replay::size::Bytes;

/// How much memory page faults are measured with: large enough for huge pages, and a few milliseconds.
const MEASURED: u64 = 32 << 20;

pub(crate) fn run(args: &InfoArgs) -> Result<Ending, Error> {
    let proactor = proactor::running(args.proactor)?;
    let machine = machine_info();
    let nodes = memory_nodes();
    // A machine without that much memory is no reason to say nothing of it.
    let pages = measure_prefault(MEASURED).map_err(|error| log::warn!("{error}")).ok();
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
                "memory_nodes": nodes,
            },
            "proactor": { "kind": proactor.name, "reason": proactor.reason },
            "prefault": pages.as_ref().map(prefault_value),
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
             \x20 processors    {}\n\
             \x20 memory nodes  {}\n\
             \x20 event loops   {}\n\
             {}",
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
            nodes_text(&nodes),
            match &proactor.reason {
                Some(reason) => format!("{} ({reason})", proactor.name),
                None => proactor.name.clone(),
            },
            pages.as_ref().map(prefault_text).unwrap_or_default(),
        )
    };
    output::print(&text)?;
    Ok(Ending::Satisfied)
}

fn nodes_text(nodes: &[u32]) -> String {
    match nodes {
        [only] => format!("{only} (one node: binding changes nothing)"),
        several => several.iter().map(u32::to_string).collect::<Vec<_>>().join(", "),
    }
}

fn prefault_value(report: &PrefaultReport) -> Value {
    let ns = |time: Duration| time.as_nanos() as u64;
    json!({
        "bytes": report.bytes,
        "touched_ns": ns(report.touched),
        "populated_ns": ns(report.populated),
        "populated_huge_ns": ns(report.populated_huge),
        "huge_bytes": report.huge.map(|pages| pages.huge_bytes),
        "huge_bytes_exact": report.huge.map(|pages| pages.exact),
    })
}

fn prefault_text(report: &PrefaultReport) -> String {
    let line = |what: &str, time: Duration| {
        let per_second = report.bytes as f64 / time.as_secs_f64().max(1e-9);
        let ms = time.as_secs_f64() * 1e3;
        format!("  {what:12}  {ms:.1} ms, {}/s\n", Bytes(per_second as u64))
    };
    let huge = report.huge.map_or("unknown".to_owned(), |pages| {
        let bound = if pages.exact { "" } else { "at most " };
        format!("{bound}{} of {}", Bytes(pages.huge_bytes), Bytes(pages.mapped_bytes))
    });
    format!(
        "\nfirst use of {}\n{}{}{}  huge pages    {huge} given when advised\n",
        Bytes(report.bytes),
        line("page by page", report.touched),
        line("prefaulted", report.populated),
        line("huge, pref.", report.populated_huge),
    )
}
