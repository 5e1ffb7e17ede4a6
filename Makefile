# `make` lists the targets. Everything installs into .venv; a stamp file per set of dependencies keeps reruns quick.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STATE ?= var
PORT ?= 8000

# Serving scales by processes; BLAS and OpenMP threads only add memory and contention.
export OPENBLAS_NUM_THREADS ?= 1
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help examples demo dev test lint fmt types contracts check serve messages screenshots wheel clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade pip

$(VENV)/.server: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[server]'
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.server
	$(BIN)/pip install --quiet --disable-pip-version-check --group dev --group torch
	@touch $@

examples: ## Install what docs/integrations.md shows and is too large for `dev`
	$(PYTHON) -m venv .venv-examples
	.venv-examples/bin/pip install --quiet --disable-pip-version-check --upgrade pip
	.venv-examples/bin/pip install --quiet --disable-pip-version-check -e . --group examples

demo: $(VENV)/.server ## Index the bundled collection and open the site on http://127.0.0.1:8000 (no torch)
	$(BIN)/python -m web.demo --state-dir $(STATE)/demo --port $(PORT)

serve: $(VENV)/.server ## Run the site on what HELDOUT_* name
	$(BIN)/python -m web

dev: $(VENV)/.dev ## Install everything for development

test: $(VENV)/.dev ## Install what the tests need and run them all
	$(BIN)/python -m pytest -n auto

lint: $(VENV)/.dev ## ruff, format, spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/codespell .

fmt: $(VENV)/.dev ## Format and apply safe fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: $(VENV)/.dev ## mypy --strict
	$(BIN)/mypy

contracts: $(VENV)/.dev ## Who may import whom
	$(BIN)/lint-imports --no-cache

check: lint types contracts test ## Everything CI runs

screenshots: $(VENV)/.dev ## Pictures of every page, in ./screenshots
	$(BIN)/python -m tests.web.screenshots

messages: $(VENV)/.dev ## Bring the catalogues in web/locale up to date with the sentences in web/
	@mkdir -p var
	$(BIN)/pybabel -q extract -F babel.cfg -k gettext_noop -k for_script -c Translators: --add-location=file --sort-by-file \
		--project=heldout --version=1 --msgid-bugs-address=docs/translating.md -w 120 -o var/messages.pot .
	$(BIN)/pybabel -q update -D messages -i var/messages.pot -d web/locale -w 120 --ignore-obsolete

wheel: $(VENV)/.dev ## Build the library's wheel into ./dist
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .

clean: ## Remove what the targets made, but not .venv
	rm -rf dist build $(STATE) screenshots .mypy_cache .ruff_cache .pytest_cache
