# Run `make help` for the targets. Every target takes VENV=DIR; several clones may share one.
VENV ?= .venv
PYTHON ?= python3
ARGS ?=

CONSTRAINTS := requirements/constraints.txt
TORCH := $(shell grep -E '^(torch|torchvision)==' $(CONSTRAINTS))
BIN := $(VENV)/bin

# The stamp says which checkout the environment's editable install points to, and made from what.
STAMP := $(VENV)/.mmseg_deeplab_study.stamp
STATE := $(CURDIR) $(shell cat setup.cfg setup.py pyproject.toml $(CONSTRAINTS) | cksum)

.DEFAULT_GOAL := help
.PHONY: help install reinstall demo test parity bench lint

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20
	@echo '  VENV=DIR          the virtual environment (default .venv)'
	@echo '  PYTHON=python3    the interpreter that makes it'
	@echo "  ARGS='...'        more arguments for demo, test, parity and bench"

install: ## make the virtual environment, unless it is up to date
	@[ "$$(cat '$(STAMP)' 2>/dev/null)" = '$(STATE)' ] || $(MAKE) --no-print-directory reinstall

reinstall: ## install again, whatever the stamp says
	rm -f '$(STAMP)'
	[ -x '$(BIN)/python' ] || $(PYTHON) -m venv '$(VENV)'
# torch goes first and alone, so that a wheel chosen for this machine (CPU, CUDA) is found and kept.
	'$(BIN)/python' -m pip install $(TORCH)
	'$(BIN)/python' -m pip install -c $(CONSTRAINTS) -e '.[lite,tflite,test,dev]'
	@printf '%s\n' '$(STATE)' > '$(STAMP)'

demo: install ## the whole study on data it draws; ends with a table and a report
	'$(BIN)/python' tools/demo.py $(ARGS)

# A worker per core and a thread per worker: threads of several workers would wait for one another.
# By file, as files share what they make; those with most slow tests first (tests/conftest.py).
test: install ## all tests, the slow ones too; ARGS='-m "not slow"' leaves those out
	OMP_NUM_THREADS=1 '$(BIN)/python' -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder $(ARGS)

parity: install ## our logits against the peers' golden ones, as a table
	'$(BIN)/python' tools/parity.py $(ARGS)

bench: install ## this project against stock MMSegmentation (half an hour; needs CAMVID_ROOT)
	'$(BIN)/python' -m benchmarks.bench $(ARGS)

lint: install ## ruff: rules and format
	'$(BIN)/ruff' check .
	'$(BIN)/ruff' format --check .
