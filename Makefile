# Two commands: `make demo` answers a question over real documents, `make test` checks everything.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
TORCH  := torch==2.13.0
STORE  := demo-store
BENCH  ?=
ASKED  ?= 200
QUESTION ?= What does PEP 8 recommend as the maximum line length?
PIP    := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow lint types wheel bench eval-answers constraints clean

help: ## say what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# torch goes first: its pinned release has a CPU build, which a bare `torch` in a dependency list would not choose
$(VENV)/.langbert: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) install --quiet --progress-bar on $(TORCH) --constraint constraints.txt
	$(PIP) install --quiet --progress-bar on --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.langbert-dev: $(VENV)/.langbert
	$(PIP) install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@

$(VENV)/.langbert-bench: $(VENV)/.langbert
	$(PIP) install --quiet --constraint constraints.txt --editable ".[bench]"
	@touch $@

demo: $(VENV)/.langbert ## install, index examples/documents, answer a question with citations
	@$(BIN)/langbert models pull e5-small
	@$(BIN)/langbert index examples/documents --store $(STORE) --prune
	@$(BIN)/langbert ask "$(QUESTION)" --store $(STORE)
	@printf '\nWorth typing next:\n'
	@printf '  %s\n' \
	  '$(BIN)/langbert ask "How are type hints written for dictionaries with fixed keys?" --store $(STORE)' \
	  '$(BIN)/langbert search "maximum line length" --store $(STORE)' \
	  '$(BIN)/langbert index YOUR_FOLDER --store my-store' \
	  '$(BIN)/langbert ask "…" --store my-store --json' \
	  '$(BIN)/python examples/langchain_chain.py'

test: $(VENV)/.langbert-dev lint types ## install what the tests need, then lint, type-check and run the tests
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-slow: $(VENV)/.langbert-dev ## the tests that take minutes
	$(BIN)/python -m pytest -m slow -n 2

lint: $(VENV)/.langbert-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.langbert-dev
	$(BIN)/mypy

bench: $(VENV)/.langbert-bench ## embeddings side by side with their peers: BENCH="--data SQUAD.json --seconds 80"
	$(BIN)/python benchmarks/embedding.py $(BENCH)

# a stopped run goes on: every answer is kept in answers-benchmark/
eval-answers: $(VENV)/.langbert-bench ## all that answers are measured by: DATA=FOLDER of squad, cmrc2018, clapnq, hotpotqa, aragog
	@test -d "$(DATA)" || { echo "give the folder of the sets: make eval-answers DATA=FOLDER"; exit 2; }
	@mkdir -p answers-benchmark
	$(BIN)/langbert eval answers --data $(DATA)/squad/dev-half-v1.1.json --questions $(ASKED) --threshold 0 --resume \
	  --results answers-benchmark/squad1.jsonl
	$(BIN)/langbert eval answers --data $(DATA)/squad/dev-half-v2.0.json --questions $(ASKED) --absent --resume \
	  --results answers-benchmark/squad2.jsonl
	$(BIN)/langbert eval answers --data $(DATA)/cmrc2018/dev.json --questions $(ASKED) --threshold 0 --resume \
	  --results answers-benchmark/cmrc.jsonl
	$(BIN)/langbert eval evidence --questions $(ASKED) --data $(DATA)/clapnq/dev_answerable.jsonl \
	  --data $(DATA)/clapnq/dev_unanswerable.jsonl
	$(BIN)/langbert eval evidence --questions $(ASKED) --data $(DATA)/hotpotqa/dev.json
	$(BIN)/python benchmarks/aragog.py --data $(DATA)/aragog --mode extract

wheel: $(VENV)/.langbert-dev ## build dist/*.whl
	$(BIN)/python -m build --wheel

constraints: $(VENV)/.langbert-dev ## solve constraints.txt anew (needs uv)
	{ sed -n '/^#/p' constraints.txt; \
	  echo "$(TORCH)" | uv pip compile --quiet --universal --python-version 3.10 --all-extras --no-annotate --no-header \
	    pyproject.toml - | grep -vE '^(nvidia-|cuda-|triton)'; } > constraints.new
	mv constraints.new constraints.txt

clean: ## remove what was built, but not .venv
	rm -rf build dist $(STORE) .mypy_cache .pytest_cache .ruff_cache .hypothesis
