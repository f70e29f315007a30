# make demo     see the node work, between two small PACS on this machine
# make test     install what the tests need, run them all
# make test-big instances of 3 GB, and 20 of 150 MB at once; takes 13 GB of disk and some minutes
# make lint     ruff, mypy, import-linter
# make install  make .venv with the command dicomnode in it, and nothing else
# make bench    measure instances per second beside Orthanc, DCMTK and a script on pynetdicom; ARGS=--help says how
# make bench-deidentify   CPU of the engine beside other Python programs; installs them in the cache directory
# make docs     print docs/conformance.md anew
# make clean    remove the virtual environment and caches

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell sh tools/python.sh)

define need-python
@test -n "$(PYTHON)" || { echo "dicomnode needs Python 3.11 or later; install python3 (Debian 12 and Ubuntu 24.04 have it)" >&2; exit 1; }
endef

.PHONY: help demo install test test-big lint bench bench-deidentify docs clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# make/make/p' Makefile

demo: $(VENV)/.ready
	@$(BIN)/dicomnode demo

install: $(VENV)/.ready
	@echo "$(BIN)/dicomnode is ready"

test: $(VENV)/.ready-dev
	@sh tools/peers.sh
	@PATH="$$PATH:/usr/sbin" $(BIN)/python -m pytest $(ARGS)

test-big: $(VENV)/.ready-dev
	@sh tools/peers.sh
	@PATH="$$PATH:/usr/sbin" DICOMNODE_BIG=3000 DICOMNODE_BIG_MANY=20x150 $(BIN)/python -m pytest -v -s -n 0 --timeout 0 tests/faults/test_big.py $(ARGS)

lint: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.ready-dev
	@sh tools/peers.sh
	@PATH="$$PATH:/usr/sbin" $(BIN)/python benchmarks/throughput.py $(ARGS)

bench-deidentify: $(VENV)/.ready-dev
	@$(BIN)/python benchmarks/deidentify.py $(ARGS)

docs: $(VENV)/.ready
	@$(BIN)/dicomnode rules conformance rules/basic.yaml > docs/conformance.md

$(VENV)/.ready: pyproject.toml tools/venv.py
	$(need-python)
	@$(PYTHON) tools/venv.py $(VENV)
	@touch $@

$(VENV)/.ready-dev: pyproject.toml tools/venv.py
	$(need-python)
	@$(PYTHON) tools/venv.py $(VENV) dev
	@touch $(VENV)/.ready $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build *.egg-info
