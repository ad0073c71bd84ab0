#!/usr/bin/env bash
# The mutants, without building them: every patch fits the code and says what it breaks and what notices, and
# docs/testing.md has their table.
exec "$(dirname "$0")/../chaos/mutants" --check
