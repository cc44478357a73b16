# Every target sets up what it needs in .venv, from the lock files alone. PYTHON names the interpreter to start from.
PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
STUBS := clients/python
TESTS ?= tests
RESOLVE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header

.DEFAULT_GOAL := help
.PHONY: help demo serve test test-full test-clients charts tools tools-light operations pictures image sbom audit explore bench bench-decisions bench-failover catalog check lint types contracts protos drift stubs generate format lock clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not on this machine: Turnout needs Python 3.11 or newer; name yours with 'make PYTHON=python3'" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is too old: Turnout needs Python 3.11 or newer" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# What running needs; `make demo` and `make serve` install no more than this.
$(VENV)/.run: requirements.lock pyproject.toml | $(BIN)/python
	$(PIP) --require-hashes -r requirements.lock
	$(PIP) --require-hashes -r requirements-build.lock
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

# What developing needs; a superset of the above.
$(VENV)/.dev: requirements-dev.lock $(VENV)/.run
	$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@

demo: $(VENV)/.run  ## see it work: simulated providers, a real sidecar, a failure and the recovery (30 s, no key)
	@$(BIN)/turnout demo

serve: $(VENV)/.run  ## start the sidecar with whatever provider keys are in the environment
	@exec $(BIN)/turnout serve

test: $(VENV)/.dev  ## the Python tests (5 minutes at most on two cores)
	$(BIN)/python -m pytest $(TESTS) -m "not full" --numprocesses 3 --dist worksteal

test-full: $(VENV)/.dev  ## what is slow or needs other tools; what is skipped is listed with its reason
	$(BIN)/python -m pytest $(TESTS) -m full --numprocesses 2 --dist worksteal
	HYPOTHESIS_PROFILE=long $(BIN)/python -m pytest $(TESTS) -m hypothesis --numprocesses 2 --dist worksteal --timeout 900

test-clients: $(VENV)/.dev  ## the clients of all languages through the same cases, as one table (ARGS="--client go --json")
	@$(BIN)/python -m tests.conformance $(ARGS)

charts: $(VENV)/.dev  ## lint, render, validate and apply the Helm charts, as far as the tools are there (part of test-full)
	$(BIN)/python -m helm.documents --check
	$(BIN)/python -m pytest tests/deploy -m "full or not full" -k "chart or cluster or kube or inject or (sidecar and not image)"

image: $(VENV)/.run  ## build the container image with buildah or docker (IMAGE=turnout:VERSION, BASE=…, IMAGE_FLAGS=…)
	@builder=$$(command -v buildah || command -v docker || command -v podman) || { echo "neither buildah nor docker nor podman is on this machine" >&2; exit 1; }; \
	version=$$($(BIN)/python -c 'import importlib.metadata as found; print(found.version("turnout"))'); \
	set -x; $$builder build --build-arg VERSION="$$version" --build-arg REVISION="$$(git rev-parse HEAD 2>/dev/null || echo unknown)" \
	  $(if $(BASE),--build-arg BASE=$(BASE)) $(IMAGE_FLAGS) --tag $(or $(IMAGE),turnout:$$version) .

sbom: $(VENV)/.dev  ## write what the image holds besides its base, as CycloneDX JSON, to dist/
	@tools/sbom.sh dist/turnout.cdx.json

audit: $(VENV)/.dev  ## compare what ships with the published advisories (needs the network)
	@$(BIN)/python -m tools.audit

tools: $(VENV)/.run  ## put the other tools that tests use into .tools/ (what is built from source takes half an hour)
	tools/get.sh

tools-light: $(VENV)/.run  # what of it takes seconds; never fails: a test whose tool is missing is skipped with the reason
	@tools/get.sh light || true

operations: $(VENV)/.dev  ## stage what pages people and write what is seen into docs/operations.md (minutes; PICTURES=1: Jaeger's pages too)
	$(BIN)/python -m tools.operations $(if $(PICTURES),--pictures)

pictures: $(VENV)/.dev  ## take the pictures of `turnout top` in docs/pictures anew, from a real run (five minutes)
	$(BIN)/python -m tools.top_picture

explore: $(VENV)/.dev  ## look for new failures with property tests: other examples each time (five minutes)
	HYPOTHESIS_PROFILE=explore $(BIN)/python -m pytest $(TESTS) -m hypothesis --numprocesses 2 --dist worksteal --timeout 900

bench: $(VENV)/.dev  ## measure against the least that could do the same job, as ratios in one run (two to three minutes)
	$(BIN)/python -W ignore -m bench

check: lint types contracts protos drift  ## lint, types, dependency rule, protos, generated code in step

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/hadolint Dockerfile

types: $(VENV)/.dev
	$(BIN)/mypy

contracts: $(VENV)/.dev
	$(BIN)/lint-imports

protos: $(VENV)/.dev
	$(BIN)/buf lint
	$(BIN)/buf format -d --exit-code
	@if git cat-file -e main:protos/turnout/v1/router.proto 2>/dev/null; then \
	  $(BIN)/buf breaking --against '.git#branch=main' --path protos/turnout/v1/router.proto --path protos/turnout/v1/admin.proto; fi

stubs:  # writes the Python stubs below OUT; protobuf root = Python root, so imports need no rewriting
	$(BIN)/python -m grpc_tools.protoc --proto_path=protos --python_out=$(OUT) --grpc_python_out=$(OUT) \
	  --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy --mypy_out=$(OUT) \
	  --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc --mypy_grpc_out=$(OUT) \
	  turnout/v1/router.proto turnout/v1/admin.proto turnout/v1/session.proto

bench-decisions: $(VENV)/.dev  ## play fault traces through Turnout, others and an oracle (ten minutes; QUICK=1: half a minute)
	$(BIN)/python -W ignore -m bench.decisions $(if $(QUICK),--quick,--write docs/decisions-benchmark.md)

bench-failover: $(VENV)/.dev  ## every fault through Turnout and, where installed, others (ten minutes; QUICK=1: seconds; RIVALS=1 installs them)
	$(if $(RIVALS),$(BIN)/python -m bench.failover.setting_up)
	$(BIN)/python -W ignore -m bench.failover $(if $(QUICK),--quick,--write docs/failover-benchmark.md)

catalog: $(VENV)/.dev  ## write the table of known models anew, from the locked genai-prices and catalog/columns.yaml
	$(BIN)/python -m catalog server/turnout_server/config/catalog_data.json

generate: $(VENV)/.dev  ## write everything generated anew: stubs, docs/configuration.md, what is said of charts' values
	@$(MAKE) --no-print-directory stubs OUT=$(STUBS)
	tools/go_stubs.sh write
	$(BIN)/turnout schema --markdown > docs/configuration.md
	$(BIN)/python -m helm.documents

drift: $(VENV)/.dev  ## fail if generated files are not what the sources make
	@new=$$(mktemp -d) && trap 'rm -rf "$$new"' EXIT && \
	$(MAKE) --no-print-directory stubs OUT="$$new" && \
	diff -r --exclude=__pycache__ --exclude=__init__.py "$$new/turnout/v1" $(STUBS)/turnout/v1 && \
	tools/go_stubs.sh check && \
	$(BIN)/turnout schema --markdown | diff - docs/configuration.md && \
	$(BIN)/python -m helm.documents --check && \
	echo "generated files are in step"

format: $(VENV)/.dev  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/buf format -w

lock: $(VENV)/.dev  ## resolve the lock files anew
	$(RESOLVE) pyproject.toml --extra server --output-file requirements.lock
	$(RESOLVE) pyproject.toml --extra server --extra top --group dev --constraint requirements.lock --output-file requirements-dev.lock
	printf 'hatchling\neditables\n' | $(RESOLVE) - --constraint requirements-dev.lock --output-file requirements-build.lock

clean:  ## remove what was set up
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
