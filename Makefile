# Every target makes its own virtual environment from a pinned file when it is missing, and again
# when that file or pyproject.toml changes: Python 3.11 or newer, make and pip are all it needs.

PYTHON ?= python3
PYTEST_WORKERS ?= 2

# The tests bring their own parallelism; BLAS threads on top of it only get in each other's way.
PYTEST = OMP_NUM_THREADS=1 $(1)/bin/python -m pytest -n $(PYTEST_WORKERS) --dist worksteal

.PHONY: help demo test test-oldest lint format docs bench pins clean
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

help:  ## Show this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1|\2/p' $(MAKEFILE_LIST) \
		| while IFS='|' read -r name what; do printf '  make %-12s %s\n' "$$name" "$$what"; done

demo: .venv-demo/ready  ## Explain real data: a table here, pictures in demo_output/ (< 3 min)
	.venv-demo/bin/python examples/run_demo.py

test: .venv-test/ready  ## All tests and doctests, newest supported packages
	$(call PYTEST,.venv-test) skinfluence tests $(PYTEST_ARGS)

test-oldest: .venv-oldest/ready  ## The tests on the oldest supported packages, without any extra
	SKINFLUENCE_MINIMAL=1 $(call PYTEST,.venv-oldest) tests $(PYTEST_ARGS)

lint: .venv-lint/ready  ## Format, lint rules, types, and no tracked file over 1 MB
	.venv-lint/bin/ruff format --check .
	.venv-lint/bin/ruff check .
	.venv-lint/bin/mypy
	@git ls-files -z | xargs -0 -I{} find {} -maxdepth 0 -size +1000000c | grep . \
		&& { echo 'These tracked files are over 1 MB: keep them out of the repository.'; exit 1; } \
		|| echo 'No tracked file over 1 MB.'

format: .venv-lint/ready  ## Apply the formatter and the safe fixes
	.venv-lint/bin/ruff check --fix .
	.venv-lint/bin/ruff format .

docs: .venv-docs/ready  ## Build the site and run the gallery into docs/_build/html
	.venv-docs/bin/python -m sphinx -W --keep-going -b html docs docs/_build/html

bench: .venv-bench/peers  ## Run the benchmarks and print their tables
	.venv-bench/bin/python benchmarks/run.py $(BENCH_ARGS)

clean:  ## Remove the environments and everything that was built
	rm -rf .venv-* build dist docs/_build docs/auto_examples demo_output
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis

.venv-%/ready: requirements/%.txt pyproject.toml
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/python -m pip install --quiet $(addprefix --requirement ,$(filter %.txt,$^))
	$(@D)/bin/python -m pip install --quiet --no-deps --editable .
	@touch $@

# What an environment installs besides its own pins. The oldest has no extra; lint and the demo
# do without torch.
.venv-test/ready .venv-docs/ready .venv-bench/ready: requirements/torch.txt
.venv-bench/ready: requirements/bench-peers.txt

.venv-bench/peers: requirements/bench-no-deps.txt .venv-bench/ready
	.venv-bench/bin/python -m pip install --quiet --no-deps --requirement $<
	@touch $@

.PRECIOUS: .venv-%/ready

# Pins: one resolution from pyproject.toml, valid on every platform and Python it supports.
PIN = .venv-pins/bin/uv pip compile --quiet --universal --fork-strategy fewest \
	--python-version 3.11 --custom-compile-command "make pins" pyproject.toml

pins:  ## Resolve requirements/*.txt anew from pyproject.toml
	$(PYTHON) -m venv .venv-pins
	.venv-pins/bin/python -m pip install --quiet uv
	$(PIN) --upgrade --extra plot --extra progress --output-file requirements/demo.txt
	$(PIN) --upgrade --extra test --output-file requirements/test.txt
	$(PIN) --upgrade --extra docs --output-file requirements/docs.txt
	$(PIN) --upgrade --extra bench --output-file requirements/bench.txt
	$(PIN) --upgrade --group lint --output-file requirements/lint.txt
	$(PIN) --upgrade --group oldest --resolution lowest-direct --output-file requirements/oldest.txt
