# The commands of daily work. Everything runs in .venv, which is made when it is missing or out of date.
PYTHON ?= python3
BIN := .venv/bin
SHELL := /bin/bash
.DEFAULT_GOAL := help

.PHONY: help setup demo test test-slow lint format docs clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

setup: .venv/.ready ## make .venv with everything that tests, linters and the demo need

demo: setup ## run the main job: the digits study, with its report in runs/digits/report.html
	$(BIN)/concord study digits --out runs/digits

test: setup ## run the tests (the long ones: make test-slow)
	$(BIN)/pytest --cov --cov-report=term --cov-fail-under=95 -n 2

test-slow: setup ## run the long studies and walks
	$(BIN)/pytest -m slow

lint: setup ## check format, style, types and docstrings
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python tools/check_docstrings.py
	$(BIN)/mypy

format: setup ## put the code into the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: setup ## build the site in docs/_build/html, every warning an error, and run the docstrings' examples
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e ".[docs]"
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	$(BIN)/pytest tests/test_docstrings.py -k examples

clean: ## remove .venv and all caches
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage* docs/_build
