//! The explanation as JSON: the keys are stable.

use super::{Explanation, Moment};
use crate::certify::Certificate;
use serde_json::{Value, json};

impl Certificate {
    /// The certificate as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let score = |s: crate::certify::Score| json!({ "reproduced": s.reproduced, "of": s.of });
        json!({
            "whole": self.is_whole(),
            "settings": self.settings.conf(),
            "settings_from": self.source.word(),
            "addresses": score(self.addresses),
            "segments": score(self.segments),
            "maps": score(self.maps),
            "frees": score(self.frees),
            "unmaps": score(self.unmaps),
            "sweeps": score(self.sweeps),
            "reserved": score(self.reserved),
            "first_difference": self.first_difference.as_ref().map(|d| json!({ "entry": d.index(), "what": d.what })),
            "nothing_to_compare": self.nothing_to_compare,
            "notes": self.notes,
        })
    }
}

impl Explanation {
    /// The explanation as JSON, with at most `top` holders, stacks and pinners.
    #[must_use]
    pub fn to_json(&self, top: usize) -> Value {
        let reserved_of = |m: Moment| self.tells_segments().then_some(m.reserved);
        let moment = |m: Moment| {
            json!({
                "entry": m.index(), "allocated_bytes": m.allocated, "active_bytes": m.active, "reserved_bytes": reserved_of(m),
            })
        };
        let [allocated, active, reserved] = self.peaks;
        let unused = self.unused;
        json!({
            "certificate": self.certificate.to_json(),
            "explain": {
                "device": self.device,
                "devices": self.devices,
                "entries": self.entries,
                "peak_allocated_bytes": allocated.allocated,
                "peak_active_bytes": active.active,
                "peak_reserved_bytes": reserved_of(reserved),
                "peak_entries": [allocated.index(), active.index(), reserved.index()],
                "at": moment(self.at),
                "at_because": self.focus.words(),
                "unused": {
                    "rounding": unused.map(|u| u.rounding),
                    "inside_segments": unused.map(|u| u.inside_segments),
                    "whole_segments": unused.map(|u| u.whole_segments),
                    "waiting": unused.map(|u| u.waiting),
                    "other_streams": unused.map(|u| u.other_streams),
                    "private_pools": unused.map(|u| u.private_pools),
                },
                "out_of_memory_total": self.refusals_total,
                "out_of_memory": self.refusals.iter().map(|r| json!({
                    "device": r.device,
                    "entry": r.moment.index(),
                    "requested_bytes": r.requested,
                    "allocated_bytes": r.moment.allocated,
                    "active_bytes": r.moment.active,
                    "reserved_bytes": r.had.map(|had| had.reserved),
                    "device_free_bytes": r.device_free,
                    "largest_hole_bytes": r.had.map(|had| had.largest_hole),
                    "own_free_bytes": r.had.map(|had| had.own_free),
                    "verdict": r.verdict.map(super::Verdict::word),
                })).collect::<Vec<_>>(),
                "holders": holders(&self.holders, "line", top),
                "stacks": holders(&self.stacks, "stack", top),
                "pinners": pinners(&self.pinners, top),
            },
        })
    }
}

impl super::Pins {
    /// The lines as the explanation has them under `pinners`: all of them.
    #[must_use]
    pub fn to_json(&self) -> Value {
        pinners(&self.lines, usize::MAX).into()
    }
}

fn pinners(pinners: &[super::Pinner], top: usize) -> Vec<Value> {
    let of = |p: &super::Pinner| json!({ "line": p.line, "bytes": p.bytes, "pinned_bytes": p.pinned, "blocks": p.blocks });
    pinners.iter().take(top).map(of).collect()
}

fn holders(holders: &[super::Holder], key: &str, top: usize) -> Vec<Value> {
    let of = |h: &super::Holder| {
        json!({
            key: h.line, "bytes": h.bytes, "blocks": h.blocks, "largest_bytes": h.largest,
            "oldest_entry": h.oldest.checked_sub(1), "youngest_entry": h.youngest.checked_sub(1),
        })
    };
    holders.iter().take(top).map(of).collect()
}
