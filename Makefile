# Commands for people and for CI. `make` alone lists them.

VENV := .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3)
RUN := $(VENV)/bin/python
PACKAGES := shared local gateway auth-service items-service files-service schema-service settings-service consumer cli
IMAGES := gateway auth-service items-service files-service schema-service settings-service

.DEFAULT_GOAL := help
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | while IFS="$$(printf '\t')" read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

# --- the environment ---------------------------------------------------------------------------
# The packages are put on the path by one .pth file: nothing to build, the clone is what runs.
# uv installs in seconds what takes pip half a minute; pip is there where uv cannot reach.

setup: $(VENV)/.dev  ## the environment of a developer

$(VENV)/.uv: requirements/uv.txt
	@scripts/make-venv "$(PYTHON)" $(VENV)
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

$(VENV)/.packages: $(VENV)/.uv Makefile
	@printf '%s\n' $(PACKAGES:%=$(CURDIR)/%) > "$$($(RUN) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/directoire.pth"
	@printf '#!/bin/sh\nexec "%s/$(RUN)" -m directoire_cli "$$@"\n' "$(CURDIR)" > $(VENV)/bin/directoire
	@chmod +x $(VENV)/bin/directoire
	@touch $@

$(VENV)/.run: $(VENV)/.packages requirements/runtime.txt requirements/local.txt
	@scripts/install $(VENV) requirements/runtime.txt requirements/local.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements/dev.txt
	@scripts/install $(VENV) requirements/dev.txt
	@touch $@

# The published clients of the API, each apart from everything else, as their users have them.
CLIENTS := tests/acceptance/clients/package.json tests/acceptance/clients/package-lock.json
$(VENV)/.clients: $(VENV)/.dev requirements/clients.txt $(CLIENTS)
	@scripts/install-clients $(VENV)
	@touch $@

# --- the cluster -------------------------------------------------------------------------------

up: $(VENV)/.run  ## start the whole cluster; does no harm when it runs
	@$(RUN) -m local_cluster up

down: $(VENV)/.run  ## stop it; leaves no process, keeps the data
	@$(RUN) -m local_cluster down

ps: $(VENV)/.run  ## name, pid and port of every process
	@$(RUN) -m local_cluster ps

logs: $(VENV)/.run  ## what the processes say; on a terminal it goes on until Ctrl-C
	@$(RUN) -m local_cluster logs

token: $(VENV)/.run  ## the administrator's API token
	@$(RUN) -m local_cluster token

users: $(VENV)/.run  ## the demo's users and their API tokens
	@$(RUN) -m local_cluster users

env: $(VENV)/.run  ## DATABASE_URL, REDIS_URL and AMQP_URL as shell lines
	@$(RUN) -m local_cluster env

# --- the checks --------------------------------------------------------------------------------

lint: $(VENV)/.dev  ## ruff: rules and layout
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .

check: lint  ## lint, types, import contracts, what must never be
	@$(VENV)/bin/basedpyright
	@$(VENV)/bin/lint-imports
	@$(RUN) -m pytest -q tests/architecture

test: $(VENV)/.dev $(VENV)/.clients  ## all tests, beside real throw-away servers
	@$(RUN) -m local_cluster.throwaway -- $(RUN) -m pytest -n 2 --dist loadgroup -q $(TESTS)

bench: $(VENV)/.dev  ## requests a second, each beside its floor
	@$(RUN) -m benchmarks
	@$(RUN) -m benchmarks.files
	@$(RUN) -m benchmarks.tables
	@$(RUN) -m local_cluster.throwaway -- $(RUN) -m benchmarks.feed
	@$(RUN) -m benchmarks.imports $(or $(ROWS),1000000)

prove-uploads: $(VENV)/.dev  ## 200 uploads while their receivers are killed; every byte is checked
	@$(RUN) -m prove.uploads

prove-fuzz: $(VENV)/.dev  ## hostile requests for SECONDS (600): no fault of ours, ever
	@$(RUN) -m prove.fuzz $(or $(SECONDS),600) $(SEED)

prove-rights: $(VENV)/.dev  ## the rights matrix, and what is taken away, long; SECONDS bounds the latter
	@RIGHTS_REQUESTS=$(or $(REQUESTS),100000) RIGHTS_ROUNDS=$(or $(ROUNDS),10000) RIGHTS_LANES=$(or $(LANES),12) RIGHTS_PAUSED=0.02 RIGHTS_SECONDS=$(or $(SECONDS),inf) $(RUN) -m local_cluster.throwaway -- $(RUN) -m pytest -q -s --timeout=0 items-service/tests/test_rights_matrix.py tests/acceptance/test_at_once.py

images:  ## one image a service
	@for service in $(IMAGES); do docker build -f $$service/Dockerfile -t directoire/$$service . || exit 1; done

prove-feed: $(VENV)/.dev  ## writers, readers and a killer for SECONDS (180): the feed keeps its promise
	@$(RUN) -m prove.feed $(or $(SECONDS),180) $(SEED)

prove-backlog: $(VENV)/.dev  ## ENTRIES (1000000) wait for a relay: it catches up in bounded memory
	@$(RUN) -m local_cluster.throwaway -- $(RUN) -m prove.backlog $(or $(ENTRIES),1000000) $(or $(SECONDS),120)

prove-streams: $(VENV)/.dev  ## STREAMS (2000) idle readers of the activity: what they cost
	@$(RUN) -m prove.streams $(or $(STREAMS),2000) $(or $(SECONDS),60)

prove-timing: $(VENV)/.dev  ## ROUNDS (1000) of each kind: time tells no address and nothing hidden; MUTATION=wait|hash|kinds is found
	@$(RUN) -m prove.timing $(or $(ROUNDS),1000) $(MUTATION)

prove-rising: $(VENV)/.dev  ## SEQUENCES (20000) of requests raise nobody; 1000 races for the last administrator
	@RACES=1000 $(RUN) -m local_cluster.throwaway -- $(RUN) -m pytest -q -s --timeout=0 auth-service/tests/test_nobody_rises.py -k "remove_each_other"
	@SEQUENCES=$(or $(SEQUENCES),20000) $(RUN) -m local_cluster.throwaway -- $(RUN) -m pytest -q -s --timeout=0 tests/acceptance/test_nobody_rises.py

prove-reads: $(VENV)/.dev  ## READS (1000000) while everything breaks: none stale; MUTATION=lease|epoch|order|announcement finds some
	@$(RUN) -m prove.reads $(or $(READS),1000000) $(MUTATION)

prove-schema: $(VENV)/.dev  ## columns change every second under load for SECONDS (300): no fault, nothing stale
	@$(RUN) -m prove.schema $(or $(SECONDS),300)

.PHONY: help setup up down ps logs token users env lint check test bench prove-fuzz prove-feed prove-backlog prove-streams prove-timing prove-reads prove-rising prove-schema prove-uploads prove-rights images
