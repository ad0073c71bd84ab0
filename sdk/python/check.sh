#!/usr/bin/env bash
# Checks the Python package: format, lints, types, tests against real nodes. Under three minutes.
# The server's binary: RATEQUEUE_BIN, else target/debug/ratequeue of this repository, else target/release/ratequeue.
set -euo pipefail
cd "$(dirname "$0")"

root=$(cd ../.. && pwd)
for binary in "${RATEQUEUE_BIN:-}" "$root/target/debug/ratequeue" "$root/target/release/ratequeue"; do
  [ -x "$binary" ] && break
done
if [ ! -x "$binary" ]; then
  echo "check.sh: no ratequeue binary: run cargo build, or set RATEQUEUE_BIN" >&2
  exit 1
fi

work=$(mktemp -d)
failover=
stop() { [ -z "$failover" ] || kill "$failover" 2>/dev/null || true; rm -rf "$work"; }
trap stop EXIT
# A copy, so that a build in the meantime does not change what is tested.
cp "$binary" "$work/ratequeue"
export RATEQUEUE_BIN="$work/ratequeue"

[ -x .venv/bin/python ] || "${PYTHON:-python3}" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test]'

# It waits for a minute of the clock most of the time, so it goes on beside the others.
.venv/bin/python -m pytest -s tests/test_failover.py >"$work/failover.txt" 2>&1 &
failover=$!

.venv/bin/ruff format --check --quiet .
.venv/bin/ruff check --quiet .
.venv/bin/mypy
.venv/bin/python -m pytest --ignore tests/test_failover.py

result=0
wait "$failover" || result=$?
failover=
cat "$work/failover.txt"
exit "$result"
