# Run `make help` for the targets. Every target takes VENV=DIR; several clones may share one.
VENV ?= .venv
PYTHON ?= python3
ARGS ?=

# The stamp says which stack an environment has, which checkout its editable install points to, and made from what.
STAMP := $(VENV)/.mmseg_deeplab_study.stamp
MADE := $(filter lite mim onedl,$(firstword $(shell cat '$(STAMP)' 2>/dev/null)))
STACK ?= $(or $(MADE),lite)
$(if $(filter lite mim onedl,$(STACK)),,$(error STACK=$(STACK): expected lite, mim or onedl))

CONSTRAINTS := requirements/constraints$(if $(filter mim,$(STACK)),-mim).txt
TORCH := $(shell grep -E '^(torch|torchvision)==' $(CONSTRAINTS))
BIN := $(VENV)/bin

STATE := $(STACK) $(CURDIR) $(shell cat setup.cfg setup.py pyproject.toml $(CONSTRAINTS) | cksum)

.DEFAULT_GOAL := help
.PHONY: help install reinstall demo test parity bench lint

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20
	@echo '  VENV=DIR          the virtual environment (default .venv)'
	@echo '  PYTHON=python3    the interpreter that makes it'
	@echo '  STACK=lite        or mim (full mmcv, which is compiled) or onedl (the maintained forks)'
	@echo "  ARGS='...'        more arguments for demo, test, parity and bench"

install: ## make the virtual environment, unless it is up to date
	@[ "$$(cat '$(STAMP)' 2>/dev/null)" = '$(STATE)' ] || $(MAKE) --no-print-directory reinstall

reinstall: ## install again, whatever the stamp says
	@[ '$(or $(MADE),$(STACK))' = '$(STACK)' ] || \
	    { echo "$(VENV) has STACK=$(MADE), whose files $(STACK) would write over; give VENV=ANOTHER" >&2; exit 1; }
	[ -x '$(BIN)/python' ] || $(PYTHON) -m venv '$(VENV)'
# Of an installation that fails only the stack is known.
	@printf '%s\n' '$(STACK)' > '$(STAMP)'
# torch goes first and alone, so that a wheel chosen for this machine (CPU, CUDA) is found and kept.
	'$(BIN)/python' -m pip install $(TORCH)
# mmcv's build asks the torch that is there, and an older setuptools.
	[ '$(STACK)' != mim ] || '$(BIN)/python' -m pip install -c $(CONSTRAINTS) setuptools wheel ninja numpy
	[ '$(STACK)' != mim ] || MMCV_WITH_OPS=1 '$(BIN)/python' -m pip install --no-build-isolation -c $(CONSTRAINTS) mmcv
	'$(BIN)/python' -m pip install -c $(CONSTRAINTS) -e '.[$(STACK),tflite,test,dev]'
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
