# The text after ## describes a target; `make` without a target lists them.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
BIN := .venv/bin
COMPILE := uv pip compile --universal --generate-hashes --no-header --no-emit-index-url \
	--python-version 3.12 --quiet
LOCK := $(COMPILE) pyproject.toml
# uv is in .tools/bin if the bootstrap had to fetch it.
export PATH := $(CURDIR)/.tools/bin:$(PATH)
# Processes that the tests start use compiled product files: compiling takes as long as importing.
unexport PYTHONDONTWRITEBYTECODE
# Number of test processes, each with its own servers. Tests wait for a part of their time, so three
# keep two cores busy.
TEST_PROCESSES ?= 3
PYTEST = .ci/in_memory.sh $(BIN)/pytest -n $(TEST_PROCESSES) --dist loadgroup
TRACES ?= 1000

.PHONY: dashboard dashboard-tests screenshots help dev test tests test-all otel-tests test-faults test-citus check quick compiled lint types imports format serve worker migrate seed bench lock vendor sbom audit helm pins pins-check clean setup setup-local

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

dev: setup-local ## run everything on this machine: a private PostgreSQL and Valkey, the API, a worker
	@exec $(BIN)/pandaprobe-server dev

test: setup ## lint, types, import rules, and all tests, on embedded servers
	@$(MAKE) -j lint types imports tests

tests: compiled # the tests of test
	@$(PYTEST)

test-all: otel-tests lint types imports ## the same with every example and combination: half an hour or more
	@$(PYTEST) --hypothesis-profile=full -m "not faults"

otel-tests: setup # the instrumentations that test-all runs; without them it skips their tests
	@.ci/otel-tests.sh

test-faults: setup ## fault tests: kill, stop, freeze and slow every component, for minutes; see docs/operation/reliability.md
	@$(BIN)/pytest tests/faults -m "faults or e2e" -rP

# All tests of PostgreSQL but those that start the product's own server; those about something that
# a cluster hasn't are skipped, and the summary says why.
CITUS_TESTS := tests $(addprefix --ignore=tests/, e2e faults benchmarks architecture clients \
	adapters/embedded adapters/redis)

test-citus: setup ## all tests of PostgreSQL on a cluster of Citus, see docs/operation/scaling.md; PANDAPROBE_TEST_CITUS makes a database
	@[ -n "$$PANDAPROBE_TEST_CITUS" ] || { echo "No cluster: set PANDAPROBE_TEST_CITUS to a command" \
		"that creates an empty database on one and prints its URL"; exit 1; }
	@$(PYTEST) $(CITUS_TESTS) -m "service and not e2e and not faults and not exhaustive"

# These tests wait for nothing, and each process takes seconds to collect them: two suffice.
check: setup ## the fast part of test: without services, few cases of each test, within a minute
	@start=$$(date +%s); \
	$(MAKE) -j TEST_PROCESSES=2 lint types imports quick && echo "check: $$(( $$(date +%s) - start )) s"

quick: compiled # the tests of check
	@$(PYTEST) --hypothesis-profile=quick --ignore=tests/e2e --ignore=tests/faults \
		-m "not service and not e2e and not slow and not exhaustive"

# On a fresh clone, each test process would compile every module.
compiled: setup
	@$(BIN)/python -m compileall -q -j 2 domain application adapters entrypoints tests/support

lint: setup ## check style and formatting
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet . || { echo "not formatted: run make format"; exit 1; }

types: setup ## check types with mypy, strict
	@$(BIN)/mypy

imports: setup ## check the import rules
	@said=$$($(BIN)/lint-imports 2>&1) || { echo "$$said"; exit 1; }

format: setup ## format the code, and fix what can be fixed
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

serve: setup-local ## run the API on PANDAPROBE_DATABASE_URL and PANDAPROBE_REDIS_URL
	@exec $(BIN)/pandaprobe-server serve

worker: setup-local ## run a worker on the same servers
	@exec $(BIN)/pandaprobe-server worker

migrate: setup-local ## migrate that database to the newest schema
	@exec $(BIN)/pandaprobe-server migrate

seed: setup-local ## fill the project demo of a running dev with generated traces; TRACES=100000 for more
	@exec $(BIN)/pandaprobe-server seed --traces $(TRACES)

bench: setup ## run the benchmarks; OTHER=/a/tree compares with that tree; see docs/development/benchmarks.md
	@$(BIN)/python -m tests.benchmarks$(if $(OTHER),.compare $(OTHER))

lock: setup ## resolve the dependencies again; UPGRADE=--upgrade for the newest versions
	@$(LOCK) $(UPGRADE) -o requirements.lock
	@$(LOCK) $(UPGRADE) --all-extras -c requirements.lock -o requirements-extras.lock
	@$(LOCK) $(UPGRADE) --group dev -o requirements-dev.lock
	@$(COMPILE) $(UPGRADE) --group local -c requirements-dev.lock -o .ci/local.lock
	@$(COMPILE) $(UPGRADE) --group audit -o .ci/audit.lock
	@$(COMPILE) $(UPGRADE) --group otel-tests -o requirements-otel-tests.lock
	@$(COMPILE) $(UPGRADE) --group helm --no-deps -o .ci/helm.lock

vendor: setup ## fetch Swagger UI with npm and check its hashes; VERSION=1.2.3 for another version
	@$(BIN)/python .ci/vendor.py $(VERSION)

dashboard: setup ## build the dashboard with npm: types, unit tests, entrypoints/dashboard/built
	@$(BIN)/python .ci/dashboard_types.py
	@cd entrypoints/dashboard && npm ci --ignore-scripts --no-audit --no-fund --silent && \
		npm run --silent types && npm run --silent test && npm run --silent build

dashboard-tests: setup ## all tests in a browser; run them after `make dashboard`
	@.ci/in_memory.sh $(BIN)/pytest tests/e2e/dashboard tests/e2e/documentation/test_reference.py -m "not faults"

screenshots: setup ## take the pictures of docs/dashboard.md again; needs Chromium
	@$(BIN)/python -m tests.e2e.dashboard.screenshots

# Tools of a release, each package checked against its hash.
RELEASE_TOOLS := uv run --no-project --isolated --quiet --python $(BIN)/python \
	--with-requirements .ci/audit.lock

sbom: setup ## write the software bill of materials (CycloneDX) of the image to dist/
	@$(RELEASE_TOOLS) python .ci/sbom.py dist

audit: setup ## look for known vulnerabilities in the locked packages; needs the network
	@for lock in requirements-extras.lock requirements-dev.lock .ci/audit.lock; do \
		$(RELEASE_TOOLS) pip-audit --require-hashes --disable-pip --progress-spinner off \
			$(AUDIT_OPTIONS) -r $$lock || exit 1; \
	done

helm: setup ## install Helm and Kubernetes' schemas into .tools, for the tests of the chart
	@$(BIN)/python .ci/helm.py

pins: setup ## set the digests of images and actions to what their tags are now; needs Docker and git
	@$(BIN)/python .ci/pins.py

pins-check: setup ## fail if an image or an action isn't named by its digest
	@$(BIN)/python .ci/pins.py --check

clean: ## delete caches and environment; the data in .local stays
	rm -rf .venv .venv-otel .tools .mypy_cache .ruff_cache .import_linter_cache .hypothesis dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

setup: # create or update the environment
	@.ci/bootstrap.sh

setup-local: # the same with what the server needs, and nothing for tests
	@.ci/bootstrap.sh local
