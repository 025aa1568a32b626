# make demo              prepare, train, test, evaluate, re-rank and look, on synthetic people
# make test              linters, type checker and tests
# make test-fast         before each commit: the tests that train, export, serve, draw and start nothing
# make site              the documentation as pages for a browser, in site/
# make test-slow         before a release: the types on Windows, tests that take minutes, thousands of random examples of every property
# make test-any-order    the tests in a random order, whose SEED is printed; SEED=N repeats it
# make test-all          before a release: with a browser and with the programs of others, which it installs
# make test-processors   before a release: the tests that rounding could decide, as other x86 processors compute
# make test-lowest       before a release: the tests with the lowest versions of all libraries, best with the oldest PYTHON
# All set up .venv first, test-lowest .venv-lowest, test-all .venv-all. PYTHON names another interpreter (3.11 or newer).

PYTHON ?= python3
VENV   := .venv
RUN     = $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)/python
# pip would compile on one core.
PIP     = $(RUN) -m pip install --quiet --disable-pip-version-check --no-compile
COMPILE = -$(RUN) -m compileall -qq -j 0 -x "/tests/" $(VENV)/lib
# A file runs in one process, so that its fixtures and the libraries that it needs are made once.
PYTEST  = $(RUN) -m pytest -n auto --dist loadfile --no-loadscope-reorder
# The tests start processes, each of which would compile the package anew.
export PYTHONDONTWRITEBYTECODE =
SEED   := $(shell date +%s)
OTHERS := boxmot ultralytics deep-sort-realtime trackers wandb # whom we write files for, and who write them for us
PEOPLE := demo/people
SIZES  := --test_identities 30 --distractors 150 --junk 50

.PHONY: demo site test pytest test-fast test-slow test-any-order test-all test-processors test-lowest lint clean
MAKEFLAGS += --jobs=2 # the tests run beside the linters, which use one core

demo: $(VENV)/.ready
	$(RUN) prepare.py --synthetic --data_dir $(PEOPLE) $(SIZES)
	$(RUN) train.py --name demo --data_dir $(PEOPLE)/pytorch --train_all --config recipes/demo.yaml
	@echo "--- the network before training"
	$(RUN) test.py --backbone osnet_x0_25 --weights none --height 96 --width 48 --test_dir $(PEOPLE)/pytorch --result demo/untrained.mat
	@echo "--- and after"
	$(RUN) test.py --name demo --test_dir $(PEOPLE)/pytorch --result demo/pytorch_result.mat
	$(RUN) evaluate_rerank.py --result demo/pytorch_result.mat
	$(RUN) demo.py --query_index 0 --result demo/pytorch_result.mat --save demo/show.png

site: $(VENV)/.ready-docs
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict

test: lint pytest

pytest: $(VENV)/.ready-dev
	$(PYTEST)

OF_OTHERS := backbones complexity families pretrained published_% zoo # networks of libraries and papers
FAST := $(addprefix tests/,console data losses retrieval video) \
	$(filter-out $(patsubst %,tests/models/test_%.py,$(OF_OTHERS)) tests/test_wheel.py,\
	$(wildcard tests/test_*.py tests/models/test_*.py))

test-fast: $(VENV)/.ready-dev
	$(RUN) -m ruff check .
	$(PYTEST) $(FAST)

test-slow: $(VENV)/.ready-dev
	$(RUN) -m mypy --platform win32 person_reid tools *.py
	$(PYTEST) -m "slow or hypothesis" --hypothesis-profile=random

test-any-order: $(VENV)/.ready-dev
	@echo "SEED=$(SEED)"
	$(PYTEST) -p randomly --randomly-seed=$(SEED)

# Where apt is, it also installs Chromium. REID_REAL_DATA names the folder of real photographs. -rs says what was skipped, and why.
test-all: VENV := .venv-all
test-all:
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable .[dev,docs] $(OTHERS)
	$(RUN) -c "from tools.docs.browser import chromium; exit(not chromium())" || ! command -v apt-get \
		|| $(if $(filter 0,$(shell id -u)),,sudo) apt-get install --yes --no-install-recommends chromium
	$(PYTEST) -m "not slow" -rs

# NumPy's products by OpenBLAS, then PyTorch's own kernels and oneDNN's
ROUNDED  := $(addprefix tests/,retrieval gallery show deploy)
LEARNT   := $(addprefix tests/,retrieval losses models training deploy)
BLAS     := SkylakeX Haswell Zen
THREADS  := 1 2 3 4
TORCH    := ATEN_CPU_CAPABILITY=default ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=SSE41 ONEDNN_MAX_CPU_ISA=AVX2

test-processors: $(VENV)/.ready-dev
	set -e; for core in $(BLAS); do for threads in $(THREADS); do echo "$$core, $$threads threads"; \
		OPENBLAS_CORETYPE=$$core OPENBLAS_NUM_THREADS=$$threads $(PYTEST) $(ROUNDED); done; done
	set -e; for setting in $(TORCH); do echo $$setting; env $$setting $(PYTEST) $(LEARNT); done

test-lowest: VENV := .venv-lowest
test-lowest:
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) uv
	$(RUN) -m uv pip install --quiet --python $(RUN) --resolution lowest-direct --editable .[dev]
	$(PYTEST)

lint: $(VENV)/.ready-dev
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

$(VENV)/.ready: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -r requirements.txt
	$(COMPILE)
	touch $@

$(VENV)/.ready-dev: pyproject.toml requirements-dev.txt $(VENV)/.ready
	$(PIP) -r requirements-dev.txt
	$(COMPILE)
	touch $@

$(VENV)/.ready-docs: pyproject.toml $(VENV)/.ready
	$(PIP) --editable .[docs]
	touch $@

clean:
	rm -rf $(VENV) .venv-lowest .venv-all demo model/demo site
