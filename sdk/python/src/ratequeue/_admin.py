"""Builds the calls that create, change and read resources, and list their leases."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Optional
from urllib.parse import quote

from ._wire import Call, about_resource, check_name, new_key, resource_path
from .errors import ConfigurationError

PAGE = 1000
"""Items per page of a list."""

Resource = dict[str, Any]
"""A resource as the HTTP API shows it: ``limits``, ``queue``, ``lease``, ``name``, ``version``, ..."""


def _path(name: str) -> str:
    return resource_path(check_name(name))


def _change(method: str, name: str, body: Optional[Mapping[str, Any]], conditions: Mapping[str, str]) -> Call:
    content = None if body is None else json.dumps(body).encode()
    return Call(
        method, _path(name), content, {"idempotency-key": new_key(), **conditions}, subject=about_resource(name)
    )


def _if_match(version: Optional[int]) -> dict[str, str]:
    return {} if version is None else {"if-match": f'"{version}"'}


def put(name: str, resource: Mapping[str, Any], if_version: Optional[int], create_only: bool) -> Call:
    conditions = {"if-none-match": "*"} if create_only else _if_match(if_version)
    return _change("PUT", name, resource, conditions)


def patch(name: str, changes: Mapping[str, Any], if_version: Optional[int]) -> Call:
    return _change("PATCH", name, changes, _if_match(if_version))


def delete(name: str) -> Call:
    return _change("DELETE", name, None, {})


def get(name: str) -> Call:
    return Call("GET", _path(name), subject=about_resource(name))


def stats(name: str) -> Call:
    return Call("GET", _path(name) + "/stats", subject=about_resource(name))


def page(cursor: Optional[str]) -> Call:
    return Call("GET", f"/v1/resources?limit={PAGE}{_after(cursor)}")


def leases(name: str, state: Optional[str], cursor: Optional[str]) -> Call:
    if state not in (None, "held", "waiting"):
        raise ConfigurationError(f"state is {state!r}: give 'held' or 'waiting', or leave it out for both")
    only = "" if state is None else f"&state={state}"
    path = f"{_path(name)}/leases?limit={PAGE}{only}{_after(cursor)}"
    return Call("GET", path, subject=about_resource(name))


def _after(cursor: Optional[str]) -> str:
    return f"&cursor={quote(cursor, safe='')}" if cursor else ""
