"""Names with characters that mean something in a path, against a real node."""

from __future__ import annotations

import pytest

import ratequeue

NAMES = ["a+b=c~[1]", "azure/gpt-4.1-ptu", "models/gemini-1.5-pro", "user@example.com"]
SLOTS: ratequeue.ResourceSettings = {"limits": {"slots": {"kind": "concurrency", "quota": 1}}}


def test_names_are_encoded(client: ratequeue.Client) -> None:
    for name in NAMES:
        assert client.resources.put(name, SLOTS)["name"] == name
        assert client.resources.get(name)["name"] == name
        assert client.resources.patch(name, {"limits": {"slots": {"quota": 2}}})["version"] == 2
        with client.acquire(name) as lease:
            assert lease.resource == name
            assert client.stats(name)["held"] == 1
    listed = [view["name"] for view in client.resources.list()]
    assert [name for name in listed if name in NAMES] == NAMES
    for name in NAMES:
        client.resources.delete(name)


@pytest.mark.parametrize("name", ["", ".", "..", "a b", "azure%2Fgpt-4.1", "\u00e9", "x" * 257])
def test_what_is_no_name_is_told(client: ratequeue.Client, name: str) -> None:
    with pytest.raises(ratequeue.ConfigurationError, match="not percent-encoded"):
        client.resources.get(name)
