# Every target sets up what it needs. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.PHONY: help setup test check reproduce-all reproduce-table1 reproduce-table2 \
  reproduce-table3 reproduce-table4 figures reproduce-protocols reproduce-fragility bench \
  bench-peers tensorboard clean

VENV ?= .venv
PYTHON := $(VENV)/bin/python
PROFILE ?= quick
DATA_DIR ?=
PEERS ?= .venv-peers
TORCH_INDEX ?=
RUNS_DIR ?= runs
RECIPE ?= paper
# More flags of the command behind a target, e.g. ARGS="--models=mgnm,gru4rec".
ARGS ?=

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 22
	echo "Variables: PROFILE=quick|paper|public  RECIPE=paper|strong  DATA_DIR=folder of CSV files (public)  ARGS=more flags"

# The stamp is newer than setup.py once its dependencies are installed.
$(VENV)/.installed: setup.py
	@rm -f $@
	find_python() {
	  for name in python3.11 python3.10 python3.9 python3 python; do
	    if $$name -c 'import sys, venv, ensurepip; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 11))' >/dev/null 2>&1; then
	      echo $$name; return
	    fi
	  done
	}
	python="$$(find_python)"
	if [ -n "$$python" ]; then
	  echo "Setting up $(VENV) with $$($$python --version)"
	  $$python -m venv --clear $(VENV)
	elif command -v uv >/dev/null; then
	  uv venv --quiet --clear --seed --python 3.11 $(VENV)
	else
	  echo "error: MGNM-TF needs Python 3.9, 3.10 or 3.11 (with venv), which TensorFlow 2.15 supports; install one, or install uv, and run make again." >&2
	  exit 1
	fi
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -e '.[test,check]'
	touch $@

setup: $(VENV)/.installed ## the virtual environment alone

test: $(VENV)/.installed ## the tests
	@$(PYTHON) -m pytest $(ARGS)

check: $(VENV)/.installed ## tests, format, lint and types
	@$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy
	$(PYTHON) -m pytest $(ARGS)

REPRODUCE = @$(PYTHON) -m experiments.reproduce --profile=$(PROFILE) --runs_dir=$(RUNS_DIR) \
  --recipe=$(RECIPE) \
  $(if $(DATA_DIR),--data_dir=$(DATA_DIR)) $(ARGS)

reproduce-table2: $(VENV)/.installed ## Table 2: PROFILE=quick (default), paper, or public with DATA_DIR
	$(REPRODUCE) --what=table2

reproduce-table1: $(VENV)/.installed ## Table 1, statistics of the data; profiles as for Table 2
	$(REPRODUCE) --what=table1

reproduce-table3: $(VENV)/.installed ## Table 3, ablations
	$(REPRODUCE) --what=table3

reproduce-table4: $(VENV)/.installed ## Table 4, what training takes, of every model
	$(REPRODUCE) --what=table4

figures: $(VENV)/.installed ## Figures 3 to 7
	$(REPRODUCE) --what=figures

reproduce-protocols: $(VENV)/.installed ## whether the protocols agree on Table 2's models
	$(REPRODUCE) --what=protocols

reproduce-fragility: $(VENV)/.installed ## other orders of a history, and other users' histories
	$(REPRODUCE) --what=fragility

reproduce-all: $(VENV)/.installed ## all tables and figures
	$(REPRODUCE) --what=all

bench: $(VENV)/.installed ## speeds of every model beside the machine's limit
	@$(PYTHON) -m benchmarks.bench $(ARGS)

bench-peers: $(VENV)/.installed $(PEERS)/.installed ## our GRU4Rec, SASRec and Caser beside RecBole's
	@$(PYTHON) -m benchmarks.peers --peer_python=$(PEERS)/bin/python $(ARGS)

# RecBole needs other versions than ours. TORCH_INDEX=https://download.pytorch.org/whl/cpu
# spares the CUDA packages that PyPI's torch brings on Linux.
$(PEERS)/.installed: $(VENV)/.installed
	@rm -f $@
	$(PYTHON) -m venv --clear $(PEERS)
	pip="$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check"
	$$pip torch==2.13.0 'numpy<2' $(if $(TORCH_INDEX),--index-url=$(TORCH_INDEX))
	$$pip recbole==1.2.1 'setuptools<81' 'numpy<2' 'pandas<2.3'
	touch $@

tensorboard: $(VENV)/.installed ## TensorBoard over the runs
	@$(PYTHON) -m tensorboard.main --logdir $(RUNS_DIR) $(ARGS)

clean: ## removes the environment and caches, not data, runs or reports
	@rm -rf $(VENV) $(PEERS) *.egg-info build .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
