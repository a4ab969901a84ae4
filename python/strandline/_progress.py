"""How far long work is, shown where somebody sees it."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Callable, Optional, Union

#: Seconds; work shorter than this shows nothing.
PATIENCE = 0.5
#: Seconds between two updates of the line.
INTERVAL = 0.2


@dataclass(frozen=True)
class Progress:
    """How far a piece of work is: ``at`` of ``of`` units (None where the end is not known)."""

    what: str
    at: int
    of: Optional[int] = None
    message: str = ""

    def __str__(self) -> str:
        far = f"{self.at:,}" if not self.of else f"{min(self.at / self.of, 1.0):.0%}"
        return " ".join(part for part in (self.what, far, self.message) if part)


#: None: shown on a terminal and in a notebook. True: shown. False: not shown. A function is called instead.
ProgressOption = Union[None, bool, Callable[[Progress], object]]


class Meter:
    """One line on standard error, written over and over, and wiped in the end."""

    def __init__(self, title: str, option: ProgressOption) -> None:
        self._call = option if callable(option) else None
        self._shown = self._call is None and (_is_seen() if option is None else bool(option))
        self._title = title
        self._start = time.monotonic()
        self._next = self._start + PATIENCE
        self._last: Optional[Progress] = None
        self._width = 0

    def tell(self, progress: Progress) -> None:
        self._last = progress
        if self._call is not None:
            self._call(progress)

    def tick(self) -> None:
        now = time.monotonic()
        if not self._shown or now < self._next:
            return
        self._next = now + INTERVAL
        text = f"{self._title}: {now - self._start:.0f} s" + (f", {self._last}" if self._last else "")
        self._write(text)

    def close(self) -> None:
        if self._width:
            self._write("")

    def _write(self, text: str) -> None:
        sys.stderr.write("\r" + text.ljust(self._width) + ("" if text else "\r"))
        sys.stderr.flush()
        self._width = len(text)


def _is_seen() -> bool:
    if sys.stderr is not None and sys.stderr.isatty():
        return True
    # A notebook's standard error is no terminal and rewrites lines all the same.
    return type(sys.stderr).__module__.startswith("ipykernel")
