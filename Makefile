# One non-recursive Makefile; `make help` lists what it does.

BUILD   ?= build
CC      ?= cc
CSTD    := -std=gnu17
WARN    := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla
# CI and `make test` turn warnings into errors; a packager with a newer compiler need not.
WERROR  ?=
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
CPPFLAGS += -D_GNU_SOURCE -I.

JOBS ?= $(shell nproc)
V ?= 0
ifeq ($(V),0)
Q   := @
say  = @printf '  %-6s %s\n' $(1) $(patsubst $(BUILD)/%,%,$(2))
endif

.DEFAULT_GOAL := all
.PHONY: all run test check unit replay system bench soak fuzz install clean help setup setup-test

# ---- what is built --------------------------------------------------------------------------
# A folder is a layer. Everything in shared/ goes into one archive, each daemon (but its main.c)
# into one of its own, so that tests link the objects that the programs are made of.

# Debian 12's packages for building; those for testing are listed in tests/packages.
BUILD_PACKAGES := gcc libc6-dev protobuf-c-compiler libuv1-dev libnng-dev libprotobuf-c-dev \
                  libyaml-dev libc-ares-dev libmicrohttpd-dev libjansson-dev libcrypt-dev libssl-dev \
                  libmnl-dev libnetfilter-conntrack-dev

PROGRAMS     := socksd relayd-tcp relayd-udp sockscat
SRC_shared   := $(sort $(wildcard shared/*/*.c))
SRC_socksd   := $(filter-out socksd/main.c,$(sort $(wildcard socksd/*.c)))
SRC_relayd-tcp := $(filter-out relayd-tcp/main.c,$(sort $(wildcard relayd-tcp/*.c)))
SRC_relayd-udp := $(filter-out relayd-udp/main.c,$(sort $(wildcard relayd-udp/*.c)))
SRC_sockscat := $(sort $(wildcard socksd/cmd/sockscat*.c))
LIBS_shared  := -Wl,--as-needed -luv -lnng -lprotobuf-c -lyaml -lcares -lmicrohttpd -ljansson \
                -lpthread -lmnl -lnetfilter_conntrack
LIBS_socksd  := -lcrypt -lcrypto
TESTS        := $(patsubst tests/%.c,%,$(sort $(wildcard tests/unit/*/test_*.c tests/contract/test_*.c)))
TSAN_TESTS   := unit/n2/test_link unit/n2/test_link_peers # where two threads meet
SRC_testlib  := $(sort $(wildcard tests/lib/*.c))
# shared/nat, driven by hand.
NAT_DRIVER   := $(BUILD)/asan/tests/contract/nat_driver
FUZZERS      := $(patsubst tests/fuzz/%.c,%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
SRC_bench    := $(sort $(wildcard tests/bench/*.c))

PROTO_C := $(BUILD)/gen/proto/n2.pb-c.c
PROTO_H := $(BUILD)/gen/proto/n2.pb-c.h

# ---- one set of rules per way of building -----------------------------------------------------
# variant,directory,flags
define variant
OBJ_$(1)_shared  := $$(SRC_shared:%.c=$(2)/obj/%.o) $(2)/obj/gen/n2.pb-c.o
OBJ_$(1)_socksd  := $$(SRC_socksd:%.c=$(2)/obj/%.o)
OBJ_$(1)_relayd-tcp := $$(SRC_relayd-tcp:%.c=$(2)/obj/%.o)
OBJ_$(1)_relayd-udp := $$(SRC_relayd-udp:%.c=$(2)/obj/%.o)
OBJ_$(1)_testlib := $$(SRC_testlib:%.c=$(2)/obj/%.o)

$(2)/obj/%.o: %.c $$(PROTO_H) Makefile
	@mkdir -p $$(@D)
	$$(call say,CC,$$@)
	$$(Q)$$(CC) $$(CSTD) $(3) $$(WARN) $$(WERROR) $$(CPPFLAGS) -I$(BUILD)/gen -DVERSION='"$$(VERSION)"' $$(CFLAGS) -MMD -MP -c -o $$@ $$<

$(2)/obj/gen/n2.pb-c.o: $$(PROTO_C) $$(PROTO_H)
	@mkdir -p $$(@D)
	$$(Q)$$(CC) $$(CSTD) $(3) -I$(BUILD)/gen $$(CFLAGS) -c -o $$@ $$<

$(2)/libshared.a: $$(OBJ_$(1)_shared)
$(2)/libsocksd.a: $$(OBJ_$(1)_socksd)
$(2)/librelayd-tcp.a: $$(OBJ_$(1)_relayd-tcp)
$(2)/librelayd-udp.a: $$(OBJ_$(1)_relayd-udp)
$(2)/libtest.a: $$(OBJ_$(1)_testlib)
$(2)/lib%.a:
	$$(call say,AR,$$@)
	$$(Q)rm -f $$@ && ar rcs $$@ $$^

$(2)/socksd: $(2)/obj/socksd/main.o $(2)/libsocksd.a $(2)/libshared.a
	$$(call say,LINK,$$@)
	$$(Q)$$(CC) $(3) -pie $$(CFLAGS) $$(LDFLAGS) -o $$@ $$^ $$(LIBS_shared) $$(LIBS_socksd)
$(2)/relayd-tcp: $(2)/obj/relayd-tcp/main.o $(2)/librelayd-tcp.a $(2)/libshared.a
	$$(call say,LINK,$$@)
	$$(Q)$$(CC) $(3) -pie $$(CFLAGS) $$(LDFLAGS) -o $$@ $$^ $$(LIBS_shared)
$(2)/relayd-udp: $(2)/obj/relayd-udp/main.o $(2)/librelayd-udp.a $(2)/libshared.a
	$$(call say,LINK,$$@)
	$$(Q)$$(CC) $(3) -pie $$(CFLAGS) $$(LDFLAGS) -o $$@ $$^ $$(LIBS_shared)

$(2)/sockscat: $$(SRC_sockscat:%.c=$(2)/obj/%.o) $(2)/libshared.a
	$$(call say,LINK,$$@)
	$$(Q)$$(CC) $(3) -pie $$(CFLAGS) $$(LDFLAGS) -o $$@ $$^

# For applications: one object that shows nothing but the names of shared/client/socksc.h.
$(2)/libsocksc.a: $$(patsubst %.c,$(2)/obj/%.o,$$(wildcard shared/client/*.c)) $(2)/libshared.a
	$$(call say,AR,$$@)
	$$(Q)rm -f $$@ && ld -r -o $(2)/obj/socksc.o $$^ && objcopy -w -G 'socksc_*' $(2)/obj/socksc.o && ar rcs $$@ $(2)/obj/socksc.o

$(2)/tests/%: $(2)/obj/tests/%.o $(2)/libtest.a $(2)/libsocksd.a $(2)/librelayd-tcp.a $(2)/librelayd-udp.a $(2)/libshared.a
	@mkdir -p $$(@D)
	$$(call say,LINK,$$@)
	$$(Q)$$(CC) $(3) -pie $$(CFLAGS) $$(LDFLAGS) -o $$@ $$^ $$(LIBS_shared) $$(LIBS_socksd) -lcmocka

# A fuzz target linked with the replayer: runs its corpus once, no libFuzzer needed.
$(2)/fuzz/%: $(2)/obj/tests/fuzz/%.o $(2)/obj/tests/fuzz/replay.o $(2)/libtest.a $(2)/libsocksd.a $(2)/librelayd-tcp.a $(2)/librelayd-udp.a $(2)/libshared.a
	@mkdir -p $$(@D)
	$$(call say,LINK,$$@)
	$$(Q)$$(CC) $(3) -pie $$(CFLAGS) $$(LDFLAGS) -o $$@ $$^ $$(LIBS_shared) $$(LIBS_socksd)

-include $$(wildcard $(2)/obj/*/*.d $(2)/obj/*/*/*.d $(2)/obj/*/*/*/*.d)
endef

SAN_asan := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -fPIE
SAN_tsan := -O1 -g -fsanitize=thread -fno-omit-frame-pointer -fPIE
RELEASE  := -O2 -g -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fPIE

$(eval $(call variant,release,$(BUILD),$(RELEASE)))
$(eval $(call variant,asan,$(BUILD)/asan,$(SAN_asan)))
$(eval $(call variant,tsan,$(BUILD)/tsan,$(SAN_tsan)))

# Only the program and its tests know each other's objects; keep what make thinks intermediate.
.SECONDARY:

$(BUILD)/gen/proto/%.pb-c.c $(BUILD)/gen/proto/%.pb-c.h: proto/%.proto
	@mkdir -p $(BUILD)/gen
	$(call say,PROTO,$<)
	$(Q)protoc-c --c_out=$(BUILD)/gen $<

$(BUILD)/socksbench: $(SRC_bench:%.c=$(BUILD)/obj/%.o)
	$(call say,LINK,$@)
	$(Q)$(CC) $(RELEASE) -pie $(CFLAGS) $(LDFLAGS) -o $@ $^

# libFuzzer wants its own compiler; everything the target needs is compiled with its coverage.
$(BUILD)/libfuzzer/%: tests/fuzz/%.c $(SRC_shared) $(SRC_socksd) $(SRC_relayd-tcp) $(SRC_relayd-udp) $(SRC_testlib) $(PROTO_C)
	@mkdir -p $(@D)
	$(call say,FUZZER,$@)
	$(Q)clang $(CSTD) -O1 -g -fsanitize=fuzzer,address,undefined $(CPPFLAGS) -I$(BUILD)/gen \
	    -DVERSION='"$(VERSION)"' -o $@ $< $(SRC_shared) $(SRC_socksd) $(SRC_relayd-udp) $(filter-out tests/lib/sock%.c,$(SRC_testlib)) $(PROTO_C) \
	    $(LIBS_shared) $(LIBS_socksd) -lcmocka

# ---- what people type -------------------------------------------------------------------------

all: $(PROGRAMS:%=$(BUILD)/%)

setup:
	@.ci/setup $(BUILD_PACKAGES)

setup-test: setup
	@.ci/setup -f tests/packages
	@tests/interop/setup $(BUILD)

run: setup
	$(Q)$(MAKE) --no-print-directory -j$(JOBS) all
	$(BUILD)/socksd --standalone

test: setup-test
	$(Q)$(MAKE) --no-print-directory check

# The tests themselves, on a machine that has been set up: built side by side, run one after another.
check:
	$(Q)$(MAKE) --no-print-directory -j$(JOBS) $(CHECKED)
	$(Q)$(MAKE) --no-print-directory unit
	$(Q)$(MAKE) --no-print-directory replay
	$(Q)$(MAKE) --no-print-directory system

CHECKED := $(TESTS:%=$(BUILD)/asan/tests/%) $(TSAN_TESTS:%=$(BUILD)/tsan/tests/%) \
           $(FUZZERS:%=$(BUILD)/asan/fuzz/%) $(PROGRAMS:%=$(BUILD)/asan/%) $(BUILD)/socksbench \
           $(NAT_DRIVER)

unit: $(TESTS:%=$(BUILD)/asan/tests/%) $(TSAN_TESTS:%=$(BUILD)/tsan/tests/%)
	$(Q)tests/run $(TESTS:%=$(BUILD)/asan/tests/%)
	$(Q)TSAN_OPTIONS="$(if $(wildcard tests/lib/tsan.supp),suppressions=$(CURDIR)/tests/lib/tsan.supp)" tests/run $(TSAN_TESTS:%=$(BUILD)/tsan/tests/%)

replay: $(FUZZERS:%=$(BUILD)/asan/fuzz/%)
	$(Q)tests/run --replay $(FUZZERS:%=$(BUILD)/asan/fuzz/%)

# Real processes: the N2 conformance suite, integration, third-party clients.
PYTEST := /usr/bin/python3 -B -m pytest -q -n 4 -p no:cacheprovider
system: $(PROGRAMS:%=$(BUILD)/asan/%) $(BUILD)/socksbench $(NAT_DRIVER)
	$(Q)BUILD_DIR=$(BUILD)/asan RELAYD_TCP=$(BUILD)/asan/relayd-tcp RELAYD_UDP=$(BUILD)/asan/relayd-udp \
	    NAT_DRIVER=$(NAT_DRIVER) $(PYTEST) $(PYTEST_ARGS) \
	    tests/contract/n2 tests/contract/nat tests/integration tests/interop

bench: all $(BUILD)/socksbench
	$(Q).ci/setup dante-server microsocks python3 iproute2
	$(Q)tests/bench/run --build $(BUILD) $(BENCH_ARGS)

# A million UDP associations: memory and descriptors stay flat.
soak: all $(BUILD)/socksbench
	$(Q)tests/bench/soak --build $(BUILD) $(SOAK_ARGS)

FUZZ_SECONDS ?= 60
fuzz: $(FUZZERS:%=$(BUILD)/libfuzzer/%)
	$(Q)set -e; for f in $(FUZZERS); do \
	    corpus=$(BUILD)/corpus/$${f#fuzz_}; mkdir -p $$corpus; \
	    echo "== $$f"; $(BUILD)/libfuzzer/$$f -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 \
	        $$corpus tests/fuzz/corpus/$${f#fuzz_}; done

PREFIX ?= /usr/local
DAEMONS := $(filter-out sockscat,$(PROGRAMS))
install: all $(BUILD)/libsocksc.a
	install -D -t $(DESTDIR)$(PREFIX)/sbin $(DAEMONS:%=$(BUILD)/%)
	install -D -t $(DESTDIR)$(PREFIX)/bin $(BUILD)/sockscat
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man1 socksd/cmd/sockscat.1
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/include shared/client/socksc.h
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/lib $(BUILD)/libsocksc.a

clean:
	rm -rf $(BUILD)

help:
	@echo 'make          the programs, into $(BUILD)/'
	@echo 'make run      set up, build, run socksd --standalone with its relays'
	@echo 'make test     set up, build with sanitizers, pass every test'
	@echo 'make check    the same without set-up; parts of it: unit replay system'
	@echo 'make bench    ratios against danted and microsocks, one run'
	@echo 'make soak     a million UDP associations, memory and descriptors watched'
	@echo 'make fuzz     libFuzzer over every target, FUZZ_SECONDS each'
	@echo 'make install  below $(PREFIX)'
