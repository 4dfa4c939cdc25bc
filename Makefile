# A thin face over tools/nb.py, which does the work (and runs on Windows too: python tools/nb.py course).
# A Python that is too old is named, with the remedy: make PYTHON=python3.12 course

PYTHON ?= python3
COMMANDS := setup course test lab book build check lint bench clean

.PHONY: help $(COMMANDS)

help:
	@$(PYTHON) tools/nb.py --help

$(COMMANDS):
	@$(PYTHON) tools/nb.py $@
