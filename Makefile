# make quickstart  a first comparison, a few minutes     make test  what CI runs first
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Two files at a time, a thread each: small tensors gain nothing from more.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

# Ray starts a Python for every worker: without cached bytecode each of them compiles for seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install quickstart test test-slow lint format clean-env

install: $(VENV)/.installed

# uv is bootstrapped into the environment: it resolves torch and torchvision to a matching pair.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("kdbench needs Python 3.11 or newer; this is " + sys.version) if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'
	@touch $@

quickstart: install
	$(BIN)/kdbench launch quickstart
	@echo
	@echo "The report:  reports/quickstart/index.html"
	@echo "MLflow:      $(BIN)/kdbench ui"

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(PYTEST)

test-slow: install
	$(PYTEST) -m 'slow and not gpu' --timeout 600

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean-env:
	rm -rf $(VENV)
