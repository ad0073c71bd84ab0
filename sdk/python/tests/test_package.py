"""The package in a fresh environment, where the snippet of the product page runs as it stands; its wheel; the examples."""

from __future__ import annotations

import email
import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import provider
import pytest

import ratequeue
from ratequeue.testing import Node

PACKAGE = Path(__file__).parents[1]
ROOT = Path(__file__).parents[3]
SNIPPET = """\
import ratequeue.aio as rq

async with rq.acquire("openai-eu", load=2000, api_key=RATEQUEUE_API_KEY):
    response = await openai_client.chat.completions.create(model="gpt-4o", messages=messages)
"""
# The snippet is compiled as a notebook would, with await at its top level.
AROUND = """\
import ast, asyncio, os, types
import httpx

class Completions:
    async def create(self, model, messages):
        async with httpx.AsyncClient(base_url=os.environ["RATEQUEUE_URL"]) as http:
            held = (await http.get("/v1/resources/openai-eu/leases?state=held")).json()["items"]
        return {"model": model, "held": [lease["load"] for lease in held]}

chat = types.SimpleNamespace(completions=Completions())
names = {"openai_client": types.SimpleNamespace(chat=chat), "messages": [], "RATEQUEUE_API_KEY": "secret"}

async def main():
    code = compile(open("snippet.py").read(), "snippet.py", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    await eval(code, names)

asyncio.run(main())
print(names["response"])
import ratequeue
assert ratequeue.__file__.startswith(os.environ["INSTALLED"]), ratequeue.__file__
"""


def run(*args: Any, **options: Any) -> str:
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [str(arg) for arg in args], capture_output=True, text=True, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_snippet_runs_from_a_fresh_environment(ratequeue_node: Node, client: Any, tmp_path: Path) -> None:
    client.resources.put(
        "openai-eu",
        {
            "limits": {
                "tpm": {"kind": "rate", "quota": 90_000, "window_ms": 60_000},
                "slots": {"kind": "concurrency", "quota": 20},
            }
        },
    )
    fresh = tmp_path / "venv"
    venv.create(fresh, with_pip=True)
    python = fresh / "bin" / "python"
    # It is built with hatchling for that, and what is installed is the wheel.
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "./sdk/python", cwd=ROOT)
    (tmp_path / "snippet.py").write_text(SNIPPET)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment.update(RATEQUEUE_URL=ratequeue_node.url, INSTALLED=str(fresh))
    said = run(python, "-W", "error", "-c", AROUND, cwd=tmp_path, env=environment)
    assert said.strip() == "{'model': 'gpt-4o', 'held': [2000]}"
    assert client.stats("openai-eu")["held"] == 0


def test_what_is_packed(tmp_path: Path) -> None:
    build = "import hatchling.build as b, sys; print(b.build_wheel(sys.argv[1]), b.build_sdist(sys.argv[1]))"
    wheel_name, sdist_name = run(sys.executable, "-c", build, tmp_path, cwd=PACKAGE).split()[-2:]
    with zipfile.ZipFile(tmp_path / wheel_name) as wheel:
        inside = set(wheel.namelist())
        (about,) = (name for name in inside if name.endswith("dist-info/METADATA"))
        metadata = email.message_from_bytes(wheel.read(about))
        (license_name,) = (name for name in inside if name.endswith("LICENSE"))
        assert wheel.read(license_name) == (ROOT / "LICENSE").read_bytes()
    assert {"ratequeue/py.typed", "ratequeue/aio/__init__.py"} <= inside
    assert {path.split("/")[0].partition("-")[0] for path in inside} == {"ratequeue"}
    assert metadata["Version"] == ratequeue.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    extras = set(metadata.get_all("Provides-Extra", [])) - {"test"}
    readme = metadata.get_payload()
    assert extras
    assert all(f"ratequeue[{extra}]" in readme for extra in extras)
    # A page of the package has no files beside it.
    assert re.findall(r"\]\((?!https?://)[^)]*\)", str(readme)) == []
    with tarfile.open(tmp_path / sdist_name) as sdist:
        packed = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"LICENSE", "README.md", "examples/with_httpx.py", "src/ratequeue/py.typed"} <= packed


@pytest.mark.parametrize("name", sorted(path.name for path in (PACKAGE / "examples").glob("with_*.py")))
def test_an_example_keeps_within_the_providers_limits(ratequeue_node: Node, name: str) -> None:
    environment = {**os.environ, "RATEQUEUE_URL": ratequeue_node.url}
    said = run(sys.executable, PACKAGE / "examples" / name, env=environment, timeout=120)
    assert "refused 0" in said


def test_the_examples_provider_refuses_callers_that_do_not_wait() -> None:
    def call(url: str) -> int:
        return httpx.post(f"{url}/v1/chat/completions", json={"max_tokens": 500}).status_code

    with provider.running() as api, ThreadPoolExecutor(16) as threads:
        statuses = list(threads.map(call, [api.url] * 16))
    assert set(statuses) == {200, 429}
    assert statuses.count(429) == api.refused
