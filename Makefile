# La seule interface du projet. `make` seul montre les cibles.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SOURCES := src conf tests docs
PEERS := build/peers
PORT := 8000

.DEFAULT_GOAL := help
.PHONY: help unit site archive serve shell test mutants doctest lint format types traduire catalogues demo bench bench-live bench-register chaos versions check clean

help: ## Montre cette aide.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

unit: $(READY) ## Exécute les tests unitaires du bus, en quelques secondes, sans le site.
	@$(BIN)/python -m pytest src/share_kernel tests/share_kernel

site: $(READY) ## Construit le site français et anglais dans build/site.
	@$(BIN)/python docs/_ext/build_site.py

archive: $(READY) ## Écrit ce qui se copie ou s’installe dans un projet, dans les deux langues.
	@$(BIN)/python docs/_ext/archive.py

# The script builds both languages; the build that sphinx-autobuild insists on is made empty.
serve: $(READY) ## Sert le site sur http://127.0.0.1:8000/ et le reconstruit à chaque changement.
	@$(BIN)/python -u -m sphinx_autobuild --host 127.0.0.1 --port $(PORT) \
		--watch locale --watch src --re-ignore '\.mo$$|\.pyc$$|__pycache__|/\.' \
		--pre-build '$(BIN)/python docs/_ext/build_site.py preview' \
		-b dummy -C -Q -D root_doc=modules/event_bus -d build/doctrees/none docs build/site

test: $(READY) build/site/index.html ## Exécute les tests et chaque exemple des pages ; montre ce qu’ils ne couvrent pas.
	@$(BIN)/python -m pytest -n auto --maxprocesses 2 --dist loadfile --cov --cov-report term

mutants: $(READY) ## Glisse des fautes dans le bus et compte celles que ses tests voient : MUTANTS=300 SEED=0.
	@$(BIN)/python -m tests.mutants

shell: $(READY) ## Ouvre le shell Django du projet de référence, où coller les exemples.
	@$(BIN)/python manage.py migrate --verbosity 0
	@$(BIN)/python manage.py shell

PAGES := docs src README.md
doctest: $(READY) ## Exécute seulement les exemples, ou ceux d’une page : PAGES=docs/index.md.
	@$(BIN)/python -m pytest $(PAGES)

lint: $(READY) ## Vérifie le style et les imports.
	@$(BIN)/ruff check $(SOURCES) && $(BIN)/ruff format --check $(SOURCES) \
		|| { echo 'Run `make format`, then correct by hand what it leaves.'; exit 1; }
	@$(BIN)/lint-imports

format: $(READY) ## Met le code en forme et range ses imports.
	@$(BIN)/ruff check --quiet --fix $(SOURCES)
	@$(BIN)/ruff format $(SOURCES)

types: $(READY) ## Vérifie les types.
	@$(BIN)/mypy

traduire: $(READY) ## Met à jour les catalogues anglais d’après les pages.
	@$(BIN)/python docs/_ext/catalogues.py update

demo: $(READY) ## Montre le bus à l’œuvre : deux processus, aucun serveur ; DEMO=--faults en tue.
	@$(BIN)/python -m conf.demo $(DEMO)

bench: $(READY) ## Mesure le bus, en rapports, contre ce qui fait la même chose.
	@$(BIN)/python -m tests.bench

bench-live: $(READY) ## Mesure les pages vivantes dans Chromium ; le site doit être construit.
	@$(BIN)/python -m tests.bench.live

bench-register: $(PEERS)/.ready ## Mesure le registre et ses pairs, sur un PostgreSQL privé : JOBS=2000 ROUNDS=3 ROWS=1000000.
	@$(PEERS)/bin/python -m tests.bench.register

chaos: $(READY) ## Tue tout au hasard sur quatre piles, et compare ce qui devait arriver.
	@$(BIN)/python -m tests.chaos

versions: $(READY) ## Rejoue les tests sur chaque Python présent, avec Django 5.2 et 6.
	@$(BIN)/nox

catalogues: $(READY) ## Nomme ce qui reste à traduire.
	@$(BIN)/python docs/_ext/catalogues.py check

check: lint types catalogues ## Tout ce que la CI vérifie en plus du site et des tests.
	@$(BIN)/python manage.py check
	@$(BIN)/python manage.py makemigrations --check --dry-run

clean: ## Efface ce que les autres cibles ont produit.
	rm -rf build $(VENV) .nox *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find locale -name '*.mo' -delete
	find $(SOURCES) -name __pycache__ -prune -exec rm -r {} +
	rm -rf __pycache__

# The tests read the built site: they build it if nobody has.
build/site/index.html: $(READY) $(shell find docs locale src -type f -not -name '*.mo' -not -name '*.pyc')
	@$(BIN)/python docs/_ext/build_site.py

# What the register is compared with stays out of the environment of the tests.
$(PEERS)/.ready: pyproject.toml constraints.txt
	@sh ./.ci/venv $(PEERS) '.[peers]'
	@touch $@

$(READY): pyproject.toml constraints.txt
	@sh ./.ci/venv $(VENV)
	@touch $@
