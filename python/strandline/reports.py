"""What the functions of this package return.

Annotated attributes keep their names and meanings, as docs/report.md of the project has them. Sizes are in bytes. *Allocated* is what
the program holds, *active* is that and what other streams still use, *reserved* is what was taken from the device.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, ClassVar, Dict, List, Optional, Sequence

from . import _command
from ._command import Answer
from ._json import Record, size, table
from ._view import Picture

__all__ = [
    "Certificate", "Comparison", "Diff", "Explanation", "Failure", "Fit", "Holder", "Line", "Memory", "OutOfMemory", "Pinner", "Plan",
    "Record", "Refused", "Replay", "Report", "Reproduced", "Row", "Sides", "Trace",
]


class Memory(Record):
    """Bytes that a trace took of the pools."""

    peak_allocated_bytes: int
    peak_active_bytes: int
    peak_reserved_bytes: int
    final_reserved_bytes: int


class Refused(Record):
    """A request that the recorded allocator refused, and whether the replay served it."""

    event: int
    bytes_requested: int
    cause: str
    verdict: str
    served: bool


class Trace(Record):
    """The trace that was played."""

    format: str
    events: int
    streams: int
    peak_allocated_bytes: int
    peak_active_bytes: int
    refused: List[Refused]
    reader: Record


class Failure(Record):
    """The event at which a replay failed, and why."""

    event: int
    bytes_requested: int
    allocated_bytes: int
    largest_hole_bytes: int
    pending_bytes: int
    reason: str


class Reproduced(Record):
    """How many of the recorded answers the model gave."""

    reproduced: int
    of: int


class Difference(Record):
    """The first answer of the recording that the model did not give."""

    entry: int
    what: str


class Certificate(Record):
    """How much of a recording the model of PyTorch's allocator reproduced."""

    addresses: Reproduced
    segments: Reproduced
    sweeps: Reproduced
    settings: Optional[str]
    first_difference: Optional[Difference]
    nothing_to_compare: Optional[str]
    whole: bool

    def _line(self) -> str:
        if self.whole:
            return "certified: the model reproduces the recorded run to the byte"
        if self.nothing_to_compare:
            return f"not certified: {self.nothing_to_compare}"
        if self.first_difference:
            return f"not certified: first difference at entry {self.first_difference.entry}: {self.first_difference.what}"
        return "not certified"


class Holder(Record):
    """A source line that holds live bytes."""

    line: str
    bytes: int
    blocks: int


class Pinner(Record):
    """A source line whose live blocks keep free bytes from being used."""

    line: str
    bytes: int
    pinned_bytes: int


class OutOfMemory(Record):
    """A request that was refused, at an entry of its device's list in the file. ``verdict``: shortage, fragmentation, other_pool or
    other_process. What the file does not tell is None."""

    device: int
    entry: int
    requested_bytes: int
    allocated_bytes: int
    reserved_bytes: Optional[int]
    device_free_bytes: Optional[int]
    largest_hole_bytes: Optional[int]
    verdict: Optional[str]


class Row(Record):
    """An allocator with its settings, and what it would have needed. ``paste`` is the line to paste, or empty."""

    allocator: str
    settings: str
    paste: str
    needs: str
    peak_reserved_bytes: Optional[int]
    over_active: Optional[float]
    ok: bool
    certified: bool


class Best(Record):
    """The setting that is recommended."""

    allocator: str
    settings: str
    paste: str


class Line(Record):
    """A source line's bytes (or a size of block), in each of two runs."""

    line: str
    a_bytes: int
    b_bytes: int


class Sides(Record):
    """A number of each of two runs; None where a run does not tell it."""

    a: Optional[int]
    b: Optional[int]


class Report(Record):
    """An answer of the command. ``ok`` is false where the trace was not satisfied; reports never raise for that."""

    ok: bool

    #: The key whose object's keys are attributes of the report itself.
    _body: ClassVar[Optional[str]] = None

    def __init__(self, answer: Answer, words: Sequence[str], path: str) -> None:
        report, ok = answer
        body: Dict[str, Any] = report[self._body] if self._body else {}
        super().__init__({**{key: value for key, value in report.items() if key != self._body}, **body})
        self.ok = ok
        self._answer, self._words, self._path = answer, list(words), path

    def to_dict(self) -> Dict[str, Any]:
        """A copy of the JSON object that ``--json`` prints."""
        return Record(self._answer.report).to_dict()

    def __reduce__(self) -> Any:
        return (type(self), (self._answer, self._words, self._path))

    def _title(self) -> str:
        return f"{type(self).__name__} of {self._path}: {'ok' if self.ok else 'NOT SATISFIED'}"

    def _draw(self, words: Sequence[str], kind: str) -> Picture:
        with tempfile.TemporaryDirectory(prefix="strandline") as folder:
            file = Path(folder) / f"plot.{kind}"
            _command.ask([words[0], f"--plot={file}", *words[1:]])
            return Picture(file.read_text(encoding="utf-8"), kind)


class Replay(Report):
    """A trace, played through pools. Of a snapshot without a trace there are ``state`` and a part of ``trace`` alone."""

    trace: Trace
    memory: Memory
    pool: Record
    reuse: Record
    oracle: Record
    failure: Optional[Failure]

    def plot(self) -> Picture:
        """Plays the trace again and draws it: the viewer, in which each block has its place at some hundred moments."""
        return self._draw(self._words, "html")

    def __repr__(self) -> str:
        trace = self.trace
        refused = [one for one in trace.refused if not one.served] if "refused" in trace else []
        streams = f", {_count(trace.streams, 'stream')}" if "streams" in trace else ""
        rows = [("trace", f"{trace.format}, {_count(trace.events, 'event')}{streams}")]
        if "memory" in self:
            peaks = self.memory
            rows += [
                ("allocated", f"{size(peaks.peak_allocated_bytes)} at the peak"),
                ("active", f"{size(peaks.peak_active_bytes)} at the peak"),
                ("reserved", f"{size(peaks.peak_reserved_bytes)} at the peak, {self.pool.overhead:.4f} of active"),
            ]
        if "state" in self:
            rows.append(("state", f"{size(self.state.allocated_bytes)} allocated of {size(self.state.reserved_bytes)} reserved"))
        if "failure" in self and self.failure:
            rows.append(("failed", f"event {self.failure.event}, {size(self.failure.bytes_requested)}: {self.failure.reason}"))
        rows += [("refused", one.verdict) for one in refused]
        return table(self._title(), *rows)


class Fit(Replay):
    """The smallest capacity that was found. ``config`` is the configuration, as TOML."""

    _body = "fit"

    capacity_bytes: int
    overhead: float
    config: str
    stopped: bool
    judged: int
    candidates: int
    replays: int

    def plot(self) -> Picture:
        """Plays the trace with the configuration that was found, and draws it."""
        with tempfile.TemporaryDirectory(prefix="strandline") as folder:
            config = Path(folder) / "fit.toml"
            config.write_text(self.config, encoding="utf-8")
            return self._draw(
                [self._replay_words[0], f"--config={config}", f"--capacity={self.capacity_bytes}", *self._replay_words[1:]], "html"
            )

    def __init__(self, answer: Answer, words: Sequence[str], path: str, replay_words: Sequence[str]) -> None:
        super().__init__(answer, words, path)
        self._replay_words = list(replay_words)

    def __reduce__(self) -> Any:
        return (type(self), (self._answer, self._words, self._path, self._replay_words))

    def __repr__(self) -> str:
        tried = "all" if not self.stopped else f"{self.judged} of {self.candidates}"
        return table(
            self._title(),
            ("capacity", f"{size(self.capacity_bytes)} ({self.capacity_bytes} bytes), {self.overhead - 1:+.2%} over peak active"),
            ("active", f"{size(self.memory.peak_active_bytes)} at the peak"),
            ("tried", f"{tried} configurations, {self.replays} replays"),
        )


class Plan(Report):
    """Where each block of a step would stand with its future known."""

    _body = "plan"

    bytes: int
    bound_bytes: int
    blocks: int
    seconds: float
    optimal: bool

    def plot(self) -> Picture:
        """Plans again and draws the blocks, lifetimes over addresses."""
        return self._draw(self._words, "svg")

    def __repr__(self) -> str:
        over = self.bytes / max(self.bound_bytes, 1) - 1
        return table(
            self._title(),
            ("plan", f"{size(self.bytes)} ({self.bytes} bytes), {over:+.3%} over the bound{', optimal' if self.optimal else ''}"),
            ("bound", f"{size(self.bound_bytes)}: no plan is smaller"),
            ("blocks", f"{self.blocks:,}, placed in {self.seconds:.2f} s"),
        )


class Explanation(Report):
    """What happened in a recorded run."""

    _body = "explain"

    certificate: Certificate
    device: int
    entries: int
    peak_allocated_bytes: int
    peak_active_bytes: int
    peak_reserved_bytes: Optional[int]
    unused: Record
    out_of_memory: List[OutOfMemory]
    holders: List[Holder]
    pinners: List[Pinner]

    @property
    def verdict(self) -> Optional[str]:
        """Why the first request was refused: shortage, fragmentation, other_pool, other_process; None if none was, or the file does not tell."""
        return self.out_of_memory[0].verdict if self.out_of_memory else None

    def plot(self) -> Picture:
        """Draws the recorded run: the viewer, with the segments at some moments."""
        return self._draw(self._words, "html")

    def __repr__(self) -> str:
        refused = [
            ("refused", f"{(one.verdict or 'why is not told').replace('_', ' ')} at entry {one.entry}: {size(one.requested_bytes)} were "
             f"asked for with {size(one.allocated_bytes)} allocated of {_told(one.reserved_bytes)} reserved, largest hole "
             f"{_told(one.largest_hole_bytes)}")
            for one in self.out_of_memory[:3]
        ]
        return table(
            f"{type(self).__name__} of {self._path}: {'out of memory' if refused else 'no request was refused'}",
            *refused,
            ("model", self.certificate._line()),
            ("allocated", f"{size(self.peak_allocated_bytes)} at the peak"),
            ("active", f"{size(self.peak_active_bytes)} at the peak"),
            ("reserved", f"{_told(self.peak_reserved_bytes)} at the peak"),
            *(("holds", f"{size(one.bytes)} in {_count(one.blocks, 'block')}: {one.line}") for one in self.holders[:3]),
            *(("pins", f"{size(one.pinned_bytes)} by {size(one.bytes)}: {one.line}") for one in self.pinners[:3]),
        )


class Comparison(Report):
    """What other settings and allocators would have needed. ``best`` is None where nothing that was tried is better and fits."""

    _body = "compare"

    certificate: Certificate
    capacity_bytes: Optional[int]
    peak_active_bytes: int
    best: Optional[Best]
    rows: List[Row]

    def __init__(self, answer: Answer, words: Sequence[str], path: str, drawn: str) -> None:
        super().__init__(answer, words, path)
        self._drawn = drawn

    def __reduce__(self) -> Any:
        return (type(self), (self._answer, self._words, self._path, self._drawn))

    @property
    def paste(self) -> Optional[str]:
        """The line to paste into the shell, or None."""
        return self.best.paste if self.best and self.best.paste else None

    def plot(self) -> Picture:
        """A bar for each row."""
        return Picture(self._drawn, "svg")

    def __repr__(self) -> str:
        names = [f"{row.allocator}, {row.settings}" if row.settings else row.allocator for row in self.rows]
        width = max(map(len, names), default=0)
        lines = [
            f"  {name.ljust(width)}  {'' if row.peak_reserved_bytes is None else size(row.peak_reserved_bytes):>11}"
            f"{'' if row.ok else '  does not fit'}"
            for name, row in zip(names, self.rows)
        ]
        head = table(self._title(), ("to paste", self.paste), ("model", self.certificate._line()))
        return "\n".join([head, *lines])


class Diff(Report):
    """What changed between two runs, at the peak of each."""

    _body = "diff"

    lines: List[Line]
    peak_allocated_bytes: Sides
    peak_active_bytes: Sides
    peak_reserved_bytes: Sides

    def __repr__(self) -> str:
        changed = [line for line in self.lines if line.a_bytes != line.b_bytes]
        peaks = self.peak_allocated_bytes
        return table(
            f"{type(self).__name__} of {self._path}",
            ("allocated", f"{_size(peaks.a)} to {_size(peaks.b)} at the peak"),
            *((f"{line.b_bytes - line.a_bytes:+,}", f"{size(line.a_bytes)} to {size(line.b_bytes)}: {line.line}") for line in changed),
        )


def _size(count: Optional[int]) -> str:
    return "not told" if count is None else size(count)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _told(bytes: Optional[int]) -> str:
    return "(not told)" if bytes is None else size(bytes)
