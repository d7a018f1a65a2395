# Short targets; each that needs the environment makes it first.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

# Modules are compiled when they are first imported, a few of the many that are installed; without
# the compiled files every process would compile them again.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help setup quickstart test lint docs bench package audit clean

help:  ## Show the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.ready  ## Make .venv with pinned versions

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev]'
	@touch $@

quickstart: setup  ## Run the four papers' methods on built-in data, then write the report
	$(BIN)/gapbench run quickstart
	$(BIN)/gapbench report

test: setup  ## Run the tests
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

lint: setup  ## Check format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# --fresh-env: a page that comes from the cache gives no warning.
docs: setup  ## Build the docs site in build/docs; a broken link, or code that does not run, is an error
	$(BIN)/python -m pytest --quiet tests/integration/test_code_on_pages.py
	$(BIN)/sphinx-build --fresh-env --quiet --fail-on-warning --keep-going --conf-dir docs . build/docs

bench: setup  ## Measure speed (pytest-benchmark)
	$(BIN)/python -m pytest tests/benchmarks --benchmark-only --benchmark-columns=min,median,rounds

package: setup  ## Build sdist and wheel in dist, and check them as the package index does
	$(BIN)/python -m build --outdir dist .
	$(BIN)/pip install --quiet twine
	$(BIN)/twine check --strict dist/*

audit: setup  ## Look the pinned versions up among known vulnerabilities (needs a network)
	$(BIN)/pip install --quiet --constraint constraints.txt pip-audit
	$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip

clean:  ## Remove the environment and caches, keep results
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
