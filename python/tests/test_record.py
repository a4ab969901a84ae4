"""`record`, against a stand-in for PyTorch: the calls it makes, and what it says where it cannot."""

from __future__ import annotations

import shutil
import sys
import types
from pathlib import Path
from typing import Any, List

import pytest
import strandline


class FakeTorch(types.ModuleType):
    """The part of PyTorch that is used: it keeps the calls, and its snapshot is a recorded one."""

    def __init__(self, snapshot: Path) -> None:
        super().__init__("torch")
        self.__version__ = "2.9.0"
        self.calls: List[Any] = []
        self.has_cuda = True
        self.fails_to_write = False
        memory = types.SimpleNamespace(_record_memory_history=self._history, _dump_snapshot=self._dump)
        self.cuda = types.SimpleNamespace(memory=memory, is_available=lambda: self.has_cuda)
        self._snapshot = snapshot

    def _history(self, enabled: "str | None" = "all", **options: Any) -> None:
        self.calls.append(("history", enabled, options))

    def _dump(self, path: str) -> None:
        self.calls.append(("dump",))
        if self.fails_to_write:
            Path(path).write_bytes(b"half")
            raise OSError("no space left on device")
        shutil.copy(self._snapshot, path)


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch, snapshots: Path) -> FakeTorch:
    module = FakeTorch(snapshots / "oom.pickle")
    monkeypatch.setitem(sys.modules, "torch", module)
    return module


ON: Any = ("history", "all", {"max_entries": 100_000})
OFF: Any = ("history", None, {})


def test_a_run_is_recorded_and_explained(torch: FakeTorch, tmp_path: Path) -> None:
    with strandline.record(tmp_path / "run.pickle") as recording:
        torch.calls.append("training")
        assert "not written yet" in repr(recording)
    assert torch.calls == [ON, "training", ("dump",), OFF]
    assert recording.explain().verdict == "fragmentation"
    assert [path.name for path in tmp_path.iterdir()] == ["run.pickle"]


def test_a_run_that_fails_is_written_too(torch: FakeTorch, tmp_path: Path) -> None:
    class OutOfMemoryError(RuntimeError):
        pass

    with pytest.raises(OutOfMemoryError):
        with strandline.record(tmp_path / "run.pickle", max_entries=5, stacks="python"):
            raise OutOfMemoryError
    assert torch.calls == [("history", "all", {"max_entries": 5, "stacks": "python"}), ("dump",), OFF]
    assert strandline.explain(tmp_path / "run.pickle").verdict == "fragmentation"


def test_it_decorates_a_function(torch: FakeTorch, tmp_path: Path) -> None:
    @strandline.record(tmp_path / "run.pickle")
    def train() -> int:
        return 7

    assert (train(), train()) == (7, 7)
    assert torch.calls == [ON, ("dump",), OFF] * 2


def test_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(strandline.RecordError, match="PyTorch is not installed here; pip install torch"):
        with strandline.record():
            raise AssertionError("not reached")


def test_without_cuda_and_with_an_old_torch(torch: FakeTorch, tmp_path: Path) -> None:
    torch.has_cuda = False
    with pytest.raises(strandline.RecordError, match="no CUDA device"):
        with strandline.record(tmp_path / "run.pickle"):
            raise AssertionError("not reached")
    del torch.cuda.memory._record_memory_history
    with pytest.raises(strandline.RecordError, match=r"PyTorch 2\.9\.0 cannot record its memory; use PyTorch 2\.1 or newer"):
        with strandline.record(tmp_path / "run.pickle"):
            raise AssertionError("not reached")
    assert torch.calls == []


def test_one_recording_at_a_time(torch: FakeTorch, tmp_path: Path) -> None:
    with strandline.record(tmp_path / "outer.pickle"):
        with pytest.raises(strandline.RecordError, match="already"):
            with strandline.record(tmp_path / "inner.pickle"):
                raise AssertionError("not reached")
    assert torch.calls == [ON, ("dump",), OFF], "the inner one changed nothing"
    with strandline.record(tmp_path / "next.pickle"):
        pass


def test_a_snapshot_that_cannot_be_written(torch: FakeTorch, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.fails_to_write = True
    before = tmp_path / "before.pickle"
    before.write_bytes(b"an earlier run")
    with pytest.raises(strandline.RecordError, match="no space left"):
        with strandline.record(before):
            pass
    assert before.read_bytes() == b"an earlier run"
    before.unlink()
    with pytest.raises(strandline.RecordError, match=r"run\.pickle: the snapshot was not written: no space left"):
        with strandline.record(tmp_path / "run.pickle"):
            pass
    with pytest.raises(ZeroDivisionError):
        with strandline.record(tmp_path / "run.pickle"):
            1 / 0
    assert "the snapshot was not written" in caplog.text
    assert torch.calls[-1] == OFF and list(tmp_path.iterdir()) == []
