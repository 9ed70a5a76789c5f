.PHONY: help up down check test fuzz faults soak

help:
	@echo "make up            start the whole system on http://localhost:3000; Ctrl-C stops it"
	@echo "make down          stop a system that was left running"
	@echo "make check         the quick loop: formatting, lints, dependencies, tests without stores"
	@echo "make test          every check and test, with its own stores"
	@echo "make test T=NAME   the Rust tests whose name contains NAME, with stores if they need them"
	@echo "make faults        break each part of the system under load, and check what clients saw; FAULT=NAME for one, SEED=N"
	@echo "make soak          random faults for MINUTES=N, SEED=N"
	@echo "make fuzz          each fuzz target for a minute; needs a nightly compiler"

up:
	@dev/up

down:
	@dev/down

check:
	@dev/check

test:
	@dev/test $(T)

fuzz:
	@dev/fuzz

faults:
	@dev/faults $(or $(FAULT),all)

soak:
	@dev/faults soak $(or $(MINUTES),60)
