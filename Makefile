# What people do here. Needs only python3 >= 3.11 with venv, and make; uv is used where it is there.
# `make demo` runs the whole workflow on real candles; `make test` and `make lint` are what CI runs.

PYTHON ?= python3
UV := $(shell command -v uv 2>/dev/null)
BIN := .venv/bin
# The versions that the tests pass with. `make CONSTRAINTS= ...` installs the newest ones that pyproject.toml allows.
CONSTRAINTS := constraints.txt
INSTALL := $(if $(UV),uv pip install -q --python $(BIN)/python,$(BIN)/python -m pip install -q) $(addprefix -c ,$(CONSTRAINTS))
FREEZE := $(if $(UV),uv pip freeze --python $(BIN)/python,$(BIN)/python -m pip freeze) --exclude-editable
# Compiled files halve the start of every Dagster process.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo up down test lint bench docs reference constraints clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: .venv/.demo  ## real candles through queue and job, with a summary (DEMO="--json" or "--ui")
	@$(BIN)/nexus demo $(DEMO)

up: .venv/.demo  ## database, Dagster UI, daemon and code server, until Ctrl-C
	@$(BIN)/nexus up

down: .venv/.demo  ## stop what runs in the background, the database too
	@$(BIN)/nexus down

# The long tests come first (acceptance); a worker that has done its half takes tests over from the other.
test: .venv/.dev  ## all tests, on the embedded PostgreSQL (TESTS="..." for some, or options of pytest)
	$(BIN)/python -m pytest $(or $(TESTS),-n 2 --dist worksteal)

lint: .venv/.dev  ## style, types, import rules, migrations
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/squawk sql/migrations/*.sql

bench: .venv/.dev  ## the figures of docs/reference/measurements.md, as ratios measured side by side
	$(BIN)/python -m benchmarks

docs: .venv/.docs  ## the documentation as a site in .site, with every link checked
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build -q --strict

reference: .venv/.dev  ## rewrite the generated pages of docs/reference
	@$(BIN)/python docs/generate.py

constraints: .venv/.dev .venv/.docs  ## rewrite constraints.txt with the versions that are installed now
	@{ grep '^#' constraints.txt; $(FREEZE); } > .venv/constraints && mv .venv/constraints constraints.txt

clean:  ## remove the virtual environment (not .nexus, which holds your data)
	rm -rf .venv

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "python 3.11 or newer is needed; this is $$($(PYTHON) --version): set PYTHON=" >&2; exit 1; }
	$(if $(UV),uv venv -q --python $(PYTHON) .venv,$(PYTHON) -m venv .venv)

# The stamp is older than pyproject.toml when the dependencies changed.
.venv/.demo: pyproject.toml $(CONSTRAINTS) | .venv/bin/python
	@echo "installing into .venv (a minute or two, once)"
	@$(INSTALL) -e '.[demo]'
	@touch $@

.venv/.dev: pyproject.toml $(CONSTRAINTS) | .venv/bin/python
	@echo "installing into .venv (a minute or two, once)"
	@$(INSTALL) -e '.[dev]'
	@touch $@ .venv/.demo

.venv/.docs: pyproject.toml $(CONSTRAINTS) | .venv/bin/python
	@$(INSTALL) -e '.[docs]'
	@touch $@
