# The one door: `make` lists what can be done.

SHELL := /bin/sh
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
# The newest Python of those that Fitroom is tested with; PYTHON=... takes another.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python3.14; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$p && break; done)
TESTS_AT_ONCE ?= 2
FITROOM_HOME ?= var
export FITROOM_HOME

.PHONY: help run test lint format data chromium bench bench-trainer bench-data bench-memory bench-accuracy bench-compare soak fuzz screenshots doctor clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.installed data ## set up what is missing, then serve on http://127.0.0.1:8000
	@exec $(BIN)/fitroom serve

# Files of tests beside each other, one thread of torch each: two times two threads on two cores only wait for each other.
# In the order of the folders: the few slow tests of faults would come last by number, and one core would wait for them.
test: $(VENV)/.installed-dev data chromium lint ## everything that CI checks
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TESTS_AT_ONCE) --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.installed-dev ## ruff, mypy --strict and the Dockerfile
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/hadolint Dockerfile

format: $(VENV)/.installed-dev ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

data: $(VENV)/.installed ## fetch Fashion-MNIST where it is missing
	@$(BIN)/python -m trainer.fetch --data-dir "$(FITROOM_HOME)/data"

chromium:
	@sh tools/chromium.sh

bench: $(VENV)/.installed-dev data chromium ## latency, page times, start-up, and what serving costs the training
	$(BIN)/python -m benchmarks.dashboard

bench-trainer: $(VENV)/.installed-dev data ## the trainer against the tutorial's own script, images/s side by side
	$(BIN)/python -m benchmarks.trainer --out benchmarks/results/trainer.md

bench-data: $(VENV)/.installed-dev data ## how soon a CSV file of 133 MB is ready to train on, against pandas and pyarrow
	$(BIN)/python -m benchmarks.data --out benchmarks/results/data.md

bench-memory: $(VENV)/.installed-dev data ## an epoch on a data set three times as large as the memory that is allowed
	$(BIN)/python -m benchmarks.memory --out benchmarks/results/memory.md

bench-accuracy: $(VENV)/.installed-dev data ## accuracy of the presets and of the tutorial over three seeds; takes hours on a CPU
	$(BIN)/python -m benchmarks.accuracy --out benchmarks/results/accuracy.md

bench-compare: $(VENV)/.installed-dev $(FITROOM_HOME)/mlflow/.installed chromium ## the table at 1,000 and 10,000 runs and recording, beside MLflow; curves in Chromium
	$(BIN)/python -m benchmarks.compare --mlflow $(FITROOM_HOME)/mlflow/bin/python --out benchmarks/results/compare.md

soak: $(VENV)/.installed-dev data ## 200 random kills of workers and servers under load; nothing may be lost
	$(BIN)/python -m tools.soak --out benchmarks/results/soak.md

fuzz: $(VENV)/.installed-dev data ## thousands of requests that nobody would write, made from the API's description; no answer is a 5xx
	$(BIN)/python -m tools.fuzz --out benchmarks/results/fuzz.md

screenshots: $(VENV)/.installed-dev data chromium ## pictures of every page into docs/images
	$(BIN)/python -m tools.screenshots

doctor: $(VENV)/.installed ## is everything in order on this machine?
	@$(BIN)/fitroom doctor

clean: ## remove the environment and caches; FITROOM_HOME stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Fitroom needs Python 3.11 or newer with venv (on Debian: apt-get install python3 python3-venv)," \
		"or say which: make run PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Making $(VENV) with $(PYTHON) ..."
	@rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)

# Stamps are written last, so an installation that was interrupted is done again.
$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing the pinned packages; torch is the largest, and the first time takes some minutes ..."
	$(BIN)/python -m pip install --progress-bar on -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	@touch $@

# MLflow has an environment of its own: it is what we compare with, and never a part of Fitroom.
$(FITROOM_HOME)/mlflow/.installed: $(BIN)/python
	$(BIN)/python -m venv $(FITROOM_HOME)/mlflow
	$(FITROOM_HOME)/mlflow/bin/python -m pip install -q mlflow==3.17.2
	@touch $@
