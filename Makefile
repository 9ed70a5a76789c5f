.PHONY: help up down test

help:
	@echo "make up     start the whole system, and end it on Ctrl-C: http://localhost:3000"
	@echo "make down   end a system that was left running"
	@echo "make test   every check and test, on stores of their own"

up:
	@dev/up

down:
	@dev/down

test:
	@dev/test
