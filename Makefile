# What people do here. Needs only python3 >= 3.11 with venv, and make; uv is used where it is there.
# `make demo` runs the whole workflow on real candles; `make test` and `make lint` are what CI runs.

PYTHON ?= python3
UV := $(shell command -v uv 2>/dev/null)
BIN := .venv/bin
# Compiled files halve the start of every Dagster process.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo up down test lint bench clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: .venv/.demo  ## real candles through queue and job, with a summary (DEMO="--json" or "--ui")
	@$(BIN)/nexus demo $(DEMO)

up: .venv/.demo  ## database, Dagster UI, daemon and code server, until Ctrl-C
	@$(BIN)/nexus up

down: .venv/.demo  ## stop what runs in the background, the database too
	@$(BIN)/nexus down

# The long files come first (acceptance), so that no worker ends with one of them alone.
test: .venv/.dev  ## all tests, on the embedded PostgreSQL (TESTS="..." for some, or options of pytest)
	$(BIN)/python -m pytest $(or $(TESTS),-n 2 --dist loadfile --no-loadscope-reorder --reruns 1)

lint: .venv/.dev  ## style, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/.dev  ## the figures of docs/sizing.md, as ratios measured side by side
	$(BIN)/python -m benchmarks

clean:  ## remove the virtual environment (not .nexus, which holds your data)
	rm -rf .venv

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "python 3.11 or newer is needed; this is $$($(PYTHON) --version): set PYTHON=" >&2; exit 1; }
	$(if $(UV),uv venv -q --python $(PYTHON) .venv,$(PYTHON) -m venv .venv)

# The stamp is older than pyproject.toml when the dependencies changed.
.venv/.demo: pyproject.toml | .venv/bin/python
	@echo "installing into .venv (a minute or two, once)"
	@$(if $(UV),uv pip install -q --python $(BIN)/python -e '.[demo]',$(BIN)/python -m pip install -q -e '.[demo]')
	@touch $@

.venv/.dev: pyproject.toml | .venv/bin/python
	@echo "installing into .venv (a minute or two, once)"
	@$(if $(UV),uv pip install -q --python $(BIN)/python -e '.[dev]',$(BIN)/python -m pip install -q -e '.[dev]')
	@touch $@ .venv/.demo
