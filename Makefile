# Every target sets up what it needs. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.PHONY: help setup environment test test-slow test-gpu check wheel reproduce-all reproduce-table1 \
  reproduce-table2 reproduce-table3 reproduce-table4 figures reproduce-protocols \
  reproduce-fragility bench bench-serving bench-peers peers bench-rectools rectools soak recommend tensorboard docs clean

VENV ?= .venv
TENSORFLOW ?=
BASE_PYTHON ?=
PROFILE ?= quick
DATA_DIR ?=
SOURCE ?=
PEERS ?= .venv-peers
RECTOOLS ?= .venv-rectools
TORCH_INDEX ?=
RUNS_DIR ?= runs
RECIPE ?= paper
# More flags of the command behind a target, e.g. ARGS="--models=mgnm,gru4rec".
ARGS ?=
SERVING_ARGS ?=
# Asking for help is passed through where a target would refuse, or do more.
HELP = $(filter --help --helpfull,$(ARGS))
# Recipes read these from the environment, in quotes: they may hold blanks.
export VENV TENSORFLOW BASE_PYTHON PROFILE DATA_DIR SOURCE PEERS RECTOOLS TORCH_INDEX RUNS_DIR RECIPE
PYTHON := "$$VENV/bin/python"

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 22
	echo "Variables: PROFILE=quick|paper|toys-5core|folder  RECIPE=paper|strong  DATA_DIR=folder of logs (folder)  ARGS=more flags"
	echo "           TENSORFLOW=2.15|latest  BASE_PYTHON=python3.12  VENV=folder (docs/install.md)"

# Does nothing where the environment holds what setup.py names.
environment:
	@installation/set_up.sh

setup: environment ## the virtual environment alone; TENSORFLOW=2.15|latest forces a stack
	@printf 'Ready: source %q\n' "$$VENV/bin/activate"

PROCESSES = 2
# In two processes, whose share of the cores is a half each; a file's tests stand
# together, so that they share what they trained. Sources are compiled once for all the
# processes that tests start, also where a machine is told to keep no compiled sources.
PYTEST = env -u PYTHONDONTWRITEBYTECODE $(PYTHON) -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder

test: environment ## the tests, but for those that train for long
	@$(PYTEST) $(ARGS)

# Many of these wait for workers, servers and browsers: a third process has work then.
test-slow: PROCESSES = 3
test-slow: environment ## the tests that train for long, or need a browser
	@$(PYTEST) -m "slow and not gpu and not dataset" $(ARGS)

test-gpu: environment ## the tests that need a GPU; without one they are skipped
	@$(PYTHON) -m pytest -m gpu -rs $(ARGS)

check: environment ## tests, format, lint and types
	@$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy
	$(PYTEST) $(ARGS)

wheel: environment ## a wheel and an sdist in dist/
	@$(PYTHON) -m build $(ARGS)

REPRODUCE = @$(PYTHON) -m experiments.reproduce --profile="$$PROFILE" \
  --recipe="$$RECIPE" --runs_dir="$$RUNS_DIR" $${DATA_DIR:+"--data_dir=$$DATA_DIR"} $(ARGS)

reproduce-table2: environment ## Table 2: PROFILE=quick (default), paper, toys-5core, or folder with DATA_DIR
	$(REPRODUCE) --what=table2

reproduce-table1: environment ## Table 1, statistics of the data; profiles as for Table 2
	$(REPRODUCE) --what=table1

reproduce-table3: environment ## Table 3, ablations
	$(REPRODUCE) --what=table3

reproduce-table4: environment ## Table 4, what training takes, of every model
	$(REPRODUCE) --what=table4

figures: environment ## Figures 3 to 7
	$(REPRODUCE) --what=figures

reproduce-protocols: environment ## whether the protocols agree on Table 2's models
	$(REPRODUCE) --what=protocols

reproduce-fragility: environment ## other orders of a history, and other users' histories
	$(REPRODUCE) --what=fragility

reproduce-all: environment ## all tables and figures
	$(REPRODUCE) --what=all

bench: environment ## speeds of every model beside the machine's limit, GPU too where there is one
	@$(PYTHON) -m benchmarks.bench $(ARGS)
	$(PYTHON) -m benchmarks.serving $(HELP) $(SERVING_ARGS)

bench-serving: environment ## recommendations: exact, by an index, and one exported request
	@if [ -x "$$PEERS/bin/python" ]; then set -- "--peer_python=$$PEERS/bin/python"; fi
	$(PYTHON) -m benchmarks.serving "$$@" $(ARGS)

bench-peers: environment peers ## our GRU4Rec, SASRec and Caser beside RecBole's
	@$(PYTHON) -m benchmarks.peers --peer_python="$$PEERS/bin/python" $(ARGS)

soak: environment ## runs that are killed, starved of disk and damaged, to the same table
	@$(PYTHON) -m benchmarks.soak $(ARGS)

# A peer's environment: its folder, and what pip installs beside torch. Peers need other
# versions than ours. TORCH_INDEX=https://download.pytorch.org/whl/cpu spares the CUDA
# packages that PyPI's torch brings on Linux.
define peer_environment
@if [ "$(1)/.installed" -nt "$$VENV/.installed" ]; then exit 0; fi
rm -f "$(1)/.installed"
$(PYTHON) -m venv --clear "$(1)"
pip() { "$(1)/bin/python" -m pip install --quiet --disable-pip-version-check "$$@"; }
pip torch==2.13.0 'numpy<2' $${TORCH_INDEX:+"--index-url=$$TORCH_INDEX"}
pip $(2)
touch "$(1)/.installed"
endef

peers: environment
	$(call peer_environment,$$PEERS,recbole==1.2.1 'setuptools<81' 'numpy<2' 'pandas<2.3')

rectools: environment
	$(call peer_environment,$$RECTOOLS,'rectools[torch]==0.19.0')

bench-rectools: environment rectools ## our SASRec beside RecTools'
	@$(PYTHON) -m benchmarks.peers --library=rectools --peer_python="$$RECTOOLS/bin/python" $(ARGS)

recommend: environment ## recommendations for everyone in a log: SOURCE=log.csv
	@if [ -z "$$SOURCE$(HELP)" ]; then echo "error: give the log: make recommend SOURCE=log.csv" >&2; exit 1; fi
	$(PYTHON) -m experiments.from_log --source="$$SOURCE" $(ARGS)

# Dead links, in pages and to headings, are errors.
docs: environment ## the documentation as a site, in site/
	@if ! $(PYTHON) -c "import material, mkdocs, mkdocstrings" 2>/dev/null; then
	  $(PYTHON) -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	fi
	$(PYTHON) -m mkdocs build --strict $(ARGS)

tensorboard: environment ## TensorBoard over the runs
	@TF_CPP_MIN_LOG_LEVEL=3 $(PYTHON) -m tensorboard.main --logdir "$$RUNS_DIR" $(ARGS)

clean: ## removes the environment and caches, not data, runs or reports
	@for folder in "$$VENV" "$$VENV-uv" "$$PEERS" "$$RECTOOLS"; do
	  if [ -e "$$folder/pyvenv.cfg" ]; then rm -rf "$$folder"; fi
	done
	rm -rf *.egg-info build dist .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
