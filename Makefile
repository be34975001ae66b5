# Two commands for a fresh machine: `make demo` and `make test`. Each first creates an environment in .venv.
#   make demo            documents in, a RAFT dataset and a tuned model out, offline, with the embedded model;
#                        FULL=1 without its limits
#   make test            all tests but the slow ones, side by side in up to 4 processes; SLOW=1 runs all,
#                        ARGS="-k split" is passed to pytest
#   make lint            ruff and mypy
#   make lock            the versions of all packages anew (needs uv); UPGRADE=1 takes the newest
#   make clean           remove .venv, the caches and the output of the demo
# With another interpreter: make PYTHON=python3.12 demo

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.DELETE_ON_ERROR:
.PHONY: demo test lint format check lock clean

demo: $(VENV)/.installed
	@$(BIN)/python -m tools demo $(if $(FULL),--full)

test: $(VENV)/.installed-dev
	@$(BIN)/python -m pytest -q -n auto --dist worksteal $(if $(SLOW),,-m "not slow") $(ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: lint test

clean:
	rm -rf $(VENV) demo demo-full .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

# A stamp is touched only after a successful installation, so the next make resumes an interrupted one.
$(VENV)/.installed: install.py requirements.lock requirements-embedded.txt
	@$(PYTHON) install.py
	@touch $@

$(VENV)/.installed-dev: install.py requirements.lock requirements-embedded.txt requirements-dev.txt requirements-agents-dev.txt
	@$(PYTHON) install.py --dev
	@touch $(VENV)/.installed $@

# The versions of all packages behind requirements.txt. Left out is what torch's CUDA build brings: torch pins that
# itself, and its CPU build does without. Versions that still fit are kept; with UPGRADE=1 all become the newest.
lock:
	@cp requirements.lock .lock 2>/dev/null || true
	@uv pip compile --quiet --universal --python-version 3.10 --no-annotate --no-header $(if $(UPGRADE),--upgrade) requirements.txt -o .lock >/dev/null
	@{ echo "# Everything behind requirements.txt, for Python 3.10 to 3.13 on Linux, macOS and Windows. Written by make lock."; \
	  grep -vE '^(#|nvidia-|cuda-|triton)' .lock; } > requirements.lock
	@rm .lock
