# `make` alone lists the targets. Everything runs from .venv; `make setup` is done once, and again when the pins change.

PYTHON ?= $(firstword $(foreach p,python3.11 python3 python3.12 python3.13 python3.14,$(shell \
	$(p) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' >/dev/null 2>&1 && echo $(p))))
EXTRAS ?= dev,slurm,explore,peers,umap
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
DONE := $(VENV)/.installed
NOTEBOOKS = $(wildcard notebooks/*.ipynb)
STRIP := $(BIN)/nbstripout --extra-keys metadata.language_info.version
LAB_SETTINGS := $(VENV)/share/jupyter/lab/settings/overrides.d

# Set on some machines; without byte code every import of torch and timm takes about 10 seconds instead of 4.
unexport PYTHONDONTWRITEBYTECODE
# An active environment elsewhere must not receive what belongs into .venv.
unexport VIRTUAL_ENV CONDA_PREFIX PYTHONPATH PYTHONHOME

.DEFAULT_GOAL := help
.PHONY: help setup tour lab html test check format pins clean

help: ## list the targets
	@echo "The workbench. Begin with: make tour"
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "Further arguments go into ARGS, e.g.: make test ARGS='-k cutmix'"

setup: $(DONE) ## make .venv and install the pinned environment (about a minute, 5 GB)

# uv is several times faster than pip, and pip takes over where uv can't work (it doesn't read pip's settings).
$(DONE): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { \
		echo "make: Python 3.11 to 3.14 is needed and none was found on the PATH." >&2; \
		echo "make: install Python 3.11, or say where it is: make $(or $(MAKECMDGOALS),setup) PYTHON=/path/to/python3.11" >&2; \
		exit 1; }
	@$(BIN)/python -c '' 2>/dev/null || { \
		echo "Making $(VENV) with $$($(PYTHON) --version)"; \
		$(PYTHON) -m venv --clear $(VENV); } || { \
		echo "make: $(PYTHON) can't make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; \
		exit 1; }
	@echo "Installing the pinned packages; about a minute, longer where 2.5 GB must be downloaded first"
	@{ $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv && \
	   $(BIN)/uv pip install --python $(BIN)/python --compile-bytecode \
		-c constraints.txt --build-constraints constraints.txt -e '.[$(EXTRAS)]'; } || { \
		echo "make: uv did not work here; trying pip, which takes a few minutes" >&2; \
		$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'; }
	@touch $@
	@echo "$(VENV) is ready"

tour: setup ## the main job: train five methods side by side, compare, make the figures (4 minutes)
	@$(BIN)/workbench tour $(ARGS)

lab: setup ## open the notebooks in JupyterLab, on this machine only, behind a token
	@mkdir -p $(LAB_SETTINGS)
	@echo '{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": false}}' \
		> $(LAB_SETTINGS)/workbench.json
	@$(BIN)/jupyter lab --ip=127.0.0.1 $(if $(filter 0,$(shell id -u)),--allow-root) \
		--LabApp.default_url=/lab/tree/notebooks/00_tour.ipynb $(ARGS)

html: setup ## execute all notebooks into a site to browse, out/html/index.html (ten minutes)
	@$(BIN)/workbench site $(ARGS)

test: setup ## all tests, two at a time (ARGS='-n 0' for one after the other)
	@$(BIN)/pytest -n 2 --dist worksteal --timeout 600 --durations 10 $(ARGS)

check: setup ## what must hold before a commit: format, lint, types, notebooks without outputs
	@failed=; \
	$(BIN)/ruff format --check . || failed="$$failed format"; \
	$(BIN)/ruff check . || failed="$$failed lint"; \
	$(BIN)/mypy || failed="$$failed types"; \
	$(if $(NOTEBOOKS),$(STRIP) --verify $(NOTEBOOKS) || failed="$$failed notebooks";) \
	test -z "$$failed" || { echo "make check: to mend:$$failed" >&2; exit 1; }

format: setup ## put code and notebooks into the form that `make check` wants
	@$(BIN)/ruff check --fix-only --quiet . && $(BIN)/ruff format .
	@$(if $(NOTEBOOKS),$(STRIP) $(NOTEBOOKS),true)

# What is in constraints.txt is kept where pyproject.toml still allows it, so a new dependency changes nothing else.
# The packages that torch itself pins for one platform are left out. hatchling builds the package.
pins: setup ## write constraints.txt anew after a change of dependencies (ARGS='-P NAME' for a newer NAME)
	@cp constraints.txt $(VENV)/pins.txt
	@echo hatchling | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --no-header \
		--no-annotate $(ARGS) -o $(VENV)/pins.txt pyproject.toml - >/dev/null
	@{ grep '^#' constraints.txt; \
	   grep -vE "^(nvidia-|cuda-|triton)|== 'emscripten'" $(VENV)/pins.txt | sed -E '/python_full_version/! s/ ;.*//'; \
	} > $(VENV)/new.txt
	@mv $(VENV)/new.txt constraints.txt

clean: ## remove .venv and the caches, never results (out/) or data
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find workbench tests -type d -name __pycache__ -prune -exec rm -rf {} +
