# The door to Darkroom: `make help` lists what it can do.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
HOST ?= 127.0.0.1
PORT ?= 8000
WORKERS ?= 2
BIN := $(VENV)/bin
READY := $(VENV)/.installed
WHERE = $(if $(CONFIG),--config '$(CONFIG)') $(if $(DATA_DIR),--data-dir '$(DATA_DIR)')

export RAY_USAGE_STATS_ENABLED := 0
export RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO := 0

.PHONY: help install demo serve key test faults bench check format clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[1m%-10s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(READY) ## Make the virtual environment with everything in it

$(READY): pyproject.toml constraints.txt
	@echo "installing into $(VENV) (several minutes the first time)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: $(READY) ## Start the service, send it a picture, write before and after side by side
	$(BIN)/darkroom demo --host $(HOST) --port $(PORT)

serve: $(READY) ## Serve the pocket model on HOST:PORT until Ctrl-C; prints the key to use (CONFIG=file.yaml, DATA_DIR=folder)
	$(BIN)/darkroom serve --host $(HOST) --port $(PORT) $(WHERE)

key: $(READY) ## Make another key and show it, NAME=... names it (CONFIG and DATA_DIR as for serve)
	$(BIN)/darkroom keys create $(if $(NAME),'$(NAME)') $(WHERE)

test: $(READY) ## Run the tests: unit (WORKERS at a time), integration over HTTP, real clients, some faults; GPU tests are skipped
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) tests/unit tests/records tests/storage
	$(BIN)/python -m pytest tests/integration tests/compat tests/faults tests/gpu

faults: $(READY) ## Kill, stop, fill and cut everything that jobs need (a quarter of an hour), then print the table
	rm -f build/faults.jsonl
	$(BIN)/python -m pytest tests/faults tests/unit/engine/test_soak.py -m "thorough or not thorough"
	$(BIN)/python -m tests.faults.table

bench: $(READY) ## Measure the engine beside its peers (ARGS=--quick for a minute's worth); writes build/bench-engine.png
	mkdir -p build
	$(BIN)/python -m bench.engine --plot build/bench-engine.png $(ARGS)

check: $(READY) ## Formatting, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## Format and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## Remove the virtual environment and everything made
	rm -rf $(VENV) build dist data .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
