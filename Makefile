# Common tasks; `make` alone lists them.
# ARGS is passed to the command: make play ARGS="--games 3"

PYTHON ?= python3
PY     := .venv/bin/python
SETUP  := @$(PYTHON) scripts/setup_env.py

.DEFAULT_GOAL := help
.PHONY: help setup setup-ray setup-gpu play train evaluate test test-learning test-faults test-examples test-ray lint format benchmark check-bare check-user bench-peers lock clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

setup:  ## create .venv, and find or install a browser; other targets do this when needed
	$(SETUP) run
	@echo "Now: make play"

setup-ray:  ## add Ray: RLlib, tune, training on several machines
	$(SETUP) run
	$(SETUP) ray

setup-gpu:  ## replace TensorFlow by its build for NVIDIA GPUs (not tried on one)
	$(SETUP) gpu

play:  ## watch the trained model play
	$(SETUP) run
	$(PY) run_dino.py play $(ARGS)

train:  ## train an agent from scratch
	$(SETUP) run
	$(PY) run_dino.py train $(ARGS)

evaluate:  ## measure the trained model over many games
	$(SETUP) run
	$(PY) run_dino.py evaluate $(ARGS)

test:  ## run the tests, with the real browser
	$(SETUP) test
	$(PY) -m pytest tests -m "not learning and not examples and not faults and not ray" $(ARGS)

test-learning:  ## run the tests that train an agent (slow)
	$(SETUP) test
	$(PY) -m pytest tests -m learning $(ARGS)

test-faults:  ## kill browsers and trainers, fill disks, invent files (half an hour)
	$(SETUP) test
	$(PY) -m pytest tests -m faults -s $(ARGS)

test-examples:  ## train the examples for other libraries (slow)
	$(SETUP) test
	$(SETUP) ray
	$(SETUP) bench
	$(PY) -m pytest tests/test_examples.py $(ARGS)

test-ray:  ## run the tests that need Ray (minutes)
	$(SETUP) test
	$(SETUP) ray
	$(PY) -m pytest tests -m ray $(ARGS)

lint:  ## check format, style and types
	$(SETUP) lint
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy dino_rl

format:  ## format the code, and fix what can be fixed automatically
	$(SETUP) lint
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

benchmark:  ## measure the speed of the game and of learning on this machine
	$(SETUP) run
	$(PY) run_dino.py benchmark $(ARGS)

bench-peers:  ## compare the learner with Stable-Baselines3 and CleanRL's architecture
	$(SETUP) bench
	$(PY) bench/peers.py $(ARGS)

lock:  ## write requirements-hashes.txt and docs/licences.md anew (needs a package index)
	$(PY) scripts/lock.py

check-bare:  ## try play and test on a bare Debian (as root, needs debootstrap)
	@bash scripts/check_bare.sh

check-user:  ## the same as a user without sudo, on a Debian that has a browser
	@BARE_USER=dino bash scripts/check_bare.sh

clean:  ## delete caches and build products, but not .venv, runs and models
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
