# The verbs of this repository. They do the same here and in CI.

CARGO ?= cargo
HTTP ?= 127.0.0.1:7600
DATA ?= ratequeue-data
CONFIG ?= cluster-configs/one-region.toml

.PHONY: help setup setup-test setup-sdk run cluster check test members chaos chaos-night sdk dashboard screenshots fix golden bench

help: ## Shows the verbs
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

setup: ## Makes sure that what a build needs is there
	@scripts/setup.sh build

setup-test: ## Makes sure that what the tests need is there
	@scripts/setup.sh test

setup-sdk: ## Makes sure that what the Python package needs is there
	@scripts/setup.sh sdk

run: setup ## Builds and starts one node on HTTP=127.0.0.1:7600 with its state in DATA=ratequeue-data
	@$(CARGO) build --release --locked
	@exec target/release/ratequeue dev --http $(HTTP) --data $(DATA)

cluster: setup ## Builds and starts three nodes on this machine: CONFIG=cluster-configs/one-region.toml
	@scripts/local-cluster.sh $(CONFIG)

check: setup-test ## Writes nothing: format, lints, layering, rooms, generated files, docs, the page, tests
	$(CARGO) fmt --all --check
	scripts/check/layering.sh
	scripts/check/rooms.sh
	scripts/check/circles.py
	scripts/check/prose.py
	scripts/check/links.py
	scripts/check/mutants.sh
	scripts/check/deny.sh
	scripts/check/openapi.sh
	dashboard/check.sh
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked --document-private-items
	$(MAKE) --no-print-directory test

test: setup-test ## Runs every test, those of the Python package too
	scripts/level-1.sh
	$(CARGO) test --workspace --locked
	scripts/readme.py
	scripts/full-disk.sh
	scripts/members/kill.py --points 24 --seed 1
	scripts/chaos/checker/selftest.py
	scripts/chaos/run --short --seed 1 --seconds 12 --binary target/debug/ratequeue
	sdk/python/check.sh
	dashboard/e2e.sh

members: setup-test ## Kills at every step of changes of members, and while regions come and go; an hour and more
	$(CARGO) build --locked
	scripts/members/kill.py
	scripts/members/grow.py

chaos: setup-test ## Clusters of release binaries under faults, judged by a checker: SEED=n; three minutes
	$(CARGO) build --release --locked
	scripts/chaos/run --short $(if $(SEED),--seed $(SEED)) --seconds 15

chaos-night: setup-test ## The same with every scenario, again and again, for MINUTES=60
	scripts/level-1.sh --release
	scripts/chaos/run $(if $(SEED),--seed $(SEED)) --seconds 30 --minutes $(or $(MINUTES),60)

sdk: setup-sdk ## Checks the Python package against real nodes
	$(CARGO) build --locked
	sdk/python/check.sh

dashboard: setup-test ## Builds the page into dashboard/dist, which is committed, and drives it in a browser
	cd dashboard && ./install.sh && npm run --silent fix && npm run --silent build -- --logLevel warn
	$(CARGO) build --locked
	dashboard/check.sh
	dashboard/e2e.sh

screenshots: setup-test ## Takes the pictures of docs/images
	$(CARGO) build --locked
	dashboard/e2e.sh -c screenshots.config.ts

fix: ## Formats, and regenerates what is generated
	$(CARGO) fmt --all
	$(CARGO) run --quiet -- openapi > docs/openapi.json

golden: ## Runs the golden scripts and rewrites what they expect
	UPDATE_GOLDENFILES=1 $(CARGO) test -p ratequeue-limiter --test golden

bench: setup ## Measures the cost of a decision
	$(CARGO) bench -p ratequeue-limiter
