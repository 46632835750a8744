# dune-prompt: `make demo` shows the whole pipeline on this machine, `make test` passes all tests.
# Both set up everything they need in .venv (with uv when it is there, else pip) and may be repeated.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help demo test lint types docs bench services clean

help:  ## what there is to make
	@sed -n 's/^\([a-z]*\):.*## /  make \1  \t/p' $(MAKEFILE_LIST)

demo: $(VENV)/.run  ## run the whole pipeline on simulated ProtoDUNE-HD files (make demo ARGS='--files 20 --faults')
	@$(BIN)/dune-prompt demo $(ARGS)

test: $(VENV)/.dev $(VENV)/rucio-server/.ready  ## all tests; what this machine lacks is skipped with its reason
	@$(BIN)/python -m pytest -n auto $(ARGS)

lint: $(VENV)/.dev  ## style, and who may import whom
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

types: $(VENV)/.dev  ## mypy --strict
	@$(BIN)/mypy

docs: $(VENV)/.dev  ## the documentation, built strictly into site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(VENV)/.dev $(VENV)/rucio-server/.ready  ## tables of speed and memory
	@$(BIN)/python -m benchmarks $(ARGS)

services:  ## the apt packages that some tests want (root)
	@bash .ci/services

clean:  ## remove the environment and everything built
	rm -rf $(VENV) site dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is missing; install Python 3.11 or newer (Debian: apt install python3)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $$($(PYTHON) --version) is too old; dune-prompt needs Python 3.11 or newer (make PYTHON=/path/to/python3)" >&2; exit 1; }
	@if command -v uv >/dev/null; then uv venv -q --python "$$(command -v $(PYTHON))" $(VENV); \
	else $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "make: Python's venv module is missing (Debian: apt install python3-venv)" >&2; exit 1; }; \
	  $(PYTHON) -m venv $(VENV); fi

# A stamp is made only after a complete install, so an interrupted one is done again.
$(VENV)/.run: pyproject.toml | $(VENV)/bin/python
	@echo "installing dune-prompt into $(VENV) (a minute or two the first time)"
	@if command -v uv >/dev/null; then uv pip install -q --python $(BIN)/python -e .; else $(BIN)/python -m pip install -q --disable-pip-version-check -e .; fi
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	@echo "installing dune-prompt and its test tools into $(VENV) (a minute or two the first time)"
	@if command -v uv >/dev/null; then uv pip install -q --python $(BIN)/python -e '.[dev]'; else $(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]'; fi
	@touch $@ $(VENV)/.run

# The Rucio server that tests talk to. It cannot share an environment with rucio-clients: both bring the same files.
$(VENV)/rucio-server/.ready: tests/servers/rucio-requirements.txt | $(VENV)/bin/python
	@echo "installing a Rucio server for the tests into $(VENV)/rucio-server"
	@if command -v uv >/dev/null; then uv venv -q --clear --python $(BIN)/python $(VENV)/rucio-server && uv pip install -q --python $(VENV)/rucio-server/bin/python -r $<; \
	else $(BIN)/python -m venv --clear $(VENV)/rucio-server && $(VENV)/rucio-server/bin/python -m pip install -q --disable-pip-version-check -r $<; fi
	@touch $@
