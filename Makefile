# Works with GNU make 3.81 (macOS). Another Python: make demo PYTHON=python3.11
PIP = .venv/bin/python -m pip --quiet --disable-pip-version-check
SPHINX = .venv/bin/python -m sphinx
BUILD = build

.PHONY: help venv gpu demo test browser lab lint plan notebooks book slides bench lock image emulate-aarch64 clean

help:
	@echo 'make demo       set up, fetch weights, fine-tune on the shipped reviews and sentences, score, predict'
	@echo 'make gpu        set up, put MXNet for NVIDIA GPUs into .venv (several GB; not tried on a GPU)'
	@echo 'make lab        set up, open the notebooks in JupyterLab'
	@echo 'make test       set up, run every test (FAST=1: those that take no more than a moment)'
	@echo 'make browser    set up, install Playwright: make test then tests in Chromium too, where it is installed'
	@echo 'make lint       set up, check style, format and the imports between the rooms'
	@echo 'make plan       set up, draw the picture of the rooms in CONTRIBUTING.md anew'
	@echo 'make notebooks  set up, run every notebook again and keep its output'
	@echo 'make book       set up, make the notebooks a book in build/book, to be read without a network'
	@echo 'make slides     set up, make the notebooks slides in build/slides, to be shown without a network'
	@echo 'make bench      set up, measure against PyTorch (BENCH=--quick: a few minutes)'
	@echo 'make lock       write requirements.lock and requirements-browser.lock anew from setup.py (needs uv)'
	@echo 'make image      build a container image of the course (needs docker or podman; WEIGHTS=minilm-l6: with weights)'
	@echo 'make emulate-aarch64  try it on an ARM machine played by qemu (hours; needs root, debootstrap, qemu-user-static)'
	@echo 'make clean      remove .venv, .venv-peer and what builds and tests left; runs/ stays'

venv:
	@PYTHON='$(PYTHON)' sh .ci/setup-venv

# The first call downloads before anything is removed; what mxnet and mxnet-cu117 share, the second takes away.
gpu: venv
	$(PIP) install --no-deps --require-hashes -r requirements-gpu.lock
	$(PIP) uninstall --yes mxnet mxnet-cu117
	$(PIP) install --no-deps --require-hashes -r requirements-gpu.lock
	.venv/bin/bert-tutorial doctor

demo: venv
	.venv/bin/bert-tutorial doctor
	.venv/bin/bert-tutorial fetch minilm-l6
	.venv/bin/bert-tutorial finetune --pretrained minilm-l6 --data sample --data sentences --epochs 8 --output runs/demo \
	  --overwrite
	.venv/bin/bert-tutorial evaluate runs/demo --data sample
	.venv/bin/bert-tutorial baseline --data sample
	.venv/bin/bert-tutorial evaluate runs/demo --data sentences
	.venv/bin/bert-tutorial baseline --data sentences
	.venv/bin/bert-tutorial predict runs/demo \
	  'this movie is so great' \
	  'a complete waste of time' \
	  'the acting is good, but the story is boring' \
	  'I have never been so moved by a film' \
	  'not bad at all, I liked it'
	@echo
	@echo 'Next: make lab, and start with notebooks/00_first_steps.ipynb.'
	@echo 'Or train on more: .venv/bin/bert-tutorial finetune --help'

test: venv
	.venv/bin/python -m pytest -n 2 --dist loadgroup $(if $(FAST),-m 'not slow')

browser: venv
	$(PIP) install --no-deps --require-hashes -r requirements-browser.lock

lab: venv
	.venv/bin/jupyter lab notebooks

lint: venv
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/lint-imports --no-cache --no-logo

plan: venv
	.venv/bin/python docs/draw_plan.py

notebooks: venv
	.venv/bin/python .ci/execute_notebooks.py notebooks/*.ipynb $(wildcard notebooks/solutions/*.ipynb)

# From a copy, in which the first page lies above all others.
book: BUILDER = html
slides: BUILDER = revealjs
book slides: venv
	rm -rf $(BUILD)/$@ $(BUILD)/$@-source
	mkdir -p $(BUILD)/$@-source
	cp -R *.md LICENSE benchmarks docs notebooks docs/book/index.md $(BUILD)/$@-source
	$(SPHINX) --quiet -b $(BUILDER) -c docs/book -d $(BUILD)/$@-source/.doctrees $(BUILD)/$@-source $(BUILD)/$@
	@echo 'Open $(BUILD)/$@/index.html in a browser.'

bench: venv
	.venv/bin/python -m benchmarks.bench $(BENCH)

# argon2-cffi-bindings: newer ones have no wheel for macOS on x86-64. NumPy 1.26: what the course's numbers were made with.
LOCK = uv pip compile --quiet --config-file .ci/uv.toml --no-python-downloads --universal --python-version 3.10 \
  --generate-hashes --custom-compile-command 'make lock'
lock:
	@command -v uv >/dev/null || { echo 'make lock needs uv (docs.astral.sh/uv).' >&2; exit 1; }
	printf '%s\n' 'argon2-cffi-bindings<26' 'numpy<2; python_version < "3.13"' | $(LOCK) --extra dev --extra book \
	  --constraints - --output-file requirements.lock setup.py >/dev/null
	echo 'playwright>=1.50' | $(LOCK) --constraints requirements.lock --output-file requirements-browser.lock - >/dev/null

# docker, or podman where it stands in for it
image:
	@command -v docker >/dev/null || command -v podman >/dev/null || \
	  { echo 'make image needs docker (docs.docker.com/get-docker) or podman (podman.io).' >&2; exit 1; }
	$$(command -v docker || command -v podman) build --build-arg WEIGHTS="$(WEIGHTS)" --tag bert-tutorial .
	@echo 'Now: docker run --rm -it -p 8888:8888 bert-tutorial'

# Not a part of .ci/run
emulate-aarch64:
	.ci/emulate-aarch64

clean:
	rm -rf .venv .venv-peer build dist *.egg-info bert_tutorial/machine/*.so
	rm -rf .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
