# Thin calls; what they do is in tools/. Settings: NAME (of tests, or how names begin), RANKS, ACCELERATOR, BUILD, SANITIZE, PREFIX, MESON_OPTIONS, NO_INSTALL, LEVIN_CACHE, LEVIN_LIBTORCH.
.PHONY: run test test-more test-sanitize test-all bench build install format lint clean
.NOTPARALLEL:

run:
	tools/setup
	tools/build --target main-job
	tools/run
test:
	tools/setup tests
	tools/build
	tools/test $(NAME)
test-more:
	tools/setup tests
	tools/build
	tools/test --more
test-sanitize:
	tools/setup
	SANITIZE=address,undefined tools/build
	SANITIZE=address,undefined tools/test
test-all:
	tools/setup tests
	tools/setup peers
	tools/setup services
	tools/setup simulate
	tools/setup browser
	tools/build
	tools/test --all
bench:
	tools/setup peers
	tools/build -Dbenches=true
	tools/bench/run
build:
	tools/setup
	tools/build
install: build
	tools/install
format:
	tools/setup lint
	tools/format
lint: build
	tools/setup lint
	tools/lint
clean:
	tools/build --clean
