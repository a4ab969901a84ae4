"""Writes the snapshots that the format tests read: python3 make_pickles.py

They have the shape of torch.cuda.memory._dump_snapshot's files, stack frames shared between entries included, and are
written with each pickle protocol. The values are made up; tests/formats.rs states what must be read from them.
"""

import json
import pickle
from collections import OrderedDict
from pathlib import Path

HERE = Path(__file__).parent
BASE = 0x7F0000000000


def frame(name, line):
    return {"filename": "/home/user/" + "long/" * 20 + "train.py", "name": name, "line": line}


def snapshot():
    main, step = frame("main", 10), frame("step", 20)
    stacks = [[main], [main, step], []]

    def entry(action, addr, size, stream, time, stack=1, **more):
        where = "device_free" if action == "oom" else "addr"
        return {"action": action, where: addr, "size": size, "stream": stream, "time_us": time,
                "compile_context": "N/A", "user_metadata": "", "frames": stacks[stack], **more}

    t = 1_700_000_000_000_000
    first = [entry("alloc", BASE, 512, 0, t)]
    second = [
        # Live before the trace: freed, never allocated.
        entry("free_requested", BASE + 4096, 1000, 0, t),
        entry("free_completed", BASE + 4096, 1000, 0, t + 1),
        entry("segment_alloc", BASE, 2097152, 0, t + 2, 0),
        entry("alloc", BASE, 512, 0, t + 3),
        # A stream's handle is an address.
        entry("alloc", BASE + 512, 3000, 0x55AA00001000, t + 4),
        entry("snapshot", 0, 0, 0, t + 5, 2),
        entry("free_requested", BASE, 512, 0, t + 6),
        entry("oom", 4096, 1 << 40, 0, t + 7),
        # The same address again.
        entry("alloc", BASE, 100, 0, t + 8),
        entry("segment_map", BASE, 2097152, 0, t + 9),
        entry("free_requested", BASE + 512, 3000, 0x55AA00001000, t + 10),
        entry("free_completed", BASE + 512, 3000, 0x55AA00001000, t + 12),
    ]
    segments = [
        {"device": 1, "address": BASE, "total_size": 2097152, "stream": 0, "segment_type": "large", "frames": stacks[0],
         "blocks": [
             {"address": BASE, "size": 512, "requested_size": 100, "state": "active_allocated", "frames": stacks[1]},
             # Allocated before the trace and never mentioned in it; without an address, as older versions write.
             {"size": 1024, "requested_size": 777, "state": "inactive", "frames": []},
             {"size": 2048, "requested_size": 2000, "state": "active_allocated", "frames": []},
         ]},
        {"device": 0, "address": BASE + (1 << 30), "total_size": 512, "stream": 0, "segment_type": "small",
         "blocks": [{"size": 512, "requested_size": 512, "state": "active_allocated", "frames": []}]},
    ]
    return {
        "segments": segments,
        "device_traces": [first, second, []],
        "allocator_settings": {"PYTORCH_CUDA_ALLOC_CONF": "", "max_split_size": -1, "roundup_power2_divisions": {"1": 0},
                               "garbage_collection_threshold": 0.0, "expandable_segments": False},
        "external_annotations": [{"name": "step", "stage": "START", "time_us": t, "device": 1}],
    }


class Payload:
    def __reduce__(self):
        return (print, ("a trace was executed",))


GIB = 1 << 30


def plain(action, addr, size, time, stream=0):
    where = "device_free" if action == "oom" else "addr"
    return {"action": action, where: addr, "size": size, "stream": stream, "time_us": time, "frames": []}


def block(size, state, requested=None):
    return {"size": size, "requested_size": size if requested is None else requested, "state": state, "frames": []}


def segment(device, address, blocks, stream=0):
    at = address
    for one in blocks:
        one["address"] = at
        at += one["size"]
    return {"device": device, "address": address, "total_size": at - address, "stream": stream,
            "segment_type": "large", "segment_pool_id": (0, 0), "is_expandable": False, "frames": [], "blocks": blocks}


def oom():
    """Device 1 refuses twice: what is free is split, then there is too little. Device 0 is busier."""
    busy = [plain(action, BASE, 1 << 20, 1000 + i)
            for i in range(8) for action in ("alloc", "free_requested", "free_completed")]
    at = BASE + (1 << 36)
    trace = [
        plain("alloc", at, 2 * GIB, 1000),
        plain("alloc", at + 2 * GIB, 2 * GIB, 1001),
        plain("alloc", at + 4 * GIB, 2 * GIB, 1002),
        plain("free_requested", at + 2 * GIB, 2 * GIB, 1003),
        plain("free_completed", at + 2 * GIB, 2 * GIB, 1004),
        plain("alloc", at + 2 * GIB, GIB, 1004),
        plain("oom", GIB // 2, 3 * GIB, 1005),
        plain("free_requested", at + 2 * GIB, GIB, 1005),
        plain("free_completed", at + 2 * GIB, GIB, 1005),
        plain("segment_alloc", at + 16 * GIB, 2 * GIB, 1006),
        plain("segment_free", at + 32 * GIB, GIB, 1007),
        plain("alloc", at + 16 * GIB, GIB, 1008),
        plain("oom", GIB // 2, 6 * GIB, 1009),
    ]
    segments = [
        segment(0, BASE, [block(1 << 20, "inactive", 0)]),
        segment(1, at, [block(2 * GIB, "active_allocated"), block(2 * GIB, "inactive", 0),
                        block(2 * GIB, "active_allocated"), block(GIB, "inactive", 0)]),
        segment(1, at + 16 * GIB, [block(GIB, "active_allocated"), block(GIB, "inactive", 0)]),
    ]
    return {"segments": segments, "device_traces": [busy, trace, []]}


def deferred():
    """Frees that are completed later, out of order, one whose completion is not recorded, and one that was requested before."""
    at = BASE
    return {"segments": [], "device_traces": [[
        plain("alloc", at, 1000, 1), plain("alloc", at + 4096, 2000, 2), plain("alloc", at + 8192, 3000, 3, 7),
        plain("free_requested", at, 1000, 4), plain("free_requested", at + 4096, 2000, 5),
        plain("alloc", at + 16384, 4000, 6),
        plain("free_completed", at + 4096, 2000, 7), plain("alloc", at + 4096, 1500, 8),
        plain("free_completed", at + 65536, 5000, 9),
        plain("free_completed", at, 1000, 10),
        plain("free_requested", at + 8192, 3000, 11, 7), plain("alloc", at + 8192, 2500, 12),
        plain("free_requested", at + 8192, 2500, 13), plain("free_completed", at + 8192, 2500, 13),
    ]]}


def oddities():
    """What other versions and other tools write."""
    mark = {"action": "annotation_begin", "addr": 0, "size": 0, "stream": 0, "time_us": 1001.0}
    trace = (
        OrderedDict(plain("alloc", BASE, 1 << 20, 1000.0)), mark, dict(mark),
        plain("alloc", BASE + (1 << 20), 2 << 20, 1002.5, 2**64 - 1),
        {"note": "no action at all", "size": 3},
        plain("free_requested", BASE, 1 << 20, 1001.5),
    )
    return {"segments": (), "device_traces": (trace,), "host_traces": [mark, mark],
            "trace_alloc_overflowed": [True]}


def main():
    (HERE / "oom.pickle").write_bytes(pickle.dumps(oom()))
    (HERE / "oom.json").write_text(json.dumps(oom(), indent=1))
    (HERE / "deferred.pickle").write_bytes(pickle.dumps(deferred()))
    (HERE / "oddities.pickle").write_bytes(pickle.dumps(oddities()))
    bare = [one for one in oom()["segments"] if one["device"] == 1]
    for one in bare:
        one["device"] = 0
    (HERE / "bare.pickle").write_bytes(pickle.dumps(bare))
    (HERE / "bare.json").write_text(json.dumps(bare))
    # A state, with blocks that wait for their free, of a version that writes no addresses.
    waiting = [segment(0, BASE, [block(512, "active_allocated", 100), block(1024, "active_awaiting_free", 1000),
                                 block(512, "inactive", 0), block(2048, "active_pending_free"), block(512, "inactive", 0)]),
               segment(0, BASE + (1 << 21), [block(1 << 21, "inactive", 0)])]
    for one in waiting:
        for each in one["blocks"]:
            del each["address"]
    (HERE / "state.pickle").write_bytes(pickle.dumps({"segments": waiting, "device_traces": [[]]}))
    # The same, and a trace that says nothing of them.
    trace = [plain("alloc", BASE + (1 << 30), 300, 1), plain("free_requested", BASE + (1 << 30), 300, 2),
             plain("free_completed", BASE + (1 << 30), 300, 2)]
    (HERE / "pending.pickle").write_bytes(pickle.dumps({"segments": waiting, "device_traces": [trace]}))
    trace = [plain(action, BASE + (i << 20), 1000 + i, i) for i in range(5) for action in ("alloc", "free_completed")]
    (HERE / "completed_only.pickle").write_bytes(pickle.dumps({"segments": [], "device_traces": [trace]}))
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        (HERE / f"snapshot{protocol}.pickle").write_bytes(pickle.dumps(snapshot(), protocol=protocol))
    # A call inside: must be skipped, not made.
    hostile = snapshot()
    hostile["external_annotations"] = Payload()
    (HERE / "hostile.pickle").write_bytes(pickle.dumps(hostile))
    # Not recorded.
    (HERE / "no_history.pickle").write_bytes(pickle.dumps({"segments": [], "device_traces": [[], []]}))
    # The same list many times over, and lists within lists: small to store, huge to walk.
    shared = snapshot()
    shared["device_traces"] = [shared["device_traces"][1]] * 3
    deep = []
    for _ in range(60):
        deep = [deep, deep]
    shared["extra"] = deep
    (HERE / "shared.pickle").write_bytes(pickle.dumps(shared))


if __name__ == "__main__":
    main()
