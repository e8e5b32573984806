# SLOP. `make` lists what there is to do.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
PROTOS := services/slop/v1/__init__.py
PIP := $(PY) -m pip --disable-pip-version-check
INSTALL := requirements/install $(PY)
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do command -v $$p && break; done)

# Where torch for the CPU comes from if the configured indexes do not have it.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

# What `make studies` runs, one after the other; humor and likelihood need ratings of real people, and their jokes.
STUDIES := cost topics capacity prompts clusters few encoders composition $(if $(DATA),humor likelihood)

export BASIS DATA OUT POSTS READERS ROUNDS SECONDS SCENARIO DEMO_EXIT FILE USER_ID

.PHONY: help setup up demo replay factors basis head style_subject factored catalogue export rollout rollback studies bench loadtest faults smoke dashboards docs snapshot restore relearn rejected test lint lock clean

help:  ## list the targets
	@awk 'BEGIN {FS = ":.*## "; print "make TARGET [NAME=value ...]\n"} /^[a-z_]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' Makefile

setup: $(VENV)/.slop  ## install everything into .venv (done by every other target too)
	@:

up: setup  ## start the whole stack; Ctrl-C stops it
	@$(PY) -m infra.local.up

demo: setup  ## readers with hidden tastes react, posts turn to them [OUT=figures.json] [DEMO_EXIT=1: stop at the end]
	@$(PY) -m research.demo

replay: setup  ## ratings of real people through the same API: DATA=folder [OUT=figures.json] [READERS=200]
	@$(PY) -m research.replay

factors: setup  ## have the running worker fit factors of posts to many readers' reactions, if they rank better
	@$(PY) -m jobs run fit_factors

basis: setup  ## build the soft prompts and their head from the catalogue, without labels, an hour or more on 2 cores
	@$(PY) -m training.basis --model "$$($(PY) -m infra.models.model)" --embedder "$$($(PY) -m infra.models.embedder)"

head: setup  ## teach the default basis' head again; its prompts stay as they are, half an hour or more on 2 cores
	@$(PY) -m training.basis.head --model "$$($(PY) -m infra.models.model)" --embedder "$$($(PY) -m infra.models.embedder)"

style_subject: setup  ## build prompts of styles and of subjects that stand together in one post, 4 minutes on a GPU, hours on 2 cores
	@$(PY) -m training.basis.style_subject --model "$$($(PY) -m infra.models.model)" --embedder "$$($(PY) -m infra.models.embedder)"

factored: style_subject

catalogue: setup  ## have the model write the catalogue of posts that the basis is built from
	@$(PY) -m infra.local.up vllm --run "$(PY) -m research.write_catalogue"

studies: setup  ## research tables and plots into research/results: all, or STUDY=name [DATA=folder]
	@for study in $(or $(STUDY),$(STUDIES)); do $(PY) -m research.$$study || exit 1; done

export: setup  ## a reader's soft prompt as a PEFT adapter, from the Redis that runs: USER_ID=reader OUT=folder
	@$(PY) -m training.peft_adapter export --model "$$($(PY) -m infra.models.model)" \
	    --user "$${USER_ID:?whose prompt: make export USER_ID=reader OUT=folder}" \
	    --out "$${OUT:?where to: make export USER_ID=reader OUT=folder}"

rollout: setup  ## have the running stack learn a new basis beside the live one, then switch to it: BASIS=folder [ANYWAY=1]
	@$(PY) -m jobs rollout $(if $(ANYWAY),--anyway) "$${BASIS:?which: make rollout BASIS=.run/jobs/bases/...}"

rollback: setup  ## have the running stack go back to the basis that was live before
	@$(PY) -m jobs rollback

bench: setup  ## what the learner takes a second; BENCH=profiles: a million readers in Redis; BENCH=generation: of vLLM alone
	@$(PY) -m loadtests.bench_$(or $(BENCH),learner)

loadtest: setup  ## readers that scroll, react and ask for posts, on a stack that runs: a table [READERS=20] [SECONDS=60]
	@$(PY) -m loadtests.run

faults: setup  ## kill parts of a stack of its own under load, 20 times in turn, and spoil more: a table [ROUNDS=20] [DOCS=1]
	@$(PY) -m loadtests.faults --engine $(if $(DOCS),--docs)

smoke: setup  ## drive a stack that runs end to end, and say what works
	@$(PY) -m loadtests.smoke

dashboards: setup  ## write Grafana's dashboards anew from their code
	@$(PY) -m infra.grafana.build

docs: setup  ## write the tables of docs/settings.md anew from the settings' classes
	@$(PY) -m infra.settings_reference

snapshot: setup  ## have the running worker write all profiles into a file now (beat has it done every night)
	@$(PY) -m jobs run snapshot_profiles

restore: setup  ## store the profiles of a snapshot that are not there any more: FILE=snapshot
	@$(PY) -m jobs restore "$${FILE:?name the snapshot: make restore FILE=.run/jobs/snapshots/...}"

rejected: setup  ## what could not be used and why, the newest first; more by python -m jobs rejected --help [REASON=reason]
	@$(PY) -m jobs rejected $(if $(REASON),--reason "$(REASON)")

relearn: setup  ## have the running stack learn all readers anew from the log [SNAPSHOT=newest or a file: and what came after]
	@$(PY) -m jobs relearn $(if $(SNAPSHOT),--snapshot "$(SNAPSHOT)")

test: setup  ## run all tests, on real servers [PROCESSES=3]
	@$(PY) -m pytest -n $(or $(PROCESSES),3) --no-loadscope-reorder

lint: setup  ## check style, formatting, types and the protocol definitions
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy --cache-dir .mypy_cache/services
	@$(BIN)/mypy --cache-dir .mypy_cache/rest --follow-imports=silent infra client research loadtests build_protos.py
	@PYTHONPATH=.:services $(BIN)/lint-imports --no-logo
	@$(BIN)/buf lint proto

# The local run's lock files come first, since the images' take their versions from them.
lock: $(VENV)/.python  ## resolve the requirements again and write their lock files
	@$(PIP) install --quiet -r requirements/uv.txt
	@cd requirements && for name in uv openai-cli local nodeps build services torch-cuda featurizer worker engine model; do \
	  case $$name in \
	    nodeps | model | openai-cli) flags=--no-deps ;; \
	    local) flags="$(addprefix --no-emit-package=,torch triton)" ;; \
	    worker | engine) flags="--override without-torch.in $(addprefix --no-emit-package=,torch torchaudio torchcodec torchvision triton)" ;; \
	    *) flags= ;; \
	  esac; \
	  ../$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
	    $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX) --index-strategy unsafe-best-match) $$flags --output-file $$name.txt $$name.in; \
	done

clean:  ## remove everything that was installed, built or logged here
	@rm -rf $(VENV) .run .mypy_cache .ruff_cache .pytest_cache .hypothesis services/slop/v1 out

# Set-up, a step at a time: each step leaves a file, so that it is done once.

$(VENV)/.python:
	@test -n "$(PYTHON)" && $(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "SLOP needs Python 3.11, 3.12 or 3.13, and '$(PYTHON)' is not: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "$(PYTHON) has no venv: apt-get install $(notdir $(PYTHON))-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import ctypes; ctypes.CDLL("libnuma.so.1")' 2>/dev/null || \
	  { echo "vLLM needs libnuma: apt-get install libnuma1" >&2; exit 1; }
	@echo "set-up 1/4: $$($(PYTHON) --version) in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.torch: $(VENV)/.python requirements/torch.in requirements/uv.txt
	@echo "set-up 2/4: torch for the CPU, 190 MB"
	@$(INSTALL) --quiet -r requirements/torch.in 2>/dev/null || \
	  UV_DEFAULT_INDEX=$(TORCH_INDEX) $(INSTALL) --quiet -r requirements/torch.in
	@touch $@

$(VENV)/.requirements: $(VENV)/.torch requirements/local.txt requirements/nodeps.txt
	@echo "set-up 3/4: vLLM and everything else, 700 MB"
	@$(INSTALL) --require-hashes -r requirements/local.txt -r requirements/nodeps.txt 2>&1 | sed -u '/^ [+~-] /d; s/^ */  /'
	@echo "  compiling, a minute or two"
	@$(PY) -m compileall -q -j 0 -x '/(tests?|transformers/models)/' $(VENV)/lib >/dev/null 2>&1 || true  # some are templates, no Python
	@touch $@

$(VENV)/.slop: $(VENV)/.requirements $(VENV)/.openai-cli pyproject.toml $(PROTOS)
	@echo "set-up 4/4: SLOP itself"
	@$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.openai-cli: $(VENV)/.requirements requirements/openai-cli.txt
	@$(INSTALL) --quiet --target $(VENV)/openai-cli --require-hashes -r requirements/openai-cli.txt
	@touch $@

$(PROTOS): $(VENV)/.requirements build_protos.py $(shell find proto -name '*.proto')
	@$(PY) build_protos.py
