"""The calls of the README run as they stand there, one after the other."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from collections.abc import Generator
from pathlib import Path
from types import CodeType, SimpleNamespace
from typing import Any

import pytest

import ratequeue
from ratequeue.testing import Node

README = (Path(__file__).parents[1] / "README.md").read_text()


class Response:
    """Answer of the stub of OpenAI's client, which may be awaited or not."""

    usage = SimpleNamespace(prompt_tokens=900, completion_tokens=600, total_tokens=1500)

    def __await__(self) -> Generator[None, None, Response]:
        yield from ()
        return self


def run(code: CodeType, names: dict[str, Any]) -> None:
    if code.co_flags & inspect.CO_COROUTINE:
        asyncio.run(eval(code, names))
    else:
        exec(code, names)


def test_the_five_calls(own_node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATEQUEUE_URL", own_node.url)
    completions = SimpleNamespace(create=lambda model, messages: Response())
    names: dict[str, Any] = {
        "openai_client": SimpleNamespace(chat=SimpleNamespace(completions=completions)),
        "messages": [],
        "RATEQUEUE_API_KEY": "secret",
    }
    used = []
    for block in re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE):
        run(compile(block, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
        if "summarise" in names:
            names["summarise"]("x" * 300)
        with ratequeue.Client() as client:
            stats = client.stats("openai-eu")
        used.append(stats["limits"]["tpm"]["used"])
    # Reported; not reported; without waiting; with a load that follows from the text.
    assert used == [0, 1500, 3500, 3501, 4101]
    assert stats["held"] == 0
