# One non-recursive Makefile; `make help` lists what it does.

BUILD   ?= build
CC      ?= cc
CSTD    := -std=gnu17
WARN    := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla
# CI and `make test` turn warnings into errors; a packager with a newer compiler need not.
WERROR  ?=
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
CPPFLAGS += -D_GNU_SOURCE -I.

V ?= 0
ifeq ($(V),0)
Q   := @
say  = @printf '  %-6s %s\n' $(1) $(patsubst $(BUILD)/%,%,$(2))
endif

.DEFAULT_GOAL := all
.PHONY: all run test unit integration check-tools bench fuzz install clean help setup setup-test lint

# ---- what is built --------------------------------------------------------------------------
# A folder is a layer. Everything in shared/ goes into one archive, each daemon (but its main.c)
# into one of its own, so that tests link the objects that the programs are made of.

PROGRAMS     := socksd relayd-tcp
SRC_shared   := $(sort $(wildcard shared/*/*.c))
SRC_socksd   := $(filter-out socksd/main.c,$(sort $(wildcard socksd/*.c)))
SRC_relayd-tcp := $(filter-out relayd-tcp/main.c,$(sort $(wildcard relayd-tcp/*.c)))
LIBS_shared  := -luv -lnng -lprotobuf-c -lyaml -lcares -lmicrohttpd -ljansson -lpthread
LIBS_socksd  := -lcrypt -lcrypto
TESTS        := $(patsubst tests/%.c,%,$(sort $(wildcard tests/unit/*/test_*.c tests/contract/test_*.c)))
SRC_testlib  := $(sort $(wildcard tests/lib/*.c))
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

$(2)/tests/%: $(2)/obj/tests/%.o $(2)/libtest.a $(2)/libsocksd.a $(2)/librelayd-tcp.a $(2)/libshared.a
	@mkdir -p $$(@D)
	$$(call say,LINK,$$@)
	$$(Q)$$(CC) $(3) -pie $$(CFLAGS) $$(LDFLAGS) -o $$@ $$^ $$(LIBS_shared) $$(LIBS_socksd) -lcmocka

# A fuzz target linked with the replayer: runs its corpus once, no libFuzzer needed.
$(2)/fuzz/%: $(2)/obj/tests/fuzz/%.o $(2)/obj/tests/fuzz/replay.o $(2)/libtest.a $(2)/libsocksd.a $(2)/librelayd-tcp.a $(2)/libshared.a
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

all: $(PROGRAMS:%=$(BUILD)/%)

clean:
	rm -rf $(BUILD)
