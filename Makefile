.PHONY: test
test:
	tools/setup
	tools/test
