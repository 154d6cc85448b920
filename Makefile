# make            says what there is
# make demo       and make test need Python 3.11 or newer and make, and nothing else; each makes .venv itself.

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-slow checks format lint types imports sql-lint tests tests-distribution prove \
	prove-long model simulation crashes teeth fuzz mutation contract bench bench-webhooks lock wheel venv clean

BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest

# Two workers: what the smallest machine that we promise for has cores.
PYTEST_WORKERS ?= 2
# What would do the same again: it touches no SQL, or starts a server of its own choosing.
WITHOUT_SQL := $(addprefix --ignore=tests/integration/,test_demo.py test_portone_client.py test_portone_faults.py test_web.py)
SERVERS := $(wildcard /usr/lib/postgresql/1[5-9]/bin)

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | awk -F '\t' '{ printf "  make %-14s %s\n", $$1, $$2 }'

demo: venv ## a whole billing run against a simulated PortOne, ending with the ledger beside PortOne's truth
	@$(BIN)/billing-worker demo $(DEMO_OPTIONS)

test: venv checks tests tests-distribution ## everything that must hold before a change goes in; some sixteen minutes on two cores

test-fast: venv ## the tests that take seconds
	@$(PYTEST) -n $(PYTEST_WORKERS) -m "not slow" --ignore=tests/crash

test-slow: venv ## the others: crashes, long simulations
	@$(PYTEST) -m slow
	@$(PYTEST) tests/crash

checks: venv lint types imports sql-lint

format: venv ## rewrite the files the way make lint wants them
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lint: venv ## layout and common mistakes
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

types: venv ## mypy, strict
	@$(BIN)/mypy

imports: venv ## which room may import which
	@$(BIN)/lint-imports --no-logo

sql-lint: venv ## migrations that would lock or break a running database
	@$(BIN)/squawk sql/migrations/*.sql

tests: venv
	@$(PYTEST) -n $(PYTEST_WORKERS) --dist worksteal --ignore=tests/crash
	@$(PYTEST) -n $(PYTEST_WORKERS) --dist loadfile tests/crash

# The oldest supported servers are the distributions' own: once more on each that is installed here.
tests-distribution: venv
	@for server in $(SERVERS); do \
		test -x $$server/postgres || continue; \
		echo "integration tests on $$server"; \
		BILLING_TEST_POSTGRES_BIN=$$server $(PYTEST) -n $(PYTEST_WORKERS) --dist worksteal tests/integration $(WITHOUT_SQL) || exit 1; \
	done

prove: venv ## the evidence behind the promises, as one table; under 15 minutes on two cores (docs/proof.md)
	@$(BIN)/python -m tests.prove $(PROVE_OPTIONS)

prove-long: venv ## the same for hours; rewrites the figures of docs/proof.md
	@$(BIN)/python -m tests.prove --long --write $(PROVE_OPTIONS)

model: venv ## the protocol on paper, every interleaving (wants spin and a C compiler)
	@$(BIN)/python -m tests.formal $(MODEL_OPTIONS)

simulation: venv ## the real workers in virtual time, under faults; SIMULATION_OPTIONS="--seed 7 --trace" replays one
	@$(BIN)/python -m tests.simulation $(SIMULATION_OPTIONS)

crashes: venv ## real workers, a real Postgres, real signals
	@$(BIN)/python -m tests.crash $(CRASHES_OPTIONS)

teeth: venv ## versions that are broken on purpose, each of which must be caught
	@$(BIN)/python -m tests.teeth $(TEETH_OPTIONS)

fuzz: venv ## mutated answers, settings and files, for minutes (FUZZ_OPTIONS="--minutes 60")
	@$(BIN)/python -m tests.fuzz $(FUZZ_OPTIONS)

mutation: venv ## every rule altered, one token at a time; a test must notice
	@$(BIN)/python -m tests.mutation $(MUTATION_OPTIONS)

contract: venv ## what we assume of PortOne, against the simulator or against a test channel of yours
	@$(PYTEST) tests/contract $(CONTRACT_OPTIONS)

bench: venv ## charges a second and processor time per charge, beside the bare HTTP client
	@$(BIN)/python -m tests.benchmarks.charges $(BENCH_OPTIONS)

bench-webhooks: venv ## from a webhook to the ledger, and charges under a flood of webhooks; some ten minutes
	@$(BIN)/python -m tests.benchmarks.webhooks $(BENCH_OPTIONS)

lock: venv ## choose the newest allowed versions anew and write the lock files
	@.ci/lock

wheel: venv ## build dist/*.whl
	@$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

venv:
	@.ci/venv

clean: ## remove .venv and everything else that was made here
	rm -rf .venv .venv-lock dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
