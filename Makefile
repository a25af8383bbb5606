# Three commands do all the set-up themselves: `make quickstart`, `make check` and `make test`. None of them calls sudo; each can be called again.
SHELL := /bin/bash
VENV ?= .venv
CONFIG ?= configs/quickstart.toml
export VENV

.PHONY: help setup vllm sandbox quickstart check test full lint docs clean

help:  ## say what there is
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 18

setup:  ## create the virtual environment and install the project
	@scripts/setup.sh

vllm: setup  ## install vLLM in an environment of its own, beside the project's (0.9 GB on a CPU)
	@scripts/vllm.sh

sandbox: setup  ## prepare the sandbox: the Docker image where a daemon answers, else the local one is checked
	@scripts/sandbox.sh

quickstart: sandbox  ## train a small coding agent, evaluate it before and after, and write a report (ARGS='--set loop.steps=20')
	@$(VENV)/bin/agent-rl train $(CONFIG) $(ARGS)

check: setup  ## lint, types, unit tests, and the component tests of what was changed, within three minutes
	@$(VENV)/bin/python scripts/check.py $(ARGS)

test: setup  ## all tests but the long measurements, in two processes (ARGS='tests/unit -x -n 0')
	@scripts/sandbox.sh || echo "==> no sandbox: the tests that need one are skipped, and said"
	@AGENT_RL_TESTS=all $(VENV)/bin/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder $(ARGS)

full: sandbox vllm  ## everything: all tests and every bar, and one table at the end (hours)
	@$(VENV)/bin/python scripts/full.py $(ARGS)

lint: setup  ## ruff, the arrows between the rooms, and pyright
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/lint-imports
	@$(VENV)/bin/pyright --pythonpath $(VENV)/bin/python

docs: setup  ## build the documentation in site/, without a network; a dead link ends it
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet && echo "==> open site/index.html"

clean:  ## remove the virtual environment, caches and build output; runs/ is kept
	rm -rf $(VENV) $(VENV)-vllm dist build .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
