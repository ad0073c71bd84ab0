"""Reads the usage in answers of language models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from ._wire import Load

# The names under which a dimension of a load may mean the tokens that went in, came out, and both.
_IN = ("input_tokens", "prompt_tokens", "input", "prompt")
_OUT = ("output_tokens", "completion_tokens", "output", "completion")
_ALL = ("total_tokens", "tokens", "total")


def used(response: Any, load: Load) -> Optional[Load]:
    """Returns the usage in an answer of OpenAI, Anthropic or LangChain, in the form of ``load``; None if there is none.

    A whole number counts all tokens; of Anthropic's, those read from its cache do not count, as in its own limits. A map
    counts each dimension that has a well-known name (``input_tokens``, ``prompt_tokens``, ``input``, ...), and keeps
    what was asked for in the others.
    """
    usage = _usage(response)
    if usage is None:
        return None
    into = _first(usage, "input_tokens", "prompt_tokens")
    out = _first(usage, "output_tokens", "completion_tokens")
    total = _first(usage, "total_tokens")
    if into is None and out is None and total is None:
        return None
    if total is None:
        cached = _first(usage, "cache_creation_input_tokens")
        if into is not None or cached is not None:
            into = (into or 0) + (cached or 0)
        total = (into or 0) + (out or 0)
    if isinstance(load, int):
        return total
    counted = {**dict.fromkeys(_IN, into), **dict.fromkeys(_OUT, out), **dict.fromkeys(_ALL, total)}
    known = {name: counted.get(name) for name in load}
    return {name: load[name] if amount is None else amount for name, amount in known.items()}


def _usage(response: Any) -> Any:
    for name in ("usage", "usage_metadata"):
        usage = _get(response, name)
        if usage is not None:
            return usage
    read = getattr(response, "json", None)
    if callable(read) and hasattr(response, "status_code"):
        try:
            body = read()
        except Exception:  # Whatever kind of answer it is: it says nothing about usage.
            return None
        return body.get("usage") if isinstance(body, dict) else None
    return None


def _first(usage: Any, *names: str) -> Optional[int]:
    for name in names:
        amount = _get(usage, name)
        if isinstance(amount, int) and not isinstance(amount, bool) and amount >= 0:
            return amount
    return None


def _get(thing: Any, name: str) -> Any:
    return thing.get(name) if isinstance(thing, Mapping) else getattr(thing, name, None)
