"""What can go wrong, as exceptions that say where and what to do.

Running out of memory in a replay is a result, not an error: look at ``ok`` of the report.
"""

from __future__ import annotations

from typing import Any, Mapping, Optional

__all__ = ["CommandError", "InputError", "RecordError", "StrandlineError"]


class StrandlineError(Exception):
    """Any error of this package.

    ``file``, ``line``, ``byte``, ``unpacked_byte`` and ``entry`` say where, as far as it is known: a text file has lines, counted from
    1, a binary file has bytes and entries, counted from 0; ``unpacked_byte`` is a byte of what a gzip file holds. ``what`` was found, ``expected`` is what belongs there, ``remedy`` is what to do.
    """

    file: Optional[str]
    line: Optional[int]
    byte: Optional[int]
    unpacked_byte: Optional[int]
    entry: Optional[int]
    what: str
    expected: Optional[str]
    remedy: Optional[str]

    def __init__(
        self,
        what: str,
        *,
        file: Optional[str] = None,
        line: Optional[int] = None,
        byte: Optional[int] = None,
        unpacked_byte: Optional[int] = None,
        entry: Optional[int] = None,
        expected: Optional[str] = None,
        remedy: Optional[str] = None,
    ) -> None:
        super().__init__(what)
        self.file, self.line, self.entry = file, line, entry
        self.byte, self.unpacked_byte = byte, unpacked_byte
        self.what, self.expected, self.remedy = what, expected, remedy

    def __str__(self) -> str:
        places = (("line", self.line), ("byte", self.byte), ("unpacked byte", self.unpacked_byte), ("entry", self.entry))
        where = ([] if self.file is None else [self.file]) + [f"{name} {at}" for name, at in places if at is not None]
        text = (", ".join(where) + ": " if where else "") + self.what
        if self.expected is not None:
            text += f", expected {self.expected}"
        return text if self.remedy is None else f"{text}; {self.remedy}"

    def __reduce__(self) -> Any:
        # An exception crosses to another process whole, as those of a pool of workers do.
        return (_restored, (type(self), self.what, {key: value for key, value in vars(self).items() if key != "what"}))


def _restored(kind: type[StrandlineError], what: str, rest: Mapping[str, Any]) -> StrandlineError:
    return kind(what, **rest)


class InputError(StrandlineError, ValueError):
    """A file or an option that the command does not take."""


class CommandError(StrandlineError, RuntimeError):
    """The command is not there, or ended without an answer."""


class RecordError(StrandlineError, RuntimeError):
    """PyTorch's memory history cannot be recorded here."""
