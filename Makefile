# `make up` and `make test` are all that is needed; `make help` lists the rest.

SHELL := /bin/sh
CARGO ?= cargo
# Which PostgreSQL majors `make test-matrix` covers; all of them when empty.
MAJORS ?=
# How long each fuzzer of `make fuzz` runs.
FUZZ_SECONDS ?= 60
# Flags for `pglens dev`: make up ARGS="--fresh --processes"
ARGS ?=
# How long each test of `make soak` breaks things.
SOAK_SECONDS ?= 600
# Options of the ingest benchmark: make bench-ingest INGEST_ARGS="--seconds 60 --proxies 4"
INGEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help up test bootstrap bootstrap-test bootstrap-bench fmt clippy doc unit e2e newest-major test-matrix helm-lint test-deploy fuzz bench bench-ingest soak

help: ## Show the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name what; do printf '%-20s %s\n' "$$name" "$$what"; done

up: bootstrap ## Install what is missing, build, and run everything on this machine (Ctrl-C stops it)
	@echo "==> building pglens (the first time takes some minutes)"
	$(CARGO) build --locked -p pglens
	@"$$(scripts/target-dir.sh)/debug/pglens" dev $(ARGS)

test: bootstrap-test fmt clippy doc unit e2e newest-major helm-lint ## Every check that CI makes
	@echo "==> all checks passed"

bootstrap: ## Install what building and `pglens dev` need
	@scripts/bootstrap.sh

bootstrap-bench: ## Install what the benchmark needs as well
	@scripts/bootstrap.sh --bench

bootstrap-test: ## Install what the tests need as well
	@scripts/bootstrap.sh --test

fmt: ## Formatting
	@echo "==> fmt"
	$(CARGO) fmt --all --check

clippy: ## Lints, warnings are errors
	@echo "==> clippy"
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

# With the examples, so that libraries have the features that clippy has built them with. Programs are those without a library of
# their name, as `cargo doc` takes them by itself.
doc: ## Documentation, warnings are errors
	@echo "==> doc"
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked --document-private-items --lib --examples \
		--bin pglens --bin pglens-bench-ingest

# Always the whole workspace: a part of it would be built with other features of its libraries, from the start. The
# tests of the command have `pglens` built, so it is there for the end-to-end tests as well.
unit: ## Unit and integration tests, with PostgreSQL servers of their own
	@echo "==> unit and integration tests; target: $$(scripts/postgres-majors.sh version)"
	$(CARGO) nextest run --workspace --locked -E 'not package(pglens-e2e)'

e2e: ## Both planes with real PostgreSQL and real clients
	@echo "==> end-to-end tests; target: $$(scripts/postgres-majors.sh version)"
	PGLENS_E2E_PROGRAM="$$(scripts/target-dir.sh)/debug/pglens" $(CARGO) nextest run --workspace --locked -E 'package(pglens-e2e)'

newest-major: ## The tests about targets once more, with the newest PostgreSQL as the target
	@scripts/test-majors.sh --quick 18

test-matrix: bootstrap-test ## Every test that has a target, with each supported major of PostgreSQL (MAJORS="14 18")
	@scripts/test-majors.sh $(MAJORS)

soak: bootstrap-test ## Kill everything, cut every network, hurt storage, under load, for SOAK_SECONDS (600) each
	@echo "==> soak, $(SOAK_SECONDS) s"
	PGLENS_SOAK_SECONDS=$(SOAK_SECONDS) PGLENS_E2E_PROGRAM="$$(scripts/target-dir.sh)/debug/pglens" $(CARGO) nextest run --profile soak --no-capture --workspace --locked -E 'package(pglens-e2e) & (test(whatever_is_killed) | test(/^outages::/))'

helm-lint: ## Lint and render the chart, and validate every object
	@echo "==> helm chart"
	@scripts/helm-check.sh

test-deploy: ## Bring the compose file up for real, where a Docker engine can start
	@echo "==> compose"
	@scripts/test-deploy.sh

fuzz: ## Run the fuzzers, each for FUZZ_SECONDS
	@scripts/fuzz.sh $(FUZZ_SECONDS)

bench: bootstrap-bench ## Compare with a direct connection and with PgBouncer; takes some minutes
	@echo "==> bench"
	$(CARGO) build --release --locked -p pglens
	@PGLENS_BIN="$$(scripts/target-dir.sh)/release/pglens" bench/run.py $(ARGS)
	@$(MAKE) --no-print-directory bench-ingest

bench-ingest: bootstrap-bench ## Statements per second into storage, and what each costs; a part of `make bench`
	@echo "==> bench-ingest"
	$(CARGO) build --release --locked -p pglens -p pglens-bench-ingest
	@PGLENS_BIN="$$(scripts/target-dir.sh)/release/pglens" "$$(scripts/target-dir.sh)/release/pglens-bench-ingest" $(INGEST_ARGS)
