# SPDX-License-Identifier: MIT
#
# make            the program, build/ubd-compose, and the driver where the kernel's headers are
# make kmod       the driver for the running kernel (KDIR=… for another)
# make check      all tests: unit, simulator, command line, VM; installs what they need
# make mutants    deliberate bugs, and whether the tests catch them
# make driver-mutants  the same for the driver, each in a VM
# make fuzz       libFuzzer: T=json, label, bitmap, control, plan, qcow2 or thin; MINUTES
# make coverage   lines that the unit tests and the simulator run
# make soak       the simulator on fresh seeds for MINUTES, each life LONGER times the usual
# make replay     the legs of a VM under load as power cuts may leave them, each opened and judged
# make differential  REQUESTS random requests for each pair, to ours and to the kernel's dm and md
# make check-vm  the VM tests alone, all of them on both kernels
# make check-newest  the device tests over ubd and ublk on the newest kernel of Debian's other suites
# make check-debug  the VM tests on a kernel with KASAN, lockdep and kmemleak, built once: KERNEL (6.1)
# make driver-fuzz  hostile commands on that kernel: COMMANDS, SEED; make driver-fuzz-uml: in User-mode Linux, much faster
# make storm     kills, recoveries, openers, loads and changes, N of each on KERNEL
# make demo       the main job in a small VM, to watch
# make bench      instructions and times per I/O beside the kernel's own dm and md, in a VM
# make bench-plot more loads, drawn to build/bench/wide-KERNEL.png (BENCH_KERNEL=6.12); needs gnuplot
# make install    the program, the driver, the schema
#
# Every composer/*.c and targets/*.c belongs to the program; every tests/unit/test_*.c is a test
# program of its own, linked with all of them but main.c under ASan and UBSan.

CC ?= gcc
PREFIX ?= /usr/local
KDIR ?= /lib/modules/$(shell uname -r)/build
BUILD := build
# V=1 shows the commands.
Q := $(if $(V),,@)

PACKAGES := liburing json-c blkid uuid libisal zlib libzstd
WARNINGS := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	-Wpointer-arith -Wno-unused-parameter -Wvla
CPPFLAGS += -D_GNU_SOURCE -DHAVE_ISAL -Icomposer -Itargets -Ikmod
CFLAGS ?= -O2 -g
# The program as a whole is 50 instructions a request cheaper (make bench). Fat: the simulator takes the same objects as they are.
LTO ?= $(if $(findstring clang,$(CC)),,-flto=auto -ffat-lto-objects)
ALL_CFLAGS = -std=gnu11 $(WARNINGS) $(CFLAGS) $(shell pkg-config --cflags $(PACKAGES))
LIBS = $(shell pkg-config --libs $(PACKAGES)) -pthread
SANITIZE := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer

SOURCES := $(wildcard composer/*.c targets/*.c)
ASSEMBLY := $(wildcard composer/*.S)
OBJECTS := $(SOURCES:%.c=$(BUILD)/release/%.o) $(ASSEMBLY:%.S=$(BUILD)/release/%.o)
TEST_OBJECTS := $(filter-out %/main.o,$(SOURCES:%.c=$(BUILD)/asan/%.o)) \
	$(ASSEMBLY:%.S=$(BUILD)/asan/%.o)
UNIT_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(wildcard tests/unit/test_*.c))
HELPERS := $(patsubst tests/unit/%.c,$(BUILD)/asan/tests/unit/%.o,\
	$(filter-out tests/unit/test_%.c,$(wildcard tests/unit/*.c)))
HELPERS := $(filter-out %_main.o,$(HELPERS))

.DELETE_ON_ERROR:
.PHONY: all soak mutants mutants-built driver-mutants driver-fuzz driver-fuzz-uml fuzz coverage check fuzz-checks check-layers check-vm check-debug check-newest storm demo replay differential bench bench-plot kmod install clean deps format

all: $(BUILD)/ubd-compose $(if $(wildcard $(KDIR)/Makefile),kmod)

$(BUILD)/ubd-compose: $(OBJECTS)
	@echo "  LD  $@"
	$(Q)$(CC) $(ALL_CFLAGS) $(LTO) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/release/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC  $@"
	$(Q)$(CC) $(CPPFLAGS) $(ALL_CFLAGS) $(LTO) -MMD -MP -c -o $@ $<

$(BUILD)/asan/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC  $@"
	$(Q)$(CC) $(CPPFLAGS) $(ALL_CFLAGS) $(SANITIZE) -MMD -MP -c -o $@ $<

# The schema is part of the program (composer/schema_text.S). Two rules: of a pattern rule with two
# targets, make would think that one run makes both.
$(BUILD)/release/%.o: %.S $(wildcard schemas/*.json)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -Ischemas -c -o $@ $<

$(BUILD)/asan/%.o: %.S $(wildcard schemas/*.json)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -Ischemas -c -o $@ $<

$(BUILD)/unit/%: $(BUILD)/asan/tests/unit/%.o $(HELPERS) $(TEST_OBJECTS)
	@mkdir -p $(@D)
	@echo "  LD  $@"
	$(Q)$(CC) $(ALL_CFLAGS) $(SANITIZE) -o $@ $^ $(LIBS) -lcmocka

$(BUILD)/tests/schema-check: $(BUILD)/asan/tests/unit/schema_check_main.o $(TEST_OBJECTS)
	@mkdir -p $(@D)
	@echo "  LD  $@"
	$(Q)$(CC) $(ALL_CFLAGS) $(SANITIZE) -o $@ $^ $(LIBS)

# The simulator has its own leaves: tests/sim/image.c takes the place of composer/leaf_io.c.
SIM_SOURCES := $(filter-out composer/main.c composer/leaf_io.c,$(SOURCES)) $(wildcard tests/sim/*.c)
SIM_RELEASE := $(SIM_SOURCES:%.c=$(BUILD)/release/%.o) $(ASSEMBLY:%.S=$(BUILD)/release/%.o)
SIM_ASAN := $(SIM_SOURCES:%.c=$(BUILD)/asan/%.o) $(ASSEMBLY:%.S=$(BUILD)/asan/%.o)

$(BUILD)/tests/sim: $(SIM_RELEASE)
	@mkdir -p $(@D)
	@echo "  LD  $@"
	$(Q)$(CC) $(ALL_CFLAGS) -fno-lto -o $@ $^ $(LIBS)

$(BUILD)/tests/sim-asan: $(SIM_ASAN)
	@mkdir -p $(@D)
	@echo "  LD  $@"
	$(Q)$(CC) $(ALL_CFLAGS) $(SANITIZE) -o $@ $^ $(LIBS)

.PRECIOUS: $(BUILD)/fuzz/%.o $(BUILD)/asan/%.o $(BUILD)/asan/tests/unit/%.o

kmod:
	$(Q)$(MAKE) --no-print-directory -C kmod KDIR=$(KDIR)

deps:
	@tests/deps

check: deps
	@$(MAKE) --no-print-directory -j2 all $(UNIT_TESTS) $(BUILD)/tests/schema-check \
		$(BUILD)/tests/sim $(BUILD)/tests/sim-asan $(FUZZ_CHECKS)
	@tests/check

# The layers hold: targets name nothing of the system, nor of io_uring, files or threads.
check-layers: $(patsubst targets/%.c,$(BUILD)/release/targets/%.o,$(wildcard targets/*.c))
	@tests/layers $^

# libFuzzer over tests/fuzz/fuzz_T.c: make fuzz T=plan MINUTES=5. Inputs that failed stay in build/fuzz.
T ?= json
FUZZ_SANITIZE := -O1 -g -w -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
FUZZ_OBJECTS := $(patsubst %.c,$(BUILD)/fuzz/%.o,$(filter-out composer/main.c,$(SOURCES))) \
	$(ASSEMBLY:%.S=$(BUILD)/asan/%.o)

$(BUILD)/fuzz/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC  $@"
	$(Q)clang $(CPPFLAGS) -std=gnu11 $(FUZZ_SANITIZE) $(shell pkg-config --cflags $(PACKAGES)) \
		-MMD -MP -c -o $@ $<

$(BUILD)/fuzz/fuzz_%: $(BUILD)/fuzz/tests/fuzz/fuzz_%.o $(FUZZ_OBJECTS)
	@echo "  LD  $@"
	$(Q)clang -fsanitize=fuzzer,address,undefined -o $@ $^ $(LIBS)

fuzz: $(BUILD)/fuzz/fuzz_$(T)
	@mkdir -p $(BUILD)/fuzz/corpus-$(T)
	$< -max_total_time=$$(($(MINUTES) * 60)) -artifact_prefix=$(BUILD)/fuzz/ -print_final_stats=1 \
		$(if $(wildcard tests/fuzz/$(T).dict),-dict=tests/fuzz/$(T).dict) \
		$(BUILD)/fuzz/corpus-$(T) $(wildcard tests/fuzz/$(T))

# The same on the inputs in the tree alone, without libFuzzer, for tests/fuzz/check.
FUZZ_CHECKS := $(patsubst tests/fuzz/%/,$(BUILD)/fuzz-check/%,$(wildcard tests/fuzz/*/))

$(BUILD)/fuzz-check/%: $(BUILD)/asan/tests/fuzz/fuzz_%.o $(BUILD)/asan/tests/fuzz/corpus_main.o \
		$(TEST_OBJECTS)
	@mkdir -p $(@D)
	@echo "  LD  $@"
	$(Q)$(CC) $(ALL_CFLAGS) $(SANITIZE) -o $@ $^ $(LIBS)

# Deliberate bugs: each must be caught by the test that it names.
mutants:
	@tests/mutants/run
driver-mutants: all
	@tests/mutants/driver/run
mutants-built: $(UNIT_TESTS) $(BUILD)/tests/sim $(BUILD)/ubd-compose

# Which lines the unit tests and the simulator run.
coverage:
	@tests/coverage

# Fresh seeds of the simulator for a while: make soak MINUTES=10. Most of its time goes into starts;
# with LONGER=8 it carries out four times the requests.
MINUTES ?= 10
LONGER ?= 1
soak: $(BUILD)/tests/sim
	@$< --seconds $$(($(MINUTES) * 60)) --longer $(LONGER)

# Crash replay: every point of 100 epochs for each tree of tests/replay/trees, on both kernels.
replay: all
	@tests/replay/run -k 6.1
	@tests/replay/run -k 6.12

# The same requests to ours and to dm and md, twelve pairs: make differential REQUESTS=84000
REQUESTS ?= 84000
differential: all
	@tests/vm/differential/build
	@echo $(REQUESTS) >$(BUILD)/requests
	@tests/vm/run -k 6.12 -m 1536 -t 14400 -f tests/vm/guest.sh -f $(BUILD)/requests \
		-f tests/vm/differential/differential.t sh differential.t

# Each VM test on each kernel, also those that don't depend on one.
check-vm: all
	@tests/vm/check -a

# The device tests over ubd and ublk on the newest kernel of Debian's other suites, which changes under us.
check-newest: all
	@tests/vm/fetch-tools 7
	@tests/vm/check -k 7

check-debug: all
	@kernel=$$(tests/vm/build-debug-kernel $(KERNEL)) && tests/vm/check -j 1 -k "$$kernel"

# Hostile commands on the debug kernel, in machines of 250,000: make driver-fuzz COMMANDS=10000000 SEED=7
COMMANDS ?= 1000000
SEED ?= 1
driver-fuzz: all
	@tests/vm/driver/fuzz -s $(SEED) -n $(COMMANDS)
driver-fuzz-uml: all
	@tests/vm/driver/fuzz -u -s $(SEED) -n $(COMMANDS)

N ?= 100
KERNEL ?= 6.1
storm: all
	@tests/vm/storm/run -k $(KERNEL) -n $(N)

demo:
	@tests/demo

# Guest instructions per I/O beside dm, md and loop; --check fails where we became dearer.
bench: all
	@tests/bench/run
	@tests/bench/run --times
	@tests/bench/bitmap

BENCH_KERNEL ?= 6.12
bench-plot: all
	@command -v gnuplot >/dev/null || { echo "gnuplot is missing: apt-get install gnuplot-nox" >&2; exit 1; }
	@tests/bench/run -k $(BENCH_KERNEL) --wide
	@gnuplot -e "table='$(BUILD)/bench/wide-$(BENCH_KERNEL).tsv'; picture='$(BUILD)/bench/wide-$(BENCH_KERNEL).png'; kernel='$(BENCH_KERNEL)'" \
		tests/bench/plot.gp
	@echo "$(BUILD)/bench/wide-$(BENCH_KERNEL).png"

unit: $(UNIT_TESTS)
fuzz-checks: $(FUZZ_CHECKS)

install: all
	install -D -m 755 $(BUILD)/ubd-compose $(DESTDIR)$(PREFIX)/sbin/ubd-compose
	install -D -m 644 schemas/ubd-compose.schema.json \
		$(DESTDIR)$(PREFIX)/share/ubd-compose/ubd-compose.schema.json
	install -D -m 644 man/ubd-compose.8 $(DESTDIR)$(PREFIX)/share/man/man8/ubd-compose.8
	$(if $(wildcard $(KDIR)/Makefile),$(MAKE) -C kmod KDIR=$(KDIR) DESTDIR=$(DESTDIR) install,\
		@echo "no kernel headers at $(KDIR): the driver is not installed")

format:
	clang-format -i composer/*.[ch] targets/*.[ch] tests/unit/*.[ch]

clean:
	rm -rf $(BUILD)

-include $(wildcard $(BUILD)/*/*/*.d $(BUILD)/*/*/*/*.d)
