"""The files of a run's folder. A line that is damaged is an error, but for the last one of a history: its client may
have been killed while it wrote it.
"""
from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_parse = json.JSONDecoder().raw_decode


class Damaged(Exception):
    """A file is not what it should be: which, and where."""


class Folder:
    """The folder of a run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run: dict[str, Any] = self._json("run.json") or {}
        self.notes: dict[str, Any] = self.run.get("notes") or {}
        self.final: dict[str, Any] | None = self._json("final.json")
        self.histories = self._numbered("history-*.jsonl")
        self.dumps = self._numbered("log-*.jsonl")
        if not self.histories:
            raise Damaged(f"{path}: there is no history-N.jsonl")

    @property
    def regions(self) -> dict[str, list[int]]:
        return self.run.get("regions") or {}

    def faults(self) -> list[dict[str, Any]]:
        path = self.path / "faults.jsonl"
        return [record for _, record in objects(path)] if path.exists() else []

    def verdicts(self) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """What verify-log printed, by file."""
        for path in self._numbered("verify-*.json"):
            yield path.name, self._json(path.name) or []

    def verdict_of(self, dump: Path) -> list[dict[str, Any]]:
        """The verdict on the same log as a dump, if there is one."""
        found = self._json(dump.name.replace("log-", "verify-").replace(".jsonl", ".json"))
        return found if isinstance(found, list) else []

    def _numbered(self, pattern: str) -> list[Path]:
        number = re.compile(r"\d+")
        return sorted(self.path.glob(pattern), key=lambda path: [int(part) for part in number.findall(path.name)])

    def _json(self, name: str) -> Any:
        path = self.path / name
        if not path.exists():
            return None
        try:
            return json.loads(path.read_text())
        except ValueError as error:
            raise Damaged(f"{path}: {error}") from error


def objects(path: Path, torn_end: bool = False) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a file, a line each, with the numbers of their lines."""
    with path.open(encoding="utf-8", errors="surrogateescape", newline="\n") as lines:
        number, line = 0, ""
        try:
            for number, line in enumerate(lines, 1):
                found, end = _parse(line)
                # Behind the object there is the end of the line, and nothing else.
                if len(line) - end > 1 and line[end:].strip() or found.__class__ is not dict:
                    raise ValueError("not an object and a line's end")
                if torn_end and line[-1] != "\n":
                    return
                yield number, found
        except ValueError as error:
            if torn_end and not line.endswith("\n"):
                return
            raise Damaged(f"{path}:{number}: {error}: {line[:120].strip()!r}") from error
