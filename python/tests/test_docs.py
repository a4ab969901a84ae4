"""The examples in the documentation do what they say."""

from __future__ import annotations

import ast
import contextlib
import doctest
import importlib
import io
import json
import pkgutil
from pathlib import Path
from typing import Any, Dict

import pytest
import strandline
from conftest import ROOT, SNAPSHOTS, TRACES

MODULES = [module.name for module in pkgutil.iter_modules(strandline.__path__, "strandline.") if not module.name.endswith("__main__")]


@pytest.mark.parametrize("name", ["strandline", *MODULES])
def test_docstrings(name: str) -> None:
    module = importlib.import_module(name)
    names = {**vars(module), "TRACES": TRACES, "SNAPSHOTS": SNAPSHOTS}
    assert doctest.testmod(module, globs=names).failed == 0


def test_there_are_docstrings_with_examples() -> None:
    count = sum(len(test.examples) for name in MODULES for test in doctest.DocTestFinder().find(importlib.import_module(name)))
    assert count > 10


def run_cell(source: str, names: Dict[str, Any]) -> str:
    """What a notebook shows of a cell: what it prints, and its last expression."""
    tree = ast.parse(source)
    last = tree.body[-1]
    if isinstance(last, ast.Expr):
        del tree.body[-1]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, "cell", "exec"), names)
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), names) if isinstance(last, ast.Expr) else None
    return printed.getvalue() + (repr(value) if value is not None else "")


def test_the_notebook_shows_what_its_cells_give(monkeypatch: pytest.MonkeyPatch) -> None:
    path = ROOT / "docs" / "python.ipynb"
    monkeypatch.chdir(path.parent)
    names: Dict[str, Any] = {}
    shown = 0
    for cell in json.loads(path.read_text())["cells"]:
        if cell["cell_type"] == "code":
            texts = [output.get("text") or output["data"]["text/plain"] for output in cell["outputs"]]
            assert run_cell("".join(cell["source"]), names) == "".join("".join(text) for text in texts), cell["source"]
            shown += len(texts)
    assert shown >= 5
