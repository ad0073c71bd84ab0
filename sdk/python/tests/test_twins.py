"""Search for functions that are written twice. The blocking client is generated from the asyncio client instead."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Union

import ratequeue

SOURCE = Path(ratequeue.__file__).parent
GENERATED = "# Generated from "
"""First words of a generated file. ``check.sh`` compares it with what ``generate_sync.py`` makes of its source."""
ASYNC = re.compile(
    r"\b(async |await )|Async(?=[A-Z])|(?<=__)a(?=enter__|exit__|iter__|next__)|\ba(?=close\b|acquire\b)"
)
"""Spelling that only asynchronous code has."""
REQUEST = re.compile(r"\b_admin\.\w+|\b_wire\.(?:acquire_request|extend|release)\b")
"""Functions that build a request."""
SAME_BODY_MIN = 2
"""Statements from which on two equal bodies count as one that is written twice."""

Function = Union[ast.FunctionDef, ast.AsyncFunctionDef]


class Written(NamedTuple):
    """A part of a function, and its place."""

    part: str
    name: str
    text: str
    place: str


def functions(tree: ast.AST, outer: str = "") -> Iterator[tuple[str, Function]]:
    """Yields the functions and methods of a module, by name; ``AsyncClient.aclose`` is ``Client.close``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield from functions(node, f"{ASYNC.sub('', node.name)}.")
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield outer + ASYNC.sub("", node.name), node


def parts(name: str, function: Function, place: str) -> Iterator[Written]:
    docstring = ast.get_docstring(function) or ""
    statements = function.body[1:] if docstring else function.body
    body = ASYNC.sub("", "\n".join(map(ast.unparse, statements)))
    method = name.rpartition(".")[2]

    if docstring:
        yield Written("docstring", method, docstring, place)
    if len(statements) >= SAME_BODY_MIN:
        yield Written("body", method, body, place)
    if requests := " ".join(REQUEST.findall(body)):
        yield Written("request", method, requests, place)


def twins(source: Path = SOURCE) -> list[str]:
    """Returns the functions of which a part is written by hand in several places."""
    places = defaultdict(list)
    for path in sorted(source.rglob("*.py")):
        if (text := path.read_text()).startswith(GENERATED):
            continue
        for name, function in functions(ast.parse(text)):
            for written in parts(name, function, f"{path.relative_to(source)}:{function.lineno}"):
                places[written[:3]].append(written.place)
    assert len(places) > 200
    return [f"{name}: same {part} in {', '.join(where)}" for (part, name, _), where in places.items() if len(where) > 1]


def test_no_function_is_written_twice() -> None:
    assert not (found := twins()), "\n".join(found)
