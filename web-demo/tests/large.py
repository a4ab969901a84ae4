"""A large snapshot from a small one: its run, and then the blocks that it gives back again and again, until the file has so many bytes.

    python3 large.py small.pickle.gz large.pickle 1e9

For measurements of the page with files that nobody wants to ship. What comes again is in the recorded order, with its call stacks, at addresses
that nothing else has when the small run ends; times go on. Entries are written one after the other, so that the script needs little memory.
"""

import gzip
import pickle
import struct
import sys


class Writer:
    """Writes pickles of protocol 4 as PyTorch's are: strings and frames once, and by their number afterwards."""

    def __init__(self, out):
        self.out = out
        self.memo = {}
        self.bytes = 0

    def write(self, data):
        self.out.write(data)
        self.bytes += len(data)

    def value(self, value):
        return b"".join(self.parts(value))

    def again(self, key, make):
        """Opcodes of what is written once."""
        if key in self.memo:
            yield b"j" + struct.pack("<I", self.memo[key])
            return
        yield from make()
        self.memo[key] = len(self.memo)
        yield b"r" + struct.pack("<I", self.memo[key])

    def parts(self, value):
        if value is None or isinstance(value, bool):
            yield {None: b"N", True: b"\x88", False: b"\x89"}[value]
        elif isinstance(value, int):
            yield number(value)
        elif isinstance(value, float):
            yield b"G" + struct.pack(">d", value)
        elif isinstance(value, str):
            text = value.encode()
            yield from self.again(value, lambda: [b"X" + struct.pack("<I", len(text)) + text])
        elif isinstance(value, (list, tuple)):
            yield b"]("
            for part in value:
                yield from self.parts(part)
            yield b"e"
        elif isinstance(value, dict) and "filename" in value:
            key = (value["filename"], value["line"], value["name"])
            yield from self.again(key, lambda: self.mapping(value))
        elif isinstance(value, dict):
            yield from self.mapping(value)
        else:
            raise TypeError(f"{type(value)} in a snapshot")

    def mapping(self, value):
        yield b"}("
        for key, part in value.items():
            yield from self.parts(key)
            yield from self.parts(part)
        yield b"u"


def number(value):
    if 0 <= value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    return b"\x8a" + bytes([8]) + struct.pack("<q", value)


def pairs(trace):
    """Entries of blocks that are requested and given back within the trace, in order, where nothing that stays has their bytes."""
    live = {}
    whole = []
    for at, entry in enumerate(trace):
        if entry["action"] == "alloc":
            live[entry["addr"]] = [at]
        elif entry["action"] in ("free_requested", "free_completed") and entry["addr"] in live:
            live[entry["addr"]].append(at)
            if entry["action"] == "free_completed":
                whole.append(live.pop(entry["addr"]))
    staying = sorted((trace[numbers[0]]["addr"], trace[numbers[0]]["size"]) for numbers in live.values())
    apart = lambda a, b: a[0] + a[1] <= b[0] or b[0] + b[1] <= a[0]
    free = [numbers for numbers in whole if all(apart((trace[numbers[0]]["addr"], trace[numbers[0]]["size"]), other) for other in staying)]
    return sorted(at for numbers in free for at in numbers)


def main(small, large, most):
    most = int(float(most))
    with (gzip.open if small.endswith(".gz") else open)(small, "rb") as file:
        snapshot = pickle.load(file)
    device, trace = max(enumerate(snapshot["device_traces"]), key=lambda pair: len(pair[1]))
    again = pairs(trace)
    if not again:
        sys.exit(f"{small}: no block is requested and given back")
    with open(large, "wb", buffering=1 << 20) as out:
        writer = Writer(out)
        writer.write(b"\x80\x04}(")
        for key, value in snapshot.items():
            if key == "device_traces":
                continue
            writer.write(writer.value(key) + writer.value(value))
        writer.write(writer.value("device_traces") + b"](")
        for other, entries in enumerate(snapshot["device_traces"]):
            if other != device:
                writer.write(writer.value(entries))
                continue
            writer.write(b"](")
            for entry in entries:
                writer.write(writer.value(entry))
            first, last = trace[0]["time_us"], trace[-1]["time_us"]
            span = last - first + 1
            time = writer.value("time_us")
            # An entry is the same but for its time, which stands last.
            fixed = [b"}(" + b"".join(writer.value(key) + writer.value(value) for key, value in trace[at].items() if key != "time_us") + time for at in again]
            times = [trace[at]["time_us"] for at in again]
            count, turn = len(entries), 0
            while writer.bytes < most:
                turn += 1
                writer.write(b"".join(entry + number(time + turn * span) + b"u" for entry, time in zip(fixed, times)))
                count += len(fixed)
            writer.write(b"e")
            print(f"{large}: {writer.bytes} bytes, {count} entries")
        writer.write(b"eu.")


if __name__ == "__main__":
    main(*sys.argv[1:])
