# make demo    prepare, train, test, evaluate, re-rank and look, on synthetic people
# make test    linters, type checker and tests
# Both set up .venv first. PYTHON names another interpreter (3.10 or newer).

PYTHON ?= python3
VENV   := .venv
RUN    := $(VENV)/bin/python
PIP    := $(RUN) -m pip install --quiet --disable-pip-version-check
PEOPLE := demo/people

.PHONY: demo test lint clean

demo: $(VENV)/.ready
	$(RUN) prepare.py --synthetic --data_dir $(PEOPLE)
	$(RUN) train.py --name demo --data_dir $(PEOPLE)/pytorch --train_all --config recipes/demo.yaml
	@echo "--- the network before training"
	$(RUN) test.py --backbone osnet_x0_25 --weights none --height 128 --width 64 --test_dir $(PEOPLE)/pytorch --result demo/untrained.mat
	@echo "--- and after"
	$(RUN) test.py --name demo --test_dir $(PEOPLE)/pytorch --result demo/pytorch_result.mat
	$(RUN) evaluate_rerank.py --result demo/pytorch_result.mat
	$(RUN) demo.py --query_index 0 --result demo/pytorch_result.mat --save demo/show.png

test: lint
	$(RUN) -m pytest -n auto

lint: $(VENV)/.ready-dev
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

$(VENV)/.ready: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -r requirements.txt
	touch $@

$(VENV)/.ready-dev: pyproject.toml requirements-dev.txt $(VENV)/.ready
	$(PIP) -r requirements-dev.txt
	touch $@

clean:
	rm -rf $(VENV) demo model/demo
