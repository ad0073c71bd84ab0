#!/usr/bin/env bash
# Checks the Python package: format, lints, types, tests against real nodes. Takes about two minutes, and up to one more the
# first time. Needs CPython 3.11 or newer with venv, and PyPI when .venv is not up to date.
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
jobs=()
stop() {
  # The tests end the nodes that they started, so they are waited for.
  for job in ${jobs[@]+"${jobs[@]}"}; do kill "$job" 2>/dev/null || true; done
  wait
  rm -rf "$work"
}
trap stop EXIT
# A copy, so that a build in the meantime does not change what is tested.
cp "$binary" "$work/ratequeue"
export RATEQUEUE_BIN="$work/ratequeue"

# What is installed is remembered, so that a second run needs no network.
wanted=$(cat pyproject.toml constraints.txt)
if [ "$wanted" != "$(cat .venv/installed 2>/dev/null)" ]; then
  rm -rf .venv
  "${PYTHON:-python3}" -m venv .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
  printf '%s\n' "$wanted" >.venv/installed
fi

# These wait most of the time, for a minute of the clock and for answers that come late or never: they go on beside the others.
beside="tests/test_failover.py tests/test_conformance.py tests/test_hung.py tests/test_cut.py tests/test_ends.py"
for test in $beside; do
  .venv/bin/python -m pytest -s -p no:cacheprovider "$test" >"$work/$(basename "$test").txt" 2>&1 &
  jobs+=($!)
done

.venv/bin/python generate_sync.py --check
.venv/bin/ruff format --check --quiet .
.venv/bin/ruff check --quiet .
.venv/bin/mypy
.venv/bin/python -m pytest $(printf -- '--ignore %s ' $beside)

result=0
for job in "${jobs[@]}"; do wait "$job" || result=$?; done
jobs=()
cat "$work"/*.txt
exit "$result"
