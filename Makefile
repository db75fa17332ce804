# The commands of this checkout. `make help` lists them.
# Python packages come from the hashed locks, into .venv, whenever a lock has changed.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c

export PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
FUZZ := $(VENV)/fuzz
CLIENTS := $(VENV)/clients
BENCH := $(VENV)/bench
RELEASE := $(VENV)/release
PEERS := benchmarks/peers/node
ARGS ?=
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
UV = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

# How long they take, as far as a quiet machine with two cores was measured.
TEST_SAYS := the tests: six minutes on two quiet cores (make test-fast runs the most telling ones)
SYSTEM_SAYS := the tests that start servers, workers and browsers: five to six minutes on two quiet cores
FAST_SAYS := the tests that a change breaks first: one to one and a half minutes on two quiet cores

export PYTHONDONTWRITEBYTECODE ?=

# Each would put the packages elsewhere than into .venv. Where pip finds them stays the user's.
unexport PIP_USER PIP_TARGET PIP_PREFIX PIP_ROOT PIP_REQUIRE_VIRTUALENV PIP_PYTHON PIP_DRY_RUN
unexport PIP_NO_DEPS PIP_CONSTRAINT PIP_REQUIREMENT PIP_EDITABLE PYTHONHOME PYTHONPATH PYTHONOPTIMIZE

.DEFAULT_GOAL := help
.PHONY: help run install explorer screenshots test test-fast test-system test-clients test-recipes test-delivery \
	release sbom example-web example-script \
	compare bench fuzz check schema erd migration fmt lock db-psql db-reset clean
.DELETE_ON_ERROR:

help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' \
		$(MAKEFILE_LIST)

run: $(VENV)/project ## Serve at http://127.0.0.1:8000 with a database and people (PORT=8080 changes it)
	@exec $(BIN)/community-gql dev --pages $(ARGS)

install: $(VENV)/project $(VENV)/dev-packages ## Make .venv with all the tools, without running anything

explorer: $(BIN)/python ## Build the explorer's pages (Node 20.19 or newer); `make run` does it too
	@$(BIN)/python explorer/build.py

screenshots: $(VENV)/project $(VENV)/dev-packages ## Take the pictures of the explorer in docs/images (Node and Chromium)
	@SCREENSHOTS=docs/images $(BIN)/python -m pytest -q tests/explorer

# Their workers read all the tests, and they start some hundred processes of ours: from bytecode it
# takes less. A worker has its tests in a row, so that what a module needs is made once.
test test-fast test-system: export PYTHONDONTWRITEBYTECODE :=

# A few tests that failed are run once more, alone: those of this run, so earlier ones are forgotten.
IN_PARALLEL = $(BIN)/python -m pytest --cache-clear -n auto --dist worksteal $(1) $(ARGS) || \
	{ code=$$?; test $$code = 1 && $(BIN)/python -m tests.again || exit $$code; }

test: $(VENV)/project $(VENV)/dev-packages ## Run the tests, minutes (ARGS="-k paging -x" to choose)
	@echo "$(TEST_SAYS)"
	@$(call IN_PARALLEL,-m "not system")

test-system: $(VENV)/project $(VENV)/dev-packages ## Run the tests that start servers, workers and browsers
	@echo "$(SYSTEM_SAYS)"
	@$(call IN_PARALLEL,-m system)

test-fast: $(VENV)/project $(VENV)/dev-packages ## Run the tests that a change breaks first (a minute or more)
	@echo "$(FAST_SAYS)"
	@$(call IN_PARALLEL,--fast)

test-delivery: $(VENV)/project $(VENV)/dev-packages $(RELEASE)/packages ## Build the wheel, its list of parts and the container, and start compose.yaml (buildah, podman)
	@DELIVERY=all $(BIN)/python -m pytest -n 0 tests/delivery $(ARGS)

release: $(VENV)/project $(VENV)/dev-packages $(RELEASE)/packages ## Make dist/: the wheel with the explorer (Node), and the list of its parts (SBOM)
	@$(BIN)/python explorer/build.py
	@$(BIN)/python -m build --outdir dist
	@$(MAKE) --no-print-directory sbom

sbom: $(RELEASE)/packages ## Write dist/community-gql.cdx.json, the list of the parts of a server (CycloneDX)
	@mkdir -p dist
	@$(RELEASE)/bin/cyclonedx-py requirements requirements-serve.lock --pyproject pyproject.toml \
		--output-reproducible --output-file dist/community-gql.cdx.json

compare: $(VENV)/project $(VENV)/dev-packages ## Compare both ways of running queries, and walk through lists, at length (CASES=20000 SEED=x)
	@FUZZ_CASES=$(or $(CASES),6000) FUZZ_SEED=$(or $(SEED),$$RANDOM) WALKS=16 \
		$(BIN)/python -m pytest -n 3 tests/operations/test_equality.py \
		tests/graph/test_paging.py::test_walking_yields_each_row_once $(ARGS)

bench: $(VENV)/project $(BENCH)/packages $(PEERS)/node_modules ## Measure this project beside others (QUICK=1 for minutes, ARGS=--help)
	@$(BIN)/python -m benchmarks --chart-python $(BENCH)/bin/python $(if $(QUICK),--quick) $(ARGS)

fuzz: $(VENV)/project $(VENV)/dev-packages $(FUZZ)/packages ## Run compare, then send the API nonsense, with schemathesis (ARGS="--max-examples 500")
	@$(MAKE) --no-print-directory compare ARGS=
	@$(BIN)/python -m tests.http.fuzz $(FUZZ)/bin/schemathesis $(ARGS)

test-clients: $(VENV)/project $(VENV)/dev-packages $(CLIENTS)/packages ## Give the schema to all client generators, run docs/clients.md and the examples
	@CLIENTS=all $(BIN)/python -m pytest -n auto tests/clients $(ARGS)

test-recipes: $(VENV)/project $(VENV)/dev-packages ## Follow the recipes of CONTRIBUTING.md in a copy, and check and test the copy
	@$(BIN)/python -m tests.recipes $(ARGS)

example-web: ## Serve the example app at http://127.0.0.1:5173, beside make run
	@cd examples/web && npm start

example-script: $(BIN)/python answers $(VENV)/project $(CLIENTS)/packages ## Run the example script beside make run (EMAIL=grace@example.com)
	@cd examples/python && ../../$(CLIENTS)/bin/ariadne-codegen > /dev/null && \
		TOKEN=$$(../../$(BIN)/community-gql token $(or $(EMAIL),ada@example.com)) \
		../../$(CLIENTS)/bin/python journal.py $(ARGS)

.PHONY: answers
answers: $(BIN)/python
	@$(BIN)/python -c "$$ANSWERS" "$${API:-http://127.0.0.1:8000}"

define ANSWERS
import sys, urllib.request
try:
    urllib.request.urlopen(f"{sys.argv[1]}/healthz", timeout=10).close()
except (OSError, ValueError):
    sys.exit(f"Nothing answers at {sys.argv[1]}: start the server with `make run` in another terminal.")
endef
export ANSWERS

check: $(VENV)/project $(VENV)/dev-packages ## Check format, lint, types, layers, schema, migrations and picture
	@printf '\n== format\n'; $(BIN)/ruff format --check .
	@printf '\n== lint\n'; $(BIN)/ruff check .
	@printf '\n== types\n'; $(BIN)/mypy
	@printf '\n== layers\n'; $(BIN)/lint-imports
	@printf '\n== schema\n'; $(BIN)/community-gql schema check
	@printf '\n== migrations\n'; $(BIN)/community-gql db check
	@printf '\n== picture of the tables\n'; $(BIN)/community-gql db erd --check

schema: $(VENV)/project $(VENV)/dev-packages ## Write schema.graphql from the code
	@$(BIN)/community-gql schema export --output schema.graphql

erd: $(VENV)/project ## Draw docs/erd.svg from models.py
	@$(BIN)/community-gql db erd

migration: $(VENV)/project $(VENV)/dev-packages ## Write a migration for the changes in models.py, and draw docs/erd.svg (m="add badges")
	@test -n "$(m)" || { echo 'Say what it does: make migration m="add badges"' >&2; exit 2; }
	@$(BIN)/community-gql db revision "$(m)"

fmt: $(VENV)/project $(VENV)/dev-packages ## Format the code and fix what can be fixed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: $(VENV)/project $(VENV)/dev-packages ## Choose new versions of all packages (ARGS=--upgrade) and write the locks
	@$(UV) $(ARGS) pyproject.toml -o requirements-serve.lock
	@$(UV) $(ARGS) --extra dev --extra matching --group build pyproject.toml -o requirements-run.lock
	@$(UV) $(ARGS) --extra dev --extra matching --extra otel --group build --group dev pyproject.toml -o requirements-dev.lock
	@$(UV) $(ARGS) --group fuzz -o requirements-fuzz.lock
	@$(UV) $(ARGS) --group clients -o requirements-clients.lock
	@$(UV) $(ARGS) --group bench -o requirements-bench.lock
	@$(UV) $(ARGS) --group release -o requirements-release.lock

db-psql: $(VENV)/project ## Open psql on the embedded database
	@$(BIN)/community-gql db psql

db-reset: $(VENV)/project ## Remove the embedded database with all its data
	@$(BIN)/community-gql db reset

clean: ## Remove .venv, caches and builds (the database stays: make db-reset)
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	rm -rf tests/clients/.work examples/web/dist examples/web/src/gql examples/python/community
	rm -rf explorer/node_modules src/community_gql/explorer_build
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the virtual environment ---

# A virtual environment holds the absolute path of its folder. One that was copied (`cp -r`) or moved
# with its checkout would run the other checkout's code, or nothing: it is made anew.
MADE_FOR := $(VENV)/made-for
ifneq ($(wildcard $(BIN)),)
$(shell if [ -e $(MADE_FOR) ]; then [ "$$(cat $(MADE_FOR))" = "$(CURDIR)" ]; \
	else grep -qsF "$(CURDIR)/$(VENV)" $(BIN)/activate; fi || \
	{ echo 'the checkout was copied or moved: making $(VENV) anew' >&2; rm -rf $(VENV); })
endif

# Made once, by the first interpreter that is new enough and able to.
$(BIN)/python:
	@set -e; chosen=''; old=''; \
	broken=''; \
	for python in $${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python}; do \
		command -v "$$python" >/dev/null 2>&1 || continue; \
		if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
			"$$python" -c 'import ensurepip, venv' >/dev/null 2>&1 && { chosen=$$python; break; }; \
			broken=$$python; \
		else old="$$old $$python"; fi; \
	done; \
	if [ -z "$$chosen" ] && [ -n "$$broken" ]; then \
		echo "$$broken can't make virtual environments: its modules venv and ensurepip are missing." \
			"On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; fi; \
	if [ -z "$$chosen" ]; then \
		echo "Python 3.11 or newer is needed (tried:$${old:- nothing found})." \
			"Install one, or name one: make PYTHON=/path/to/python3 ..." >&2; exit 1; fi; \
	echo "making $(VENV) with $$("$$chosen" -c 'import sys; print(sys.executable, sys.version.split()[0])')"; \
	rm -rf $(VENV); "$$chosen" -m venv $(VENV); pwd > $(MADE_FOR)

# pip says much about each package; one short line per package is progress enough. What it says
# about errors is shown whole.
define install
	@echo "installing the packages of $(1)"
	@$(PIP) install --progress-bar off --require-hashes -r $(1) 2>&1 | awk ' \
		/ERROR|error/ { bad = 1 } \
		bad { print } \
		/^Collecting / { printf "  %s\n", $$2 } \
		/^Installing collected/ { print "  unpacking them" } \
		{ fflush() }'
endef

$(VENV)/run-packages: $(BIN)/python requirements-run.lock
	$(call install,requirements-run.lock)
	@touch $@

$(VENV)/project: $(VENV)/run-packages pyproject.toml
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev-packages: $(VENV)/run-packages requirements-dev.lock
	$(call install,requirements-dev.lock)
	@touch $@

# Of `make fuzz`, `test-clients` and `bench`: beside ours, whose packages must not change for theirs.
$(VENV)/%/packages: requirements-%.lock $(BIN)/python
	@echo "installing the packages of $<"
	@$(BIN)/python -m venv $(@D)
	@$(@D)/bin/python -m pip --disable-pip-version-check --no-input install --quiet --require-hashes -r $<
	@touch $@

# Without npm the benchmark runs without the peers on Node, and says so.
$(PEERS)/node_modules: $(PEERS)/package-lock.json
	@if command -v npm >/dev/null; then \
		echo "installing the packages of $<"; \
		npm ci --prefix $(PEERS) --loglevel=error && touch $@; \
	else echo "npm is not installed: PostGraphile and Mercurius will be left out" >&2; fi
