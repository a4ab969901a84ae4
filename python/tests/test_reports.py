"""Reports: what the command says, as objects."""

from __future__ import annotations

import html
import pickle
import re
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

import pytest
import strandline
from strandline import _command
from strandline.reports import Holder, Memory

Command = Callable[..., Dict[str, Any]]

#: Keys whose values are times.
MEASURED = {"latency_ns", "throughput", "seconds"}


def timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: timeless(part) for key, part in value.items() if key not in MEASURED}
    if isinstance(value, list):
        return [timeless(part) for part in value]
    return value


def test_each_report_is_what_the_command_prints(command: Command, traces: Path, snapshots: Path) -> None:
    vit, oom = traces / "vit_infer.csv.gz", snapshots / "oom.pickle"
    one, two = snapshots / "snapshot0.pickle", snapshots / "snapshot1.pickle"
    pairs = [
        (strandline.replay(vit), ["replay", vit]),
        (strandline.replay(vit, capacity="48MiB"), ["replay", vit, "--capacity", "48MiB"]),
        (strandline.replay(vit, streams=4, in_flight=16, allow_wait=True), ["replay", vit, "--streams", 4, "--in-flight", 16, "--allow-wait"]),
        (strandline.replay(snapshots / "state.pickle"), ["replay", snapshots / "state.pickle"]),
        (strandline.explain(oom, at=3, top=1), ["explain", oom, "--at", 3, "--top", 1]),
        (strandline.compare(oom, fit_seconds=0, plan_seconds=0), ["compare", oom, "--fit-seconds", 0, "--plan-seconds", 0]),
        (strandline.fit(vit, seconds=20), ["fit", vit, "--for", 20]),
        (strandline.plan(vit, alignment=256), ["plan", vit, "--alignment", 256]),
        (strandline.diff(one, two), ["diff", one, two]),
    ]
    for report, words in pairs:
        assert timeless(report.to_dict()) == timeless(command(*words)), words


def test_attributes_have_types(traces: Path, snapshots: Path) -> None:
    run = strandline.replay(traces / "vit_infer.csv.gz")
    assert isinstance(run.memory, Memory)
    assert run.memory.peak_reserved_bytes == 67_756_032
    assert run.reuse.completed > 0, "keys without an annotation are attributes, too"
    told = strandline.explain(snapshots / "oom.pickle")
    assert all(isinstance(holder, Holder) for holder in told.holders) and told.holders
    assert told.certificate.first_difference is not None and told.certificate.first_difference.entry == 5
    with pytest.raises(AttributeError, match="Memory has no 'peak'; it has final_reserved_bytes, "):
        run.memory.peak


def test_what_was_not_satisfied_is_a_report(traces: Path) -> None:
    run = strandline.replay(traces / "vit_infer.csv.gz", capacity=48 << 20)
    assert not run.ok
    assert run.failure is not None and run.failure.bytes_requested > 0
    assert f"failed     event {run.failure.event}, " in repr(run)


@pytest.mark.parametrize(
    ("name", "verdict", "line"),
    [
        ("oom.pickle", "fragmentation", "refused    fragmentation at entry 6: 3.00 GiB were asked for with 5.00 GiB allocated of 8.00 GiB reserved"),
        ("bare.pickle", None, "Explanation of bare.pickle: no request was refused\n"),
    ],
)
def test_an_explanation_says_why(snapshots: Path, name: str, verdict: Optional[str], line: str) -> None:
    told = strandline.explain(snapshots / name)
    assert told.verdict == verdict
    assert line in repr(told)


def test_every_repr_is_read_in_a_notebook(traces: Path, snapshots: Path) -> None:
    vit, oom = traces / "vit_infer.csv.gz", snapshots / "oom.pickle"
    assert repr(strandline.replay(vit)).splitlines() == [
        "Replay of vit_infer.csv.gz: ok",
        "  trace      rmm, 1,616 events, 1 stream",
        "  allocated  64.62 MiB at the peak",
        "  active     64.62 MiB at the peak",
        "  reserved   64.62 MiB at the peak, 1.0000 of active",
    ]
    assert "capacity  64.62 MiB (67756032 bytes), +0.00% over peak active" in repr(strandline.fit(vit, seconds=20))
    assert "plan    64.62 MiB (67756032 bytes), +0.000% over the bound, optimal" in repr(strandline.plan(vit))
    assert "state  " in repr(strandline.replay(snapshots / "state.pickle"))
    compared = repr(strandline.compare(oom, fit_seconds=0, plan_seconds=0))
    assert re.search(r"PyTorch, expandable_segments:True +9\.00 GiB  does not fit\n", compared)
    difference = repr(strandline.diff(snapshots / "snapshot0.pickle", snapshots / "snapshot1.pickle"))
    assert "+3,584" in difference and "-3,584" in difference and "before the recording" not in difference


def test_plots_are_pictures(traces: Path, snapshots: Path, tmp_path: Path) -> None:
    vit, oom = traces / "vit_infer.csv.gz", snapshots / "oom.pickle"
    for report in (strandline.replay(vit), strandline.fit(vit, seconds=20), strandline.explain(oom)):
        picture = report.plot()
        assert picture.kind == "html" and picture.text.startswith("<!DOCTYPE html>") and "<script" in picture.text
        assert report._path in picture.text, "the page's title"
        frame = picture._repr_html_()
        inside = re.fullmatch(r'<iframe srcdoc="([^"]*)" sandbox="allow-scripts" [^<>]*></iframe>', frame)
        assert inside is not None and html.unescape(inside[1]) == picture.text
    for drawn in (strandline.compare(oom, fit_seconds=0, plan_seconds=0).plot(), strandline.plan(vit).plot()):
        assert drawn.kind == "svg" and drawn._repr_html_().startswith("<svg")
        assert drawn.save(tmp_path / "picture.svg").read_text() == drawn.text


def test_the_plot_of_a_fit_is_of_its_configuration(traces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = strandline.fit(traces / "vit_infer.csv.gz", seconds=20, streams=2)
    asked: List[str] = []

    def listen(words: Sequence[str], progress: object = None) -> _command.Answer:
        asked.extend(words)
        configs = [word.split("=", 1)[1] for word in words if word.startswith("--config=")]
        assert [Path(config).read_text() for config in configs] == [fitted.config]
        return ask(words)

    ask = _command.ask
    monkeypatch.setattr(_command, "ask", listen)
    fitted.plot()
    assert asked[0] == "replay" and {f"--capacity={fitted.capacity_bytes}", "--streams=2"} < set(asked)


def test_reports_cross_processes(traces: Path, snapshots: Path) -> None:
    for report in (
        strandline.replay(traces / "vit_infer.csv.gz"),
        strandline.fit(traces / "vit_infer.csv.gz", seconds=20),
        strandline.compare(snapshots / "oom.pickle", fit_seconds=0, plan_seconds=0),
    ):
        again = pickle.loads(pickle.dumps(report))
        assert again == report and repr(again) == repr(report) and again.to_dict() == report.to_dict()


def test_what_to_dict_returns_is_a_copy(traces: Path) -> None:
    plan = strandline.plan(traces / "vit_infer.csv.gz")
    plan.to_dict()["plan"]["bytes"] = 1
    assert plan.to_dict()["plan"]["bytes"] == plan.bytes == 67_756_032


def test_files_that_the_command_writes(traces: Path, tmp_path: Path) -> None:
    vit = traces / "vit_infer.csv.gz"
    strandline.fit(vit, seconds=20, output=tmp_path / "vit.toml")
    strandline.plan(vit, out=tmp_path / "vit.plan")
    assert strandline.replay(vit, config=tmp_path / "vit.toml", capacity=67_756_032).ok
    assert strandline.replay(vit, plan=tmp_path / "vit.plan").pool.planned > 0
