# Everything that a fresh Debian or Ubuntu machine with Python, git and make needs is set up by the targets themselves.

PYTHON ?= python3
BIN := .venv/bin
export KEEP

.PHONY: help demo test test-quick test-all check format tools docs docs-generated docker-engine docker-image shell-target bench clean

help:
	@echo 'make demo           deploy a real Django project to this machine, with load running (KEEP=1 leaves it up)'
	@echo 'make test-quick     what needs no server, no Docker and no root: under a minute'
	@echo 'make test           what CI runs: formatting, lint and types, and all tests but the slow ones'
	@echo 'make test-all       everything, with every fault at every boundary: before a release'
	@echo '                    (any of these with DJANGO=4.2 and the like: with another Django)'
	@echo 'make check          formatting, lint and types'
	@echo 'make format         formats the code'
	@echo 'make docs           the site of the documents, in build/docs'
	@echo 'make docker-engine  as root on Debian: installs and starts a Docker engine if none answers'
	@echo 'make shell-target   a container to deploy to by hand'
	@echo 'make bench          the benchmarks, on the Docker target'
	@echo 'make clean          removes what the targets above have made'

# A stamp: the environment is made anew when what it is made of changes.
.venv/made: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo 'Python 3.10 or newer is needed: make PYTHON=...'; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -q && apt-get install -y -q python3-venv; \
	} || { echo 'As root: apt-get install python3-venv'; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev
	@touch $@

# DJANGO=4.2 and the like: the tests' own environment gets this Django, by which migrations are judged there.
DJANGO_MADE := $(if $(DJANGO),.venv/django-$(DJANGO))
.venv/django-%: .venv/made
	rm -f .venv/django-*
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'django~=$*.0'
	@touch $@

demo: .venv/made
	@$(BIN)/python -m djdeploy.rehearsal

test-quick: .venv/made $(DJANGO_MADE)
	@tests/tiers quick

test: .venv/made $(DJANGO_MADE) tools
	@tests/tiers check quick shell ssh

test-all: .venv/made $(DJANGO_MADE) tools
	@tests/tiers check quick shell ssh -- --all

check: .venv/made
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy tests benchmarks docs
	@tests/audit

format: .venv/made
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

tools:
	@tests/tools

# What the documents say about the code: tables of settings, tasks, steps and errors.
docs-generated: .venv/made
	$(BIN)/python docs/generate.py

.venv/docs: .venv/made
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group docs
	@touch $@

docs: .venv/docs docs-generated
	$(BIN)/python docs/site/build.py
	@echo 'The site: build/docs/index.html'

docker-engine:
	@docker/engine

docker-image:
	@docker/test-target/build

shell-target: tools docker-image
	@docker/test-target/shell

bench: .venv/made tools docker-image
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv build .mypy_cache .pytest_cache .ruff_cache .hypothesis
