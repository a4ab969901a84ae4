"""The commands as functions."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import List, Optional, Sequence, Union

from ._command import ask
from ._progress import ProgressOption
from .reports import Comparison, Diff, Explanation, Fit, Plan, Replay

Path_ = Union[str, "os.PathLike[str]"]
#: Bytes as a number, or with a unit: ``"512MiB"``, ``"1.5GiB"``.
Size = Union[int, str]
Value = Union[None, bool, int, float, str, "os.PathLike[str]"]


def _words(command: str, paths: Sequence[Path_], options: Sequence[str], **named: Value) -> List[str]:
    """The command line. An option that is None or False is left out; underscores are hyphens."""
    words = [command]
    for name, value in named.items():
        option = "--" + name.rstrip("_").replace("_", "-")
        if value is True:
            words.append(option)
        elif value is not None and value is not False:
            words.append(f"{option}={os.fspath(value) if isinstance(value, os.PathLike) else value}")
    # After the last option nothing that begins with a hyphen is taken for one.
    return [*words, *options, "--", *(os.fspath(path) for path in paths)]


def replay(
    path: Path_,
    *,
    capacity: Optional[Size] = None,
    budget: Optional[Size] = None,
    pool: Optional[str] = None,
    slab: Optional[Size] = None,
    policy: Optional[str] = None,
    config: Optional[Path_] = None,
    plan: Optional[Path_] = None,
    streams: Optional[int] = None,
    in_flight: Optional[int] = None,
    allow_wait: bool = False,
    as_recorded: bool = False,
    lenient: bool = False,
    device: Optional[int] = None,
    options: Sequence[str] = (),
    progress: ProgressOption = None,
) -> Replay:
    """Plays a trace through pools and says what it needed, or which event failed and why.

    ``options`` are further options of ``strandline replay``, as on its command line. Running out of memory is a result whose ``ok``
    is false. Raises ``InputError`` for a file or an option that the command does not take.

    >>> import strandline
    >>> run = strandline.replay(TRACES / "vit_infer.csv.gz")
    >>> run.ok, run.memory.peak_reserved_bytes
    (True, 67756032)
    >>> strandline.replay(TRACES / "vit_infer.csv.gz", capacity="48MiB").ok
    False
    """
    words = _words(
        "replay", [path], options, capacity=capacity, budget=budget, pool=pool, slab=slab, policy=policy, config=config, plan=plan,
        streams=streams, in_flight=in_flight, allow_wait=allow_wait, as_recorded=as_recorded, lenient=lenient, device=device,
    )
    return Replay(ask(words, progress), words, _name(path))


def explain(
    path: Path_,
    *,
    device: Optional[int] = None,
    at: Optional[int] = None,
    top: Optional[int] = None,
    options: Sequence[str] = (),
    progress: ProgressOption = None,
) -> Explanation:
    """Explains a PyTorch memory snapshot: is it fragmentation, who holds the memory, who pins the waste.

    ``at`` is the entry to look at, counted from 0 as in the file's list; without it the first out-of-memory, or the peak.

    >>> import strandline
    >>> told = strandline.explain(SNAPSHOTS / "oom.pickle")
    >>> told.verdict, told.out_of_memory[0].entry
    ('fragmentation', 6)
    """
    words = _words("explain", [path], options, device=device, at=at, top=top)
    return Explanation(ask(words, progress), words, _name(path))


def compare(
    path: Path_,
    *,
    capacity: Optional[Size] = None,
    sweep: bool = False,
    export: Optional[Path_] = None,
    fit_seconds: Optional[int] = None,
    plan_seconds: Optional[int] = None,
    device: Optional[int] = None,
    lenient: bool = False,
    options: Sequence[str] = (),
    progress: ProgressOption = None,
) -> Comparison:
    """Compares what other settings and allocators would have needed for a trace.

    ``fit_seconds`` and ``plan_seconds`` bound the search for Strandline's own rows (5 and 2 unless told; 0 leaves them out).

    >>> import strandline
    >>> told = strandline.compare(SNAPSHOTS / "oom.pickle", fit_seconds=0, plan_seconds=0)
    >>> told.ok, told.best
    (False, None)
    """
    with tempfile.TemporaryDirectory(prefix="strandline") as folder:
        drawn = Path(folder) / "compare.svg"
        words = _words(
            "compare", [path], options, capacity=capacity, sweep=sweep, export=export, fit_seconds=fit_seconds, plan_seconds=plan_seconds,
            device=device, lenient=lenient,
        )
        # Drawn at once: to compare again would take seconds, to draw takes none.
        answer = ask([words[0], f"--plot={drawn}", *words[1:]], progress)
        return Comparison(answer, words, _name(path), drawn.read_text(encoding="utf-8"))


def fit(
    path: Path_,
    *,
    seconds: Optional[float] = None,
    at_most_queued: Optional[float] = None,
    output: Optional[Path_] = None,
    streams: Optional[int] = None,
    in_flight: Optional[int] = None,
    allow_wait: bool = False,
    lenient: bool = False,
    device: Optional[int] = None,
    options: Sequence[str] = (),
    progress: ProgressOption = None,
) -> Fit:
    """Finds the smallest capacity at which a trace succeeds, within ``seconds`` (60 unless told).

    ``output`` is where the configuration is written; ``at_most_queued`` is the share of a serving log's requests that may wait.

    >>> import strandline
    >>> strandline.fit(TRACES / "vit_infer.csv.gz", seconds=20).capacity_bytes
    67756032
    """
    common = dict[str, Value](streams=streams, in_flight=in_flight, allow_wait=allow_wait, lenient=lenient, device=device)
    words = _words("fit", [path], options, for_=seconds, at_most_queued=at_most_queued, output=output, **common)
    return Fit(ask(words, progress), words, _name(path), _words("replay", [path], (), **common))


def plan(
    path: Path_,
    *,
    seconds: Optional[float] = None,
    capacity: Optional[Size] = None,
    out: Optional[Path_] = None,
    alignment: Optional[int] = None,
    no_waits: bool = False,
    wait_price: Optional[Size] = None,
    seed: Optional[int] = None,
    lenient: bool = False,
    device: Optional[int] = None,
    options: Sequence[str] = (),
    progress: ProgressOption = None,
) -> Plan:
    """Places the blocks of a recorded step in the least memory, within ``seconds`` (10 unless told).

    >>> import strandline
    >>> told = strandline.plan(TRACES / "vit_infer.csv.gz")
    >>> told.optimal, told.bytes
    (True, 67756032)
    """
    words = _words(
        "plan", [path], options, for_=seconds, capacity=capacity, out=out, alignment=alignment, no_waits=no_waits, wait_price=wait_price,
        seed=seed, lenient=lenient, device=device,
    )
    return Plan(ask(words, progress), words, _name(path))


def diff(
    a: Path_,
    b: Path_,
    *,
    device: Optional[int] = None,
    top: Optional[int] = None,
    options: Sequence[str] = (),
    progress: ProgressOption = None,
) -> Diff:
    """Tells what grew, shrank or is new between two recorded runs, by source line where they are PyTorch memory snapshots.

    >>> import strandline
    >>> told = strandline.diff(SNAPSHOTS / "snapshot0.pickle", SNAPSHOTS / "snapshot1.pickle")
    >>> told.lines[0].a_bytes, told.lines[0].b_bytes
    (3584, 0)
    """
    words = _words("diff", [a, b], options, device=device, top=top)
    return Diff(ask(words, progress), words, f"{_name(a)} and {_name(b)}")


def _name(path: Path_) -> str:
    return os.path.basename(os.fspath(path))
