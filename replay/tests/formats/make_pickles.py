"""Writes the snapshots that the format tests read: python3 make_pickles.py

They have the shape of torch.cuda.memory._dump_snapshot's files, stack frames shared between entries included, and are
written with each pickle protocol. The values are made up; tests/formats.rs states what must be read from them.
"""

import pickle
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


def main():
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
