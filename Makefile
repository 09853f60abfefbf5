# Each target says after ## what it does; `make` alone lists them.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
BIN := .venv/bin
LOCK := uv pip compile --universal --generate-hashes --no-header --no-emit-index-url \
	--python-version 3.12 --quiet pyproject.toml
# uv is where it was found or fetched to.
export PATH := $(CURDIR)/.tools/bin:$(PATH)
# Processes that share the tests, each with servers of its own.
TEST_PROCESSES ?= 2
TRACES ?= 1000

.PHONY: help dev test test-faults check lint types imports format serve worker migrate seed bench lock vendor clean setup

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

dev: setup ## everything on this machine: a PostgreSQL and a Valkey of its own, the API, a worker
	@exec $(BIN)/pandaprobe-server dev

test: setup lint types imports ## lint, types, import rules, and every test on servers of its own
	@$(BIN)/pytest -n $(TEST_PROCESSES)

test-faults: setup ## kill, stop, freeze and slow every part, for minutes; docs/reliability.md says more
	@$(BIN)/pytest tests/faults -m "faults or e2e" -rP

check: setup ## the fast part of it: no services, seconds
	@start=$$(date +%s); \
	$(MAKE) lint types imports && $(BIN)/pytest -n $(TEST_PROCESSES) --hypothesis-profile=quick -m "not service and not e2e and not slow" && \
	echo "check: $$(( $$(date +%s) - start )) s"

lint: setup ## style
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet . || { echo "not formatted: run make format"; exit 1; }

types: setup ## mypy, strict
	@$(BIN)/mypy

imports: setup ## who may import whom
	@said=$$($(BIN)/lint-imports 2>&1) || { echo "$$said"; exit 1; }

format: setup ## format the code, and mend what can be
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

serve: setup ## the API on PANDAPROBE_DATABASE_URL and PANDAPROBE_REDIS_URL
	@exec $(BIN)/pandaprobe-server serve

worker: setup ## a worker on the same
	@exec $(BIN)/pandaprobe-server worker

migrate: setup ## bring that database to the newest schema
	@exec $(BIN)/pandaprobe-server migrate

seed: setup ## fill the project demo of a running dev with made-up traces; TRACES=100000 for more
	@exec $(BIN)/pandaprobe-server seed --traces $(TRACES)

bench: setup ## how fast writes and reads are; docs/benchmarks.md says more
	@$(BIN)/python -m tests.benchmarks

lock: setup ## resolve the dependencies anew; UPGRADE=--upgrade to take the newest
	@$(LOCK) $(UPGRADE) -o requirements.lock
	@$(LOCK) $(UPGRADE) --all-extras -c requirements.lock -o requirements-extras.lock
	@$(LOCK) $(UPGRADE) --group dev -o requirements-dev.lock

vendor: setup ## fetch Swagger UI with npm and check its hashes; VERSION=1.2.3 to take another
	@$(BIN)/python .ci/vendor.py $(VERSION)

clean: ## remove caches and environment; the data in .local stays
	rm -rf .venv .tools .mypy_cache .ruff_cache .import_linter_cache .hypothesis dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

setup: # the environment, brought up to date
	@.ci/bootstrap.sh
