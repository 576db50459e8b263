# Everything a contributor types. `make demo` and `make test` do all of their own set-up.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
NAME ?= hpc
NET ?= 10.77.0
SHAPE ?= jump-only
CLUSTER := molecule/cluster/cluster
# A tree that Ansible finds by the collection's full name, whatever this checkout is called.
COLLECTIONS := $(CURDIR)/.build/collections
export ANSIBLE_COLLECTIONS_PATH := $(COLLECTIONS)

.PHONY: help venv collection demo demo-stop test test-long unit server cluster cluster-down cluster-tests integration \
        scenarios lint sanity units build release changelog docs bench matrix importer pins clean

help: ## What can be typed here
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

venv: ## The virtual environment of the tests, pinned
	@tools/prepare
	@tools/venv $(VENV) tests/requirements.txt

collection: venv
	@tools/stage $(COLLECTIONS)/ansible_collections/hpc/jupyter

demo: ## The main job on this machine, without a cluster and without root
	@tests/demo/run

demo-stop: ## End what `make demo` started
	@tests/demo/stop

test: venv ## All tests; prints the minutes of each part
	@tools/prepare tests
	@$(BIN)/python tests/run

test-long: venv ## All tests and the slow ones
	@tools/prepare tests
	@$(BIN)/python tests/run --long

unit: collection ## Unit tests
	$(BIN)/pytest -q -n 2 tests/unit

server: collection ## Tests against real Jupyter servers of three generations
	$(BIN)/pytest -q tests/server

cluster: ## A cluster of three hosts on this machine (NAME, NET, SHAPE)
	$(CLUSTER) up --name $(NAME) --net $(NET) --shape $(SHAPE)

cluster-down: ## The end of that cluster
	$(CLUSTER) down --name $(NAME)

cluster-tests: collection ## Tests of the cluster itself
	$(BIN)/pytest -q tests/cluster

integration: collection ## Sessions on a live cluster, with real ssh
	$(BIN)/pytest -q tests/integration

scenarios: collection ## The molecule scenarios
	cd $(COLLECTIONS)/ansible_collections/hpc/jupyter && $(CURDIR)/$(BIN)/molecule -c .config/molecule/config.yml test --all

lint: collection ## ansible-lint (profile production) and ruff
	$(BIN)/ruff check .
	cd $(COLLECTIONS)/ansible_collections/hpc/jupyter && $(CURDIR)/$(BIN)/ansible-lint -q

sanity: venv ## ansible-test sanity
	tools/ansible-test $(VENV) sanity

units: venv ## The unit tests, run by ansible-test
	tools/ansible-test $(VENV) units

matrix: venv ## The tests under each ansible-core and Python that can run here
	$(BIN)/python tests/matrix

build: venv ## The collection's tarball, in .build/
	tools/build $(VENV)

importer: build ## What Galaxy would say of that tarball
	tools/importer .build/hpc-jupyter-$$(sed -n 's/^version: //p' galaxy.yml).tar.gz

changelog: venv ## CHANGELOG.md from changelogs/fragments
	tools/changelog $(VENV)

release: venv ## Check that all is in order, and build what is published
	tools/release $(VENV)

docs: collection ## The documentation as a site, in .build/docs
	tools/docs $(VENV)

pins: venv ## Pin anew what the tests are run with, for each Python here
	tools/pins

bench: collection ## Times against the same steps by hand, as a table, JSON and a plot
	@$(BIN)/pip install -q --disable-pip-version-check matplotlib
	@$(BIN)/python tests/bench/run

clean: ## Remove what make made
	rm -rf .build .venv .cache .ansible
