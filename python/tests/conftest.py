"""What the tests share: the files of the repository, and the command without the package."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Callable, Dict

import pytest
from strandline import _command

ROOT = Path(__file__).resolve().parents[2]
TRACES = ROOT / "traces"
SNAPSHOTS = ROOT / "replay" / "tests" / "formats"


@pytest.fixture
def traces() -> Path:
    return TRACES


@pytest.fixture
def snapshots() -> Path:
    return SNAPSHOTS


@pytest.fixture
def command() -> Callable[..., Dict[str, Any]]:
    """Runs the command as a user does, and returns its JSON."""

    def run(*words: object) -> Dict[str, Any]:
        done = subprocess.run([str(_command.find()), *map(str, words), "--json"], stdout=subprocess.PIPE, check=False)
        report: Dict[str, Any] = json.loads(done.stdout)
        return report

    return run


@pytest.fixture(scope="session")
def long_trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compact trace whose replay takes about a second."""
    path = tmp_path_factory.mktemp("long") / "long.csv"
    lines = ["Thread,Time,Action,Pointer,Size,Stream"]
    live: list[int] = []
    for i in range(150_000):
        lines.append(f"1,00:00:00.000000,allocate,{4096 + i:#x},{256 + i * 7919 % 100_000},0")
        live.append(i)
        if len(live) > 200:
            # Neither the oldest nor the youngest: holes are of all sizes.
            freed = live.pop(i * 31 % len(live))
            lines.append(f"1,00:00:00.000000,free,{4096 + freed:#x},{256 + freed * 7919 % 100_000},0")
    path.write_text("\n".join(lines) + "\n")
    return path
