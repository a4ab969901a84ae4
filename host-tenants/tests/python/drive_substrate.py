"""Drives the substrate component from Python: slabs in Python, pools in the component.

    pip install wasmtime
    cargo xtask component
    python host-tenants/tests/python/drive_substrate.py target/component/strandline.wasm

Exits with 0 when pools behave as they do elsewhere.
"""

import sys

from wasmtime import Config, Engine, Store
from wasmtime.component import (
    Component,
    Linker,
    Record,
    ResourceHost,
    ResourceType,
    Variant,
)

PACKAGE = "strandline:substrate/{}@0.1.0"
PROVIDER = 1
SLAB = 1 << 20


def record(**fields):
    """A record; Python's underscores stand for the interface's hyphens."""
    out = Record()
    for name, value in fields.items():
        setattr(out, name.replace("_", "-"), value)
    return out


def method(function):
    """A method of a resource: the borrowed handle is given back when it returns, as the component model asks."""

    def call(store, handle, *args):
        try:
            return function(*args)
        finally:
            handle.drop(store)

    return call


class Slabs:
    """A provider without memory: numbers, as for a device that Python does not reach into."""

    def __init__(self):
        self.out = {}
        self.next = 0

    def properties(self):
        return record(
            memory_type={"host-visible"},
            usage={"transfer", "storage"},
            alignment=4096,
            granularity=4096,
            max_slab_size=1 << 30,
        )

    def acquire(self, size):
        slab = self.next
        self.next += 1
        self.out[slab] = size
        return record(id=slab, size=size)

    def release(self, slab):
        if self.out.pop(slab, None) is None:
            return Variant("unknown-slab", slab)
        return None

    def stats(self):
        return record(
            identity=1,
            slabs=len(self.out),
            committed_bytes=sum(self.out.values()),
            peak_committed_bytes=0,
            cached_bytes=0,
            acquires=self.next,
            releases=self.next - len(self.out),
            refusals=0,
        )


class Host:
    """An instance of the component, and its functions by name."""

    def __init__(self, path):
        engine = Engine(Config())
        self.slabs = Slabs()
        self.store = Store(engine)
        component = Component.from_file(engine, path)
        linker = Linker(engine)
        slabs = self.slabs
        with linker.root() as root:
            with root.add_instance(PACKAGE.format("types")):
                pass
            with root.add_instance(PACKAGE.format("slabs")) as into:
                into.add_resource("provider", ResourceType.host(PROVIDER), lambda *_: None)
                into.add_func("[method]provider.properties", method(slabs.properties))
                into.add_func("[method]provider.acquire", method(slabs.acquire))
                into.add_func("[method]provider.release", method(slabs.release))
                into.add_func("[method]provider.prefault", method(lambda *_: None))
                into.add_func("[method]provider.trim", method(lambda *_: 0))
                into.add_func("[method]provider.stats", method(slabs.stats))
                into.add_func("[method]provider.query-epoch", method(lambda *_: None))
            with root.add_instance(PACKAGE.format("notify")) as into:
                into.add_func("reached", lambda *_: 0)
                into.add_func("changed", lambda *_: None)
        self.instance = linker.instantiate(self.store, component)

    def call(self, interface, name, *args):
        outer = self.instance.get_export_index(self.store, PACKAGE.format(interface))
        inner = self.instance.get_export_index(self.store, name, outer)
        function = self.instance.get_func(self.store, inner)
        result = function(self.store, *args)
        function.post_return(self.store)
        return result

    def provider(self):
        return ResourceHost.own(0, PROVIDER)


def entry(axis, epoch):
    return record(axis=axis, epoch=epoch)


def request(size, after=(), may=("grow",)):
    return record(size=size, alignment=1, after=list(after), may=set(may))


def main(path):
    host = Host(path)
    tracker = host.call("authority", "make-tracker", 16)
    queue = 7
    host.call("tracker", "[method]tracker.register", tracker, queue, 0)
    stand = record(provider=host.provider(), progress=tracker)
    config = record(
        granule=256,
        second_level_bits=5,
        placement=record(search=None, threshold=0, large="low", small="low"),
        growth=record(slab_size=SLAB, max_slabs=4),
        budget=2**64 - 1,
        retention=record(slabs=0, bytes=0),
        coalescing="readiness",
        waiting="last-resort",
    )
    pool = host.call("authority", "make-tlsf", stand, config)

    def acquire(asked):
        # Both sides of the result are variants, so Python is told which one it is; either says its name.
        return host.call("pools", "[method]pool.acquire", pool, asked).payload

    def stats():
        return host.call("pools", "[method]pool.stats", pool)

    # Fresh memory; the slab comes from Python.
    first = acquire(request(4096))
    assert first.tag == "ready", first
    place = first.payload.place
    assert (first.payload.origin, place.offset, place.size) == ("fresh", 0, 4096)
    assert host.slabs.out == {place.slab: SLAB}

    # Freed while the device still works on it: who is ordered after that work has it at once.
    death = Variant("after", [entry(queue, 1)])
    host.call("pools", "[method]pool.release", pool, first.payload.reservation, death)
    assert getattr(stats(), "pending-bytes") == 4096
    again = acquire(request(SLAB, may=()))
    assert again.tag == "exhausted", again
    again = acquire(request(4096, [entry(queue, 1)], may=()))
    assert (again.tag, again.payload.origin) == ("ready", "dominated")
    assert again.payload.place.offset == 0
    host.call("pools", "[method]pool.release", pool, again.payload.reservation, death)

    # Who is not, has it when the device gets there.
    host.call("tracker", "[method]tracker.advance", tracker, queue, 1)
    whole = acquire(request(SLAB, may=()))
    assert whole.tag == "ready", whole
    host.call("pools", "[method]pool.cancel", pool, whole.payload.reservation)

    # A batch, in packed words.
    ledger = host.call("pools", "[method]pool.ledger", pool)
    answers = host.call(
        "pools", "[method]ledger.acquire-batch", ledger, [256, 1] * 100, [], {"grow"}
    )
    assert len(answers.words) == 300 and answers.stopped is None
    keys = [head >> 32 for head in answers.words[::3]]
    assert len(set(answers.words[2::3])) == 100
    host.call("pools", "[method]ledger.release-batch", ledger, keys, Variant("idle"))
    error = host.call("pools", "[method]ledger.release-batch", ledger, keys, Variant("idle"))
    assert (error.tag, error.payload) == ("err", 0), error  # unknown-key(0): no other case has a number

    # An unsorted frontier is an answer, not a trap.
    wrong = acquire(request(1, [entry(9, 1), entry(8, 1)]))
    assert wrong.tag == "invalid-frontier", wrong

    snapshot = host.call("inspect", "snapshot", pool)
    assert snapshot[:3] == [place.slab, 0, SLAB], snapshot
    host.call("pools", "[method]pool.trim", pool, "all")
    assert host.slabs.out == {}
    assert stats().live == 0
    print("the pools of the component do in Python what they do elsewhere")


if __name__ == "__main__":
    main(sys.argv[1])
