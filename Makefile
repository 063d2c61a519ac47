# Sightline's own commands for people and for CI. `make` lists them.
#
# Python 3.11 or newer is all that must be there. Packages go into .venv, versions from constraints.txt.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DURATION ?= 0
SOURCE ?= synthetic
ARGS ?=
SERVER ?=
FUZZ_SECONDS ?= 600
PROFILE ?= chaos
JOBS ?= 2
SOAK_SECONDS ?= 1800
IMAGES ?= relay relay-rollout server-v1 server-v2 server-bare model-v1 model-v2 export loadtest debug
REGISTRY ?=
GRYPE ?= grype
TAG ?= dev

.DEFAULT_GOAL := help
.PHONY: help run test lint types tests protos dashboards lock bench-engine bench-stack soak bench-peers manifests images images-test images-scan pins publish terraform workflows e2e tools wheel login release chaos demo-rollout conformance fuzz clean

help: ## List the commands.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

# By the environment, as it was written: a camera's URL and its password may hold what a shell, or make, takes for its own.
run: export GIVEN_SOURCE = $(value SOURCE)
run: $(VENV)/run.stamp ## Export a model, start the stack, stream SOURCE (synthetic) for DURATION s (0: until Ctrl-C).
	@exec $(BIN)/sightline up "$$GIVEN_SOURCE" --duration $(DURATION) $(ARGS)

test: lint types tests ## All checks: style, types, tests.

lint: $(VENV)/test.stamp ## Style.
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/test.stamp ## Types.
	$(BIN)/mypy

tests: $(VENV)/test.stamp ## Tests, JOBS (2) at a time.
	@# What another job's tests held up too long is tried again alone, where only what is wrong fails; both are shown.
	$(BIN)/pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS) || \
	  { [ $$? = 1 ] && $(BIN)/pytest --last-failed --last-failed-no-failures none $(ARGS); }

bench-engine: $(VENV)/bench.stamp ## Our engine against ONNX Runtime and OpenVINO (about 4 minutes).
	@$(BIN)/sightline bench engine $(ARGS)

bench-stack: $(VENV)/run.stamp ## What each hop costs (about 7 minutes).
	@$(BIN)/sightline bench stack $(ARGS)

bench-peers: $(VENV)/bench.stamp $(VENV)/run.stamp .venv-peers/stamp ## Sightline beside what one would use instead (10 minutes, and an environment of its own).
	@$(BIN)/python -m bench.run --python .venv-peers/bin/python --plot docs/images/peers.svg $(ARGS)

demo-rollout: $(VENV)/run.stamp ## Roll a good model out, and wrong, slow and dead ones back (2 minutes).
	@$(BIN)/python -m sightline.rollout.demo $(ARGS)

manifests: $(VENV)/test.stamp .venv-checkov/stamp ## Render k8s/ in all combinations and check them, alerts and dashboards too (needs kubectl; 1 minute).
	$(BIN)/pytest -q tests/k8s tests/observability/test_rules.py tests/observability/test_dashboards.py $(ARGS)

soak: $(VENV)/run.stamp ## The stack at full load for SOAK_SECONDS (1800): memory, descriptors, frames.
	@$(BIN)/sightline bench soak --seconds $(SOAK_SECONDS) $(ARGS)

chaos: $(VENV)/test.stamp ## Faults under cameras: ages, recovery, and whether the frames add up (2.5 minutes).
	@$(BIN)/python -m loadtest.chaos

load: $(VENV)/load.stamp ## Run the load profile PROFILE (chaos); docs/load.md says what there is.
	@exec $(BIN)/sightline load $(PROFILE) $(ARGS)

conformance: $(VENV)/test.stamp ## Our checks of TF Serving's protocol, against SERVER (a command; ours if none).
	SIGHTLINE_CONFORMANCE_SERVER='$(SERVER)' $(BIN)/pytest -q tests/conformance $(ARGS)

fuzz: $(VENV)/test.stamp ## Random requests at the server's parsers, for FUZZ_SECONDS (600).
	SIGHTLINE_FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/pytest -q --timeout=0 tests/serving/test_fuzz.py $(ARGS)

protos: $(VENV)/test.stamp ## Generate the messages from the .proto files.
	$(BIN)/python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. --grpc_python_out=. client/wire/relay.proto
	$(BIN)/python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. client/wire/tfserving.proto serving/profiler.proto

dashboards: $(VENV)/test.stamp ## Write Grafana's dashboards from their code.
	$(BIN)/python -m sightline.monitoring.dashboards

images: $(VENV)/test.stamp ## Build IMAGES into build/images, check them, write bills of materials (STAND_INS=1: without registries; 15 minutes).
	[ -z "$(STAND_INS)" ] || images/stand-ins.sh
	images/build.sh $(IMAGES)
	$(BIN)/python -m images.report $(IMAGES:%=build/images/%)

images-test: $(VENV)/test.stamp ## Run the built relay images and stream frames through them (needs root; half a minute).
	SIGHTLINE_IMAGES=build/images $(BIN)/pytest -q tests/images/test_run.py $(ARGS)

images-scan: ## Look the built images' packages up among known vulnerabilities (needs grype).
	for image in $(IMAGES); do $(GRYPE) --fail-on high --only-fixed "oci-dir:build/images/$$image" || exit 1; done

pins: ## Write the digests that the base images' tags have now into the Dockerfile (needs skopeo).
	images/pins.sh

publish: ## Push the built IMAGES to REGISTRY as TAG, sign them, attest their contents (needs skopeo and cosign).
	images/publish.sh '$(REGISTRY)' '$(TAG)' $(IMAGES)

terraform: $(VENV)/test.stamp .venv-checkov/stamp ## Check terraform/ with a mocked provider (needs terraform; 1 minute).
	SIGHTLINE_TERRAFORM_ONLINE=1 $(BIN)/pytest -q tests/terraform $(ARGS)

workflows: $(VENV)/test.stamp ## Check .github/workflows.
	$(BIN)/pytest -q tests/workflows $(ARGS)

e2e: $(VENV)/test.stamp ## The stack in a kind cluster with Istio: 1,000 frames, a canary (needs docker, kind, helm, skopeo; 20 minutes).
	$(BIN)/python -m tests.e2e.cluster

tools: ## Install what some tests skip without, from Debian's packages (needs root or sudo).
	.ci/tools

wheel: $(VENV)/bin/python ## Build the wheel into dist.
	$(BIN)/pip wheel -q --no-deps --wheel-dir dist .

login: ## Log in to REGISTRY, an ECR, with this shell's AWS credentials (needs aws, skopeo, cosign).
	@aws ecr get-login-password | skopeo login --username AWS --password-stdin $(REGISTRY)
	@aws ecr get-login-password | cosign login --username AWS --password-stdin $(REGISTRY)

release: ## Make TAG a GitHub release with the wheel, bills of materials and digests (needs gh).
	gh release create $(TAG) --verify-tag --generate-notes dist/*.whl build/images/*.cdx.json build/images/digests.txt

lock: $(VENV)/bench.stamp $(VENV)/test.stamp ## Write the installed versions into constraints.txt.
	(echo "# What is installed and tested together; made by \`make lock\`."; \
	  $(BIN)/pip freeze --exclude-editable | sed "s/+cpu//") > constraints.txt

clean: ## Remove what was built; not .venv.
	rm -rf build dist runs .pytest_cache .mypy_cache .ruff_cache

# One environment; a stamp for each set of extras that is installed in it.
$(VENV)/run.stamp: EXTRAS = export,serving,mesh,rollout
$(VENV)/test.stamp: EXTRAS = export,serving,mesh,rollout,load,mqtt,track,otel,dev
$(VENV)/load.stamp: EXTRAS = export,serving,mesh,load
$(VENV)/bench.stamp: EXTRAS = export,serving,bench
$(VENV)/%.stamp: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing sightline[$(EXTRAS)] into $(VENV) (first time: some minutes) ..."
	@$(BIN)/pip install -qq --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

.venv-peers/stamp: bench/requirements.txt
	@echo "installing the peers into .venv-peers (first time: some minutes) ..."
	@$(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/pip install -qq --disable-pip-version-check -e . -r bench/requirements.txt
	@touch $@

.venv-checkov/stamp: tests/k8s/checkov.txt
	@echo "installing Checkov into .venv-checkov ..."
	@$(PYTHON) -m venv .venv-checkov
	@.venv-checkov/bin/pip install -qq --disable-pip-version-check -r tests/k8s/checkov.txt
	@touch $@

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Sightline needs Python 3.11 or newer, $(PYTHON) is %d.%d: make PYTHON=..." % sys.version_info[:2])'
	@$(PYTHON) -m venv $(VENV)
