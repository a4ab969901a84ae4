"""Recording a run of PyTorch."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import threading
from pathlib import Path
from typing import Any, Iterator, Optional

from . import _api
from ._progress import ProgressOption
from .errors import RecordError
from .reports import Comparison, Explanation

log = logging.getLogger("strandline")

#: PyTorch has one history in a process.
_recording = threading.Lock()


class Recording:
    """A recording under way, or done. ``path`` is where the snapshot is written."""

    path: Path

    def __init__(self, path: Path) -> None:
        self.path = path

    def explain(self, *, progress: ProgressOption = None) -> Explanation:
        """``strandline.explain`` of the snapshot, once it is written."""
        return _api.explain(self.path, progress=progress)

    def compare(self, *, progress: ProgressOption = None) -> Comparison:
        """``strandline.compare`` of the snapshot, once it is written."""
        return _api.compare(self.path, progress=progress)

    def __repr__(self) -> str:
        return f"<strandline recording, {self.path}, {'written' if self.path.exists() else 'not written yet'}>"


@contextlib.contextmanager
def record(
    path: "str | os.PathLike[str]" = "snapshot.pickle", *, max_entries: int = 100_000, stacks: Optional[str] = None
) -> Iterator[Recording]:
    """Records what PyTorch allocates on CUDA devices, and writes the snapshot in the end, also when the run fails::

        with strandline.record("snapshot.pickle") as recording:
            train()
        print(recording.explain())

    ``max_entries`` is how many allocations and frees are kept, the newest. ``stacks`` is "python" or "all" (C++ frames, too), and
    PyTorch's own choice unless told. The history is off again afterwards. Raises ``RecordError`` without PyTorch, without CUDA,
    within another recording, or if the snapshot cannot be written. An exception of the recorded run goes through as it is.
    """
    torch = _torch()
    if not _recording.acquire(blocking=False):
        raise RecordError("PyTorch's memory history is being recorded already", remedy="end the other recording first")
    try:
        options = {} if stacks is None else {"stacks": stacks}
        torch.cuda.memory._record_memory_history(max_entries=max_entries, **options)
        recording = Recording(Path(path).absolute())
        try:
            yield recording
        except BaseException:
            # The run's own exception is what its author has to see.
            try:
                _write(torch, recording.path)
            except RecordError as error:
                log.warning("%s", error)
            raise
        else:
            _write(torch, recording.path)
        finally:
            torch.cuda.memory._record_memory_history(enabled=None)
    finally:
        _recording.release()


def _torch() -> Any:
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        raise RecordError("PyTorch is not installed here", remedy="pip install torch, or run this where it is") from error
    if not hasattr(torch.cuda, "memory") or not hasattr(torch.cuda.memory, "_record_memory_history"):
        raise RecordError(f"PyTorch {torch.__version__} cannot record its memory", remedy="use PyTorch 2.1 or newer")
    if not torch.cuda.is_available():
        raise RecordError(
            "PyTorch sees no CUDA device here, and only those have a memory history",
            remedy="run this where torch.cuda.is_available() is true",
        )
    return torch


def _write(torch: Any, path: Path) -> None:
    """Writes the snapshot beside its place first: there is never half a snapshot under its name."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        torch.cuda.memory._dump_snapshot(str(part))
        os.replace(part, path)
    except Exception as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise RecordError(f"the snapshot was not written: {error}", file=str(path)) from error
