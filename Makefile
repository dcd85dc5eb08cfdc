# One command each; `make help` lists them. Everything happens in this folder's own .venv.

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DOCS_READY := $(VENV)/.docs-ready

# The Python that makes .venv: 3.11 or newer, with venv and pip. Choose one with `make PYTHON=/path/to/python3.12 ...`.
FIT := import sys, venv, ensurepip; raise SystemExit(sys.version_info < (3, 11))
PYTHON ?= $(shell for candidate in python3.12 python3.13 python3.11 python3 python; do \
	if $$candidate -c '$(FIT)' >/dev/null 2>&1; then echo $$candidate; break; fi; done)

# Test processes at once; each computes on one thread.
WORKERS ?= 2
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1

DEMO_DIR ?= demo

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-faults lint format types contracts unit docs bench clean

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | awk -F'\t' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(READY)  ## make .venv and install cryosphere with its development tools (CPU build pinned)

demo: $(READY)  ## simulate a moving protein, learn its motion, compare with the truth (outputs in demo/)
	$(BIN)/cryosphere demo --outdir $(DEMO_DIR)

test: lint types contracts unit  ## everything CI checks: lint, types, import contracts, tests

test-faults: $(READY)  ## kill -9 twenty times in a row, full disks, and the other fault tests in full (some minutes)
	$(ONE_THREAD) $(BIN)/python -m pytest tests/faults -m "long or not long" --timeout 1800

lint: $(READY)  ## style and likely bugs (ruff)
	$(BIN)/ruff check src tests benchmarks experiments
	$(BIN)/ruff format --check src tests benchmarks experiments

format: $(READY)  ## rewrite the code in the common format (ruff)
	$(BIN)/ruff check --fix src tests benchmarks experiments
	$(BIN)/ruff format src tests benchmarks experiments

types: $(READY)  ## strict type check (mypy)
	$(BIN)/mypy
	$(BIN)/mypy experiments/*.py benchmarks/*.py

contracts: $(READY)  ## who may import whom (import-linter)
	$(BIN)/lint-imports --no-cache

unit: $(READY)  ## the tests alone (pytest); WORKERS=4 for more processes
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(WORKERS)

docs: $(DOCS_READY)  ## build the documentation into docs/_build/html; warnings are errors
	$(BIN)/sphinx-build --fail-on-warning --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

bench: $(READY)  ## measure speed on this machine (all tables of docs/performance.md: benchmarks/performance.py)
	$(BIN)/cryosphere bench

clean:  ## remove .venv, caches and built documentation (never data or runs)
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache docs/_build build src/*.egg-info

$(READY): pyproject.toml requirements/cpu-constraints.txt
	@chosen="$(PYTHON)"; \
	if [ -z "$$chosen" ]; then \
		echo "make: found no Python >= 3.11 with the venv module. Install one, or name it: make PYTHON=/path/to/python3.12 setup" >&2; \
		exit 1; \
	fi; \
	if ! "$$chosen" -c 'import sys' >/dev/null 2>&1; then \
		echo "make: PYTHON=$$chosen does not run" >&2; exit 1; \
	fi; \
	if ! "$$chosen" -c '$(FIT)' >/dev/null 2>&1; then \
		echo "make: PYTHON=$$chosen is $$("$$chosen" --version 2>&1); cryosphere needs Python >= 3.11 with venv and ensurepip" >&2; \
		exit 1; \
	fi; \
	if ! $(BIN)/python -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
		"$$chosen" -m venv --clear $(VENV); \
	fi
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements/cpu-constraints.txt -e ".[dev]"
	@touch $@

$(DOCS_READY): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements/cpu-constraints.txt -e ".[docs]"
	@touch $@
