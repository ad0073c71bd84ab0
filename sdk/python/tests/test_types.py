"""Findings of the type checkers in ``typed_uses.py``: every wrong use, and nothing else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

USES = Path(__file__).parent / "typed_uses.py"
PACKAGE = Path(__file__).parents[1]
WRONG = {n for n, line in enumerate(USES.read_text().splitlines(), 1) if line.endswith("# wrong")}


def run(*args: str) -> str:
    # With the Node.js of the package, which is pinned, and without asking for newer versions.
    environment = {**os.environ, "PYRIGHT_PYTHON_GLOBAL_NODE": "0", "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    args = (sys.executable, "-m", *args)
    return subprocess.run(args, capture_output=True, text=True, cwd=PACKAGE, env=environment).stdout


def test_there_are_enough_uses() -> None:
    uses = re.findall(
        r"^ .*\b(?:ratequeue|rq|client|held|lease|RateQueue\w+)\b.*(?<!# wrong)$", USES.read_text(), re.MULTILINE
    )
    assert len(uses) >= 40
    assert len(WRONG) >= 20


def test_mypy_finds_the_wrong_ones() -> None:
    said = run("mypy", "--strict", str(USES))
    found = re.findall(r"^\S+typed_uses\.py:(\d+): error: (.*)$", said, re.MULTILINE)
    assert {int(line) for line, _ in found} == WRONG, said


def test_pyright_finds_the_wrong_ones(tmp_path: Path) -> None:
    settings = {
        "include": [os.path.relpath(USES, tmp_path)],
        "typeCheckingMode": "strict",
        "extraPaths": [str(PACKAGE / "src")],
        "pythonVersion": "3.9",
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    said = run("pyright", "--outputjson", "--pythonpath", sys.executable, "--project", str(tmp_path))
    found = json.loads(said)["generalDiagnostics"]
    lines = {diagnostic["range"]["start"]["line"] + 1 for diagnostic in found if diagnostic["severity"] == "error"}
    assert lines == WRONG, "\n".join(f"{found['range']['start']['line'] + 1}: {found['message']}" for found in found)
