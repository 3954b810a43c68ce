# Two commands do everything on a fresh machine: `make demo` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check install --quiet -c constraints.txt

.PHONY: demo test check bench soak clean

$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV)
	@echo "installing neural-plasticity into $(VENV) (a few minutes the first time)"
	$(PIP) -e .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@echo "installing the tools for tests and checks"
	$(PIP) -e ".[dev]"
	touch $@

demo: $(VENV)/installed ## the main job on the embedded model
	$(BIN)/plasticity demo

test: $(VENV)/installed-dev ## unit, property, conformance and small end-to-end tests
	$(BIN)/python -m pytest tests --ignore=tests/house -m "not soak" -n auto

check: $(VENV)/installed-dev ## lint, types, import contracts, house rules, docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/pyright
	$(BIN)/python -m pytest tests/house

soak: $(VENV)/installed-dev ## long runs under faults, by hand
	$(BIN)/python -m pytest tests -m soak -s

bench: $(VENV)/installed-dev ## every table of benchmarks/, by hand
	@for table in benchmarks/*.py; do echo "== $$table"; $(BIN)/python $$table || exit 1; done

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
