# Two commands: `make demo` and `make test`. Each creates .venv on its first call.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: demo test test-quick check format ratios clean

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

ratios: $(INSTALLED) # generated C against other engines, the machine's limits and CMSIS-NN; 5 minutes
	-$(BIN)/python benchmarks/scripts/native_ratios.py
	-$(BIN)/python benchmarks/scripts/kernel_limits.py --json benchmarks/results/kernel_limits.json
	-$(BIN)/python benchmarks/scripts/cortex_m_instructions.py

format: $(INSTALLED)
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[cpu,train,tensorboard,translate,export,embedded,sweep,peers,dev]' -c constraints.txt
	@touch $@

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis demo dist
