"""Starts the command, which does the work, in a process of its own.

So no lock of the interpreter is held meanwhile, Ctrl-C ends the work at once wherever it is, a trace that is larger than this
machine's memory ends the worker and not the notebook, and threads and forks have nothing to share.
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from ._progress import Meter, Progress, ProgressOption
from .errors import CommandError, InputError

log = logging.getLogger("strandline")

#: Seconds between two looks at the clock while nothing is heard.
TICK = 0.1
#: The keys of an error beside what was found.
PARTS = ("file", "line", "byte", "unpacked_byte", "entry", "expected", "remedy")
SATISFIED, UNSATISFIED, BAD_INPUT = 0, 1, 2


class Answer(NamedTuple):
    """What the command printed, and whether it ended as satisfied."""

    report: Dict[str, Any]
    ok: bool


def find() -> Path:
    """Where this installation's command is.

    Raises ``CommandError`` if it is nowhere that an installer puts it.
    """
    name = "strandline" + (sysconfig.get_config_var("EXE") or "")
    package = Path(__file__).resolve().parent
    user = sysconfig.get_path("scripts", scheme=f"{os.name}_user")
    folders = [
        # Beside the library that this file is in: an environment's, or that of `pip install --prefix`.
        *(parent / "bin" for parent in list(package.parents)[:4] if (parent / "bin" / name).is_file()),
        Path(sysconfig.get_path("scripts")),
        *([Path(user)] if user else []),
    ]
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise CommandError(
        f"the command {name!r} is not where the package was installed",
        file=str(package),
        remedy="install the wheel again: pip install --force-reinstall strandline",
    )


def ask(arguments: Sequence[str], progress: ProgressOption = None) -> Answer:
    """Runs the command with ``--json`` and returns its answer; does not return while the command runs.

    Raises ``InputError`` for what the command does not take, ``CommandError`` if it gives no answer, and whatever ``progress`` raises.
    """
    words = [str(find()), arguments[0], "--json", *arguments[1:]]
    meter = Meter(f"strandline {arguments[0]}", progress)
    process = subprocess.Popen(
        words,
        # Its end tells the command that nobody waits any more, should this process be killed.
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "STRANDLINE_DRIVEN": "1"},
        # The terminal's Ctrl-C comes here alone: one place decides what is ended.
        start_new_session=True,
    )
    try:
        output, said = _listen(process, meter)
        status = process.wait()
    finally:
        # After an answer there is nothing to end. On the way of an exception the worker is ended now, not when it notices.
        process.kill()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        process.wait()
        meter.close()
    return _answer(status, output, said)


def _listen(process: "subprocess.Popen[bytes]", meter: Meter) -> tuple[bytes, List[str]]:
    """Everything on standard output, and the lines on standard error that are no progress."""
    assert process.stdout is not None and process.stderr is not None
    output, said, rest = bytearray(), [], b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        selector.register(process.stderr, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select(TICK):
                read = os.read(key.fd, 1 << 16)
                if not read:
                    selector.unregister(key.fileobj)
                elif key.fileobj is process.stdout:
                    output += read
                else:
                    *lines, rest = (rest + read).split(b"\n")
                    for line in lines:
                        told = _progress(line)
                        if told is None:
                            said.append(line.decode(errors="replace"))
                        else:
                            meter.tell(told)
            meter.tick()
    if rest:
        said.append(rest.decode(errors="replace"))
    return bytes(output), said


def _progress(line: bytes) -> Optional[Progress]:
    if not line.startswith(b'{"progress":'):
        return None
    return Progress(**json.loads(line)["progress"])


def _answer(status: int, output: bytes, said: List[str]) -> Answer:
    try:
        report = json.loads(output)
    except ValueError:
        report = None
    if status == BAD_INPUT and isinstance(report, dict) and "error" in report:
        error = report["error"]
        # Keys that a later command adds are no reason to lose the error.
        raise InputError(error["what"], **{key: error.get(key) for key in PARTS})
    if status not in (SATISFIED, UNSATISFIED) or not isinstance(report, dict):
        raise CommandError("\n".join([_ending(status), *said]))
    for line in said:
        log.warning("%s", line)
    return Answer(report, status == SATISFIED)


def _ending(status: int) -> str:
    if status == -9:
        return "the command was killed (signal 9): this machine may not have had the memory for the file"
    if status < 0:
        return f"the command was ended by signal {-status}"
    return f"the command ended with exit status {status} and without an answer"


def main() -> None:
    """The command itself, as ``python -m strandline``."""
    command = str(find())
    words = [command, *sys.argv[1:]]
    if os.name == "posix":
        os.execv(command, words)
    sys.exit(subprocess.call(words))
