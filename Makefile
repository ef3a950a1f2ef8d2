# What a person does with a checkout. Each target first sets up what it needs, in .venv, once per change of pyproject.toml.
.PHONY: help setup demo test crash soak check bless fuzz bench package clean
.DEFAULT_GOAL := help

PYTHON := .venv/bin/python
export PYTHONDONTWRITEBYTECODE :=  # the tests start a hundred Pythons, which must not all compile the same files

help:             ## this list
	@sed -n 's/^\([a-z]*\): .*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

setup: .venv/ready  ## the virtual environment with headrace, editable, and all it needs

.venv/ready: pyproject.toml .ci/venv
	.ci/venv .venv
	$(PYTHON) -m pip install --quiet --editable '.[demo,dev]'
	@touch $@

demo: setup       ## a year of real flights through five continuous views
	.venv/bin/headrace demo

test: check       ## ruff, mypy and all tests
	$(PYTHON) -m pytest -n auto --dist worksteal

crash: setup      ## every crash, power failure, refused call and flipped bit that `make test` takes a sample of
	$(PYTHON) -m pytest -n auto --dist worksteal --crash -o faulthandler_timeout=0 \
	  tests/storage/test_power_loss.py tests/storage/test_failing_disk.py tests/storage/test_bit_flips.py tests/storage/test_crash.py \
	  tests/test_database_faults.py

soak: setup       ## 200 kills of a database under load, then an hour of kills with retention, or MINUTES=5
	$(PYTHON) -m tests.soak --kills 200
	$(PYTHON) -m tests.soak --minutes $(or $(MINUTES),60)

check: setup      ## ruff and mypy alone
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy

bless: setup      ## write what the stories print now into their scripts; review it with git diff
	$(PYTHON) -m pytest tests/test_stories.py --bless

fuzz: setup       ## ten minutes of random databases, or MINUTES=60; each failure is made small and printed
	$(PYTHON) -m tests.fuzz --minutes $(or $(MINUTES),10)

bench: setup      ## the benchmarks: ratios against one-shot DuckDB, the raw disk and plain Arrow in the same run
	$(PYTHON) -m pip install --quiet --editable '.[bench]'
	$(PYTHON) benchmarks/streaming.py
	$(PYTHON) benchmarks/engine.py
	$(PYTHON) -m benchmarks.log
	$(PYTHON) -m benchmarks.checkpoints

package: setup    ## sdist, wheel from it, and a look at what the wheel installs
	.ci/package

clean:            ## forget the virtual environment and all caches
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis headrace.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +
