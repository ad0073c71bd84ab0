"""Calls that make and look at resources, as they go over the wire. The two clients send them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Optional, TypedDict
from urllib.parse import quote

from ._wire import Call, about_resource, check_name, new_key, resource_path

Resource = dict[str, Any]
"""A resource as the HTTP API shows it: ``limits``, ``queue``, ``lease``, ``name``, ``version``, ..."""


class QueueSettings(TypedDict, total=False):
    """The ``queue`` of a resource. What is left out is the server's to choose; older servers refuse what they do not know."""

    max_waiting: int
    """How many callers may wait; 10,000 unless it was set."""
    max_wait_ms: int
    """For how long anybody may wait, in milliseconds; 60,000 unless it was set."""
    claim_ms: int
    """For how long a slot is kept for a caller that was silent when its turn came, 0 to 60,000 milliseconds; 5,000 unless it was
    set. Not claimed in time its lease lapses; with 0, silent callers are passed over."""


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
    after = f"&cursor={quote(cursor, safe='')}" if cursor else ""
    return Call("GET", f"/v1/resources?limit=1000{after}")
