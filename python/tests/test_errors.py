"""Bad input: an exception that says where, what, and what to do."""

from __future__ import annotations

import os
import pickle
import stat
from pathlib import Path

import pytest
import strandline
from strandline import _command

HEADER = "Thread,Time,Action,Pointer,Size,Stream\n"
ALLOCATION = "1,00:00:00.2,allocate,0x2,5,0\n"


def test_a_line_of_a_trace(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(HEADER + "1,00:00:00.1,free,0x1,5,0\n" + ALLOCATION)
    with pytest.raises(strandline.InputError) as caught:
        strandline.replay(path)
    error = caught.value
    assert (error.file, error.line) == (str(path), 2)
    assert error.what == "a free of 0x1, which is not live"
    assert error.expected == "an allocation of it before"
    assert error.remedy is not None and "leniently" in error.remedy
    assert str(error).startswith(f"{path}, line 2: a free of 0x1, which is not live, expected an allocation of it before; if ")
    assert isinstance(error, ValueError)
    assert strandline.replay(path, lenient=True).trace.reader.skipped_faults == 1
    again = pickle.loads(pickle.dumps(error))
    assert vars(again) == vars(error) and str(again) == str(error)


@pytest.mark.parametrize("name", ["replay", "explain", "compare", "fit", "plan"])
def test_a_file_that_is_not_there(name: str, tmp_path: Path) -> None:
    with pytest.raises(strandline.InputError, match=r"absent\.csv.*No such file"):
        getattr(strandline, name)(tmp_path / "absent.csv")


def test_an_option_that_the_command_does_not_take(traces: Path) -> None:
    vit = traces / "vit_infer.csv.gz"
    with pytest.raises(strandline.InputError, match="`1XB` is not a size"):
        strandline.replay(vit, capacity="1XB")
    with pytest.raises(strandline.InputError, match="--nonsense"):
        strandline.replay(vit, options=["--nonsense"])


def test_a_path_is_never_an_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("--help").write_text(HEADER + ALLOCATION)
    assert strandline.replay("--help").trace.events == 1


def test_a_command_that_gives_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, traces: Path) -> None:
    def stands_for_the_command(script: str) -> None:
        path = tmp_path / "strandline"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(_command, "find", lambda: path)

    for script, said in [
        ("kill -9 $$", r"killed \(signal 9\).*memory"),
        ("kill -11 $$", "ended by signal 11"),
        ("echo nonsense; exit 0", "exit status 0 and without an answer"),
        ("echo a word on standard error >&2; exit 101", "(?s)exit status 101.*a word on standard error"),
    ]:
        stands_for_the_command(script)
        with pytest.raises(strandline.CommandError, match=said):
            strandline.replay(traces / "vit_infer.csv.gz")


def test_keys_of_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "strandline"
    error = '{"error": {"file": "a.gz", "what": "a gap", "unpacked_byte": 7, "entry": 3, "key_of_a_later_command": 1}}'
    path.write_text(f"#!/bin/sh\necho '{error}'\nexit 2\n")
    path.chmod(0o755)
    monkeypatch.setattr(_command, "find", lambda: path)
    with pytest.raises(strandline.InputError, match="^a.gz, unpacked byte 7, entry 3: a gap$") as caught:
        strandline.explain("a.gz")
    assert (caught.value.unpacked_byte, caught.value.entry, caught.value.line) == (7, 3, None)


def test_a_package_without_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_command, "__file__", "/nowhere/strandline/_command.py")
    monkeypatch.setattr("sysconfig.get_path", lambda *_, **__: "/nowhere/bin")
    with pytest.raises(strandline.CommandError, match="pip install --force-reinstall strandline"):
        strandline.replay("any")


def test_warnings_of_the_command_are_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "strandline"
    path.write_text('#!/bin/sh\necho "[WARN] of the command" >&2\necho \'{"plan": {"bytes": 1}, "ok": true}\'\n')
    path.chmod(0o755)
    monkeypatch.setattr(_command, "find", lambda: path)
    assert strandline.plan(os.devnull).bytes == 1
    assert "[WARN] of the command" in caplog.text
