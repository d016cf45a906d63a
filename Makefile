# Two commands do everything on a fresh machine with Python 3.11-3.13 and make:
#   make demo    environment, installation, the main job; prints where the report is
#   make test    environment, what tests need, all gates

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test gates clean

demo: $(STAMP)
	$(BIN)/mairl demo -o runs/demo --overwrite

test: $(VENV)/.installed-test
	$(MAKE) gates

gates:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/pytest

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"mairl needs Python 3.11-3.13, {sys.executable} is {v[0]}.{v[1]}: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(STAMP): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

$(VENV)/.installed-test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	touch $@ $(STAMP)

clean:
	rm -rf $(VENV) runs
