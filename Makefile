# Two commands: `make demo` and `make test`. Each creates .venv on its first call.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: demo test test-quick check format clean

demo: $(INSTALLED)
	$(BIN)/edgernn demo

test: check
	$(BIN)/pytest -n 2 --dist worksteal

test-quick: $(INSTALLED)
	$(BIN)/pytest -n 2 --dist worksteal -m "not slow"

check: $(INSTALLED)
	$(BIN)/ruff format --check --quiet
	$(BIN)/ruff check --quiet
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[cpu,train,export,embedded,peers,dev]' -c constraints.txt
	@touch $@

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis demo dist
