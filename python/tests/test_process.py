"""Long work: progress, threads, forks, Ctrl-C; nothing stays behind."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import List

import pytest
import strandline
from strandline import _command

#: Seconds for what ends at once on an idle machine.
PATIENCE = 20.0
#: Other work shares this machine: what is measured in time is held to an order of magnitude only.
BUSY = bool(os.environ.get("CI"))


def workers(parent: int) -> List[int]:
    """The running commands that a process started, or that were left without a parent: by their marked environment."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path(f"/proc/{entry}/stat").read_text()
                marked = f"STRANDLINE_TEST={parent}".encode() in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if marked and "(strandline)" in stat and stat.rsplit(")", 1)[1].split()[0] != "Z":
                found.append(int(entry))
    return found


def until(condition: object, what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, f"not in time: {what}"
        time.sleep(0.005)


LONG = """
import os, sys, time
os.environ["STRANDLINE_TEST"] = str(os.getpid())
import strandline
try:
    print("begun", flush=True)
    {call}
except KeyboardInterrupt:
    print("interrupted", time.clock_gettime(time.CLOCK_MONOTONIC), flush=True)
    sys.exit(3)
"""


def long_work(call: str, *arguments: object) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", LONG.format(call=call), *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )
    until(lambda: workers(process.pid), "the command starts")
    return process


CALLS = {
    "fit": "strandline.fit(sys.argv[1], seconds=600, streams=8, in_flight=64)",
    "replay": "[strandline.replay(sys.argv[1]) for _ in range(1000)]",
    "plan": "strandline.plan(sys.argv[1], seconds=600)",
    "compare": "strandline.compare(sys.argv[1], fit_seconds=600)",
}


@pytest.mark.parametrize("name", CALLS)
def test_ctrl_c_ends_the_work_within_100_ms(name: str, long_trace: Path) -> None:
    took = []
    # The machine may be busy with other things: the best of several counts, and each must end.
    for _ in range(5):
        process = long_work(CALLS[name], long_trace)
        time.sleep(0.3)
        begun = time.clock_gettime(time.CLOCK_MONOTONIC)
        # As a terminal does: the whole group hears it.
        os.killpg(process.pid, signal.SIGINT)
        output, said = process.communicate(timeout=PATIENCE)
        assert process.returncode == 3, said
        interrupted = re.search(r"interrupted ([\d.]+)", output)
        assert interrupted is not None, output
        assert workers(process.pid) == []
        took.append(float(interrupted[1]) - begun)
        if took[-1] < (2.0 if BUSY else 0.1):
            return
    raise AssertionError(f"seconds from Ctrl-C to the exception: {took}")


def test_a_killed_interpreter_takes_its_work_along(long_trace: Path) -> None:
    process = long_work(CALLS["fit"], long_trace)
    process.kill()
    process.communicate(timeout=PATIENCE)
    until(lambda: not workers(process.pid), "the command ends with the program that started it")


def test_threads_run_on(long_trace: Path) -> None:
    steps, done = 0, threading.Event()

    def count() -> None:
        nonlocal steps
        while not done.wait(0.001):
            steps += 1

    other = threading.Thread(target=count)
    other.start()
    begun = time.monotonic()
    strandline.replay(long_trace)
    lasted = time.monotonic() - begun
    done.set()
    other.join()
    # A millisecond each if the lock is free, none at all if it is held.
    assert lasted > 0.1 and steps > lasted * (5 if BUSY else 100), f"{steps} steps in {lasted} s"


def test_many_threads_at_once(traces: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: strandline.replay(traces / "vit_infer.csv.gz").memory.peak_reserved_bytes, range(24)))
    assert runs == [67_756_032] * 24


def _peak(path: str) -> int:
    return strandline.replay(path).memory.peak_reserved_bytes


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process")
def test_other_processes(method: str, traces: Path, long_trace: Path) -> None:
    # Forked while a thread waits for an answer.
    beside = threading.Thread(target=strandline.replay, args=(long_trace,))
    beside.start()
    with multiprocessing.get_context(method).Pool(4) as pool:
        assert pool.map(_peak, [str(traces / "vit_infer.csv.gz")] * 12) == [67_756_032] * 12
    beside.join()


def test_progress_is_told_and_an_exception_of_the_listener_ends_the_work(long_trace: Path) -> None:
    heard: List[strandline.Progress] = []
    strandline.replay(long_trace, progress=heard.append)
    assert {one.what for one in heard} >= {"replaying"}
    playing = [one for one in heard if one.what == "replaying"]
    assert [one.at for one in playing] == sorted(one.at for one in playing) and playing[0].of is not None

    class Enough(Exception):
        pass

    def stop(progress: strandline.Progress) -> None:
        raise Enough

    with pytest.raises(Enough):
        strandline.fit(long_trace, seconds=600, progress=stop)


def test_progress_is_shown_and_wiped(long_trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    strandline.fit(long_trace, seconds=1, progress=True)
    shown = capsys.readouterr().err
    assert re.search(r"\rstrandline fit: \d+ s, replaying \d+%", shown), shown
    assert re.search(r"\r +\r$", shown), "the line is wiped"
    strandline.replay(long_trace)
    assert capsys.readouterr().err == "", "nobody sees it where standard error is no terminal"


def test_nothing_stays_open(traces: Path, tmp_path: Path) -> None:
    def open_now() -> int:
        return len(os.listdir("/proc/self/fd"))

    strandline.plan(traces / "vit_infer.csv.gz")
    before, threads = open_now(), threading.active_count()
    for _ in range(20):
        strandline.plan(traces / "vit_infer.csv.gz")
        with pytest.raises(strandline.InputError):
            strandline.plan(tmp_path / "absent")
    assert (open_now(), threading.active_count()) == (before, threads)


def test_the_package_adds_little_to_the_command(long_trace: Path) -> None:
    def timed(work: object) -> float:
        begun = time.perf_counter()
        work()  # type: ignore[operator]
        return time.perf_counter() - begun

    command = [str(_command.find()), "replay", str(long_trace), "--json"]
    both = [
        (timed(lambda: strandline.replay(long_trace)), timed(lambda: subprocess.run(command, stdout=subprocess.DEVNULL, check=True)))
        for _ in range(7)
    ]
    # Side by side, and the least of each: what else the machine does only adds.
    package, alone = (min(side) for side in zip(*both))
    print(f"package {package:.3f} s, command {alone:.3f} s, {package / alone - 1:+.1%}")
    assert package <= alone * (2.0 if BUSY else 1.05), both
