"""JSON objects as objects with attributes."""

from __future__ import annotations

import copy
from typing import Any, Dict, Iterator, List, get_args, get_origin, get_type_hints

_INDENT = "  "


class Record:
    """An object of a report. Its keys are attributes; ``to_dict()`` has it as it was printed.

    The annotations of a subclass are the keys that stay. Further keys of the report are attributes, too, and may change.
    """

    def __init__(self, fields: Dict[str, Any]) -> None:
        hints = {key: hint for key, hint in get_type_hints(type(self)).items() if not key.startswith("_")}
        self._fields = fields
        for key, value in fields.items():
            vars(self)[key] = _typed(value, hints.get(key))

    def to_dict(self) -> Dict[str, Any]:
        """A copy of the JSON object."""
        return copy.deepcopy(self._fields)

    def __getattr__(self, key: str) -> Any:
        # Only what is no attribute comes here.
        if key.startswith("_"):
            raise AttributeError(key)
        raise AttributeError(f"{type(self).__name__} has no {key!r}; it has {', '.join(self)}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._fields == other._fields

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={vars(self)[key]!r}' for key in self._fields)})"

    def __reduce__(self) -> Any:
        return (type(self), (self._fields,))


def _typed(value: Any, hint: Any) -> Any:
    """The value with its objects as records, of the class that the annotation names where it names one."""
    if isinstance(value, dict):
        return _class_of(hint)(value)
    if isinstance(value, list):
        inner: List[Any] = [part for part in get_args(hint)] if get_origin(hint) is list else []
        return [_typed(part, inner[0] if inner else None) for part in value]
    return value


def _class_of(hint: Any) -> "type[Record]":
    """The record class of an annotation, ``Optional`` or not."""
    for candidate in (hint, *get_args(hint)):
        if isinstance(candidate, type) and issubclass(candidate, Record):
            return candidate
    return Record


def size(count: float) -> str:
    """Bytes as people read them.

    >>> size(67756032), size(512), size(1 << 40)
    ('64.62 MiB', '512 B', '1.00 TiB')
    """
    if abs(count) < 1 << 13:
        return f"{count:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        count /= 1024
        if abs(count) < 1024:
            return f"{count:.2f} {unit}"
    return f"{count / 1024:.2f} TiB"


def table(title: str, *rows: "tuple[str, object]") -> str:
    """A title, and rows under it; rows without a value are left out."""
    shown = [(name, value) for name, value in rows if value not in (None, "")]
    width = max((len(name) for name, _ in shown), default=0)
    return "\n".join([title, *(f"{_INDENT}{name.ljust(width)}  {value}" for name, value in shown)])
