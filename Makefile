# Every target works on a machine that has Python 3.11+ and a package index; nothing else is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Two workers more than there are cores, since many tests wait. A file's tests stay with one worker: they share servers.
WORKERS := $(shell $(PYTHON) -c "import os; print((os.cpu_count() or 1) + 2)")
ON_ALL_CORES := --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: help install demo test check test-distributed soak laws lint format lock bench pictures wheelhouse clean

help:  ## show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

install: $(STAMP)  ## create .venv with the locked packages

$(STAMP): requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	touch $(STAMP)

demo: install  ## start simulator, Dagster, delta service and device page on loopback
	demo/start

test: install  ## run all tests that this machine can run, on all its cores
	$(BIN)/python -m pytest $(ON_ALL_CORES) $(PYTEST_ARGS)

check: lint  ## lint, types, and all tests that start no process (with fewer generated cases of the laws)
	LAW_CASES=30 $(BIN)/python -m pytest $(ON_ALL_CORES) -m "not processes and not e2e and not browser" $(PYTEST_ARGS)

test-distributed: install  ## tenants, Celery workers and kills on PostgreSQL and Redis (part of test; longer: --kill-seconds)
	$(BIN)/python -m pytest tests/distributed $(PYTEST_ARGS)

soak: install  ## hours of random steps, faults and kills: more seeds and steps than in test
	$(BIN)/python -m pytest $(ON_ALL_CORES) --dist load --timeout 0 --e2e-seeds random:4 --e2e-steps 400 --chaos-steps 320 \
		--sync-kills 120 --kill-seconds 600 tests/e2e/test_random_steps.py tests/e2e/test_stages.py \
		tests/e2e/test_chaos.py tests/e2e/test_crashes.py tests/distributed/test_kills.py $(PYTEST_ARGS)

laws: install  ## the delta's laws over 20,000 generated cases (about ten minutes)
	LAW_CASES=2500 $(BIN)/python -m pytest tests/delta_service/test_laws.py

lint: install  ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install  ## apply ruff's fixes and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: install  ## resolve pyproject.toml into requirements.lock
	$(BIN)/uv pip compile --quiet --all-extras --generate-hashes --no-strip-extras --no-emit-index-url --no-header \
		--python-version 3.11 --output-file requirements.lock pyproject.toml

bench: install  ## run the benchmarks (one: make bench S=realign)
	$(BIN)/python -m benchmarks $(S)

pictures: install  ## renew the operator guide's pictures (needs chromium)
	$(BIN)/python -m tests.ui.screenshots

wheelhouse: install  ## download the locked packages for building an image without network
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
		--requirement requirements.lock --dest deploy/wheelhouse

clean:  ## remove the environment and the demo's stores
	rm -rf $(VENV) .delta
