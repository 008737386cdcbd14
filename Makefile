# `make up` and `make test` are all that is needed; `make help` lists the rest.

SHELL := /bin/sh
CARGO ?= cargo
# Flags for `pglens dev`: make up ARGS="--fresh --processes"
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help up test bootstrap bootstrap-test fmt clippy doc unit e2e helm-lint test-deploy bench

help: ## Show the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name what; do printf '%-20s %s\n' "$$name" "$$what"; done

up: bootstrap ## Install what is missing, build, and run everything on this machine (Ctrl-C stops it)
	@echo "==> building pglens (the first time takes some minutes)"
	$(CARGO) build --locked -p pglens
	@"$$(scripts/target-dir.sh)/debug/pglens" dev $(ARGS)

test: bootstrap-test fmt clippy doc unit e2e helm-lint ## Every check that CI makes
	@echo "==> all checks passed"

bootstrap: ## Install what building and `pglens dev` need
	@scripts/bootstrap.sh

bootstrap-test: ## Install what the tests need as well
	@scripts/bootstrap.sh --test

fmt: ## Formatting
	@echo "==> fmt"
	$(CARGO) fmt --all --check

clippy: ## Lints, warnings are errors
	@echo "==> clippy"
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

doc: ## Documentation, warnings are errors
	@echo "==> doc"
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked --document-private-items

unit: ## Unit and integration tests, with PostgreSQL servers of their own
	@echo "==> unit and integration tests"
	$(CARGO) nextest run --workspace --exclude pglens-e2e --locked

e2e: ## Both planes with real PostgreSQL and real clients
	@echo "==> end-to-end tests"
	$(CARGO) build --locked -p pglens -p pglens-control-plane -p pglens-data-plane
	$(CARGO) nextest run -p pglens-e2e --locked

helm-lint: ## Lint and render the chart, and validate every object
	@echo "==> helm chart"
	@scripts/helm-check.sh

test-deploy: ## Bring the compose file up for real, where a Docker engine can start
	@echo "==> compose"
	@scripts/test-deploy.sh

bench: bootstrap-test ## Compare with a direct connection
	@echo "==> bench"
	@bench/run.sh
