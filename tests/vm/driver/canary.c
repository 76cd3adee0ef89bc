// SPDX-License-Identifier: MIT
/*
 * Looks for bytes that are nobody's business. All free memory is filled with canaries, so that with
 * init_on_alloc=0 a page that nobody has filled shows them; servers that fail in every way serve a
 * disk; and what readers are given, through the page cache, past it and by mapping, must be the
 * disk's own or an error.
 *
 *   canary v2|batches          the faults of servers that copy; then servers killed at any time
 *   canary plans DISK FILE     those of plans: DISK of 16 MiB, FILE for direct I/O, both overwritten
 */
#define _GNU_SOURCE
#include <linux/fs.h>
#include <setjmp.h>

#include "canary_server.h"

static struct device device;
static enum protocol protocol;
static int legs[2], disk = -1;
static pid_t server;
static sigjmp_buf no_page;

static void on_no_page(int number)
{
	siglongjmp(no_page, 1);
}

/* --- servers */

static void server_start(uint32_t code)
{
	int result;

	atomic_store(&shared->is_open, 0);
	server = fork();
	if (server == 0)
		server_run(&device, protocol);
	while (!atomic_load(&shared->is_open) && !waitpid(server, NULL, WNOHANG))
		usleep(1000); /* the last session ends with the open() of this one */
	if (protocol == PLANS && control(&device, UBD_CMD_SET_LEGS, legs, sizeof(legs), 0))
		errx(1, "SET_LEGS");
	result = control(&device, code, NULL, 0, server);
	if (result)
		errx(1, "START or RESUME: %s", strerror(-result));
}

static void disk_open(void)
{
	char path[32];

	snprintf(path, sizeof(path), "/dev/ubdb%u", device.info.dev_id);
	disk = open(path, O_RDWR | O_CLOEXEC);
	if (disk < 0)
		err(1, "%s", path);
}

static void device_begin(uint32_t recovery_ms)
{
	struct ubd_params params = { .flags = UBD_PARAM_DEFAULT_FLAGS | (recovery_ms ? UBD_PARAM_REISSUE : 0),
		.recovery_ms = recovery_ms };

	device_init(&device, 1, DEPTH);
	device.info.flags[0] = protocol == BATCHES ? UBD_F_BATCHES : protocol == PLANS ? UBD_F_PLANS : 0;
	if (recovery_ms)
		device.info.flags[0] |= UBD_F_PARAMS | UBD_F_RECOVERY;
	if (device_add(&device))
		errx(1, "ADD_DEV");
	if (recovery_ms && control(&device, UBD_CMD_SET_PARAMS, &params, sizeof(params), 0))
		errx(1, "SET_PARAMS");
	atomic_store(&shared->fault, NOTHING);
	server_start(UBD_CMD_START_DEV);
	disk_open();
}

static void device_end(void)
{
	int status;

	close(disk);
	expect("DEL", 0, control(&device, UBD_CMD_DEL_DEV, NULL, 0, 0));
	waitpid(server, &status, 0);
	io_uring_queue_exit(device.control);
	close(device.control_fd);
}

/* --- readers: each counts the words that may not be there */

static unsigned long wrong_words;

static void look(const char *how, int fault, const uint64_t *words, size_t count, uint64_t offset, int may_be_own)
{
	size_t i;

	for (i = 0; i < count; i++) {
		if (may_be_read(fault, words[i], offset + i * 8))
			continue;
		if (may_be_own && (words[i] == word(READER, i * 8) ||
				   (fault == PLAN_SHORT_FILE && (!words[i] || words[i] >> 48 == DISK))))
			continue; /* a leg's bytes, and zeroes behind its end */
		if (!wrong_words++)
			printf("# fault %d, %s: byte %llu reads %016llx\n", fault, how,
			       (unsigned long long)(offset + i * 8), (unsigned long long)words[i]);
	}
}

static void forget_pages(void)
{
	(void)posix_fadvise(disk, 0, 0, POSIX_FADV_DONTNEED);
}

/* What read() said; what is behind the bytes that it gave is still the reader's own, or the disk's. */
static ssize_t read_region(int fd, int fault, int region, const char *how)
{
	static uint64_t words[WORDS] __attribute__((aligned(4096)));
	uint64_t offset = (uint64_t)region * REGION;
	ssize_t got;

	fill(words, REGION, READER, 0);
	got = pread(fd, words, REGION, offset);
	if (got > 0)
		look(how, fault, words, got / 8, offset, 0);
	look(how, fault, words, WORDS, offset, 1);
	return got < 0 ? -errno : got;
}

static ssize_t read_direct(int fault, int region)
{
	char path[32];
	ssize_t got;
	int fd;

	snprintf(path, sizeof(path), "/dev/ubdb%u", device.info.dev_id);
	fd = open(path, O_RDONLY | O_DIRECT);
	if (fd < 0)
		return -errno;
	got = read_region(fd, fault, region, "past the page cache");
	close(fd);
	return got;
}

/* Pages that can be read. */
static int read_mapped(int fault, int region)
{
	const char *map = mmap(NULL, REGION, PROT_READ, MAP_SHARED, disk, (off_t)region * REGION);
	volatile int page, good = 0;

	for (page = 0; page < REGION / 4096; page++) {
		if (sigsetjmp(no_page, 1))
			continue;
		look("mapped", fault, (const uint64_t *)(map + page * 4096), 512, (uint64_t)region * REGION + page * 4096, 0);
		good++;
	}
	munmap((void *)map, REGION);
	return good;
}

/* --- one fault after another */

static void try_fault(int fault)
{
	static const char *const protocols[] = { "V2", "batches", "plans" };
	int region = 4 + fault * 7 % (REGIONS - 8), whole = is_harmless(fault);
	ssize_t direct, cached;
	char what[64];

	snprintf(what, sizeof(what), "%s, fault %d: ", protocols[protocol], fault);
	poison(SOME);
	wrong_words = 0;
	forget_pages();
	atomic_store(&shared->served, 0);
	atomic_store(&shared->fault, fault);
	direct = read_direct(fault, region);
	cached = read_region(disk, fault, region, "through the page cache");
	(void)read_mapped(fault, region);
	(void)read_mapped(fault, region + 1);
	atomic_store(&shared->fault, NOTHING);
	printf("# %sdirect %zd, cached %zd, %lu served\n", what, direct, cached, atomic_load(&shared->served));
	expect("the fault was met", 1, atomic_load(&shared->served) > 1);
	expect("past the page cache, all or an error", whole ? REGION : -EIO, direct);
	expect("through it, all or not", whole, cached == REGION);
	if (fault == NOTHING || !whole) /* what was claimed to be the disk's is kept in the page cache */
		expect("read again, all is there", REGION, read_region(disk, fault, region, "again"));
	expect("no word is anybody else's", 0, wrong_words);
}

/* The other way round: a server is given a WRITE's bytes, and none beside. */
static void try_writes(void)
{
	uint64_t *words = aligned_alloc(4096, REGION);
	size_t length;
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/dev/ubdb%u", device.info.dev_id);
	fd = open(path, O_WRONLY | O_DIRECT);
	atomic_store(&shared->served, 0);
	poison(SOME);
	for (length = 512; length <= REGION; length *= 2) {
		fill(words, length, WRITER, 0);
		expect("written", length, pwrite(fd, words, length, 0));
	}
	fill(words, REGION, WRITER, 0);
	expect("written through the page cache", REGION, pwrite(disk, words, REGION, 0));
	expect("and synced", 0, fsync(disk));
	close(fd);
	free(words);
	expect("the server was given WRITEs", 1, atomic_load(&shared->served) >= 9);
	expect("and none with other bytes", 0, atomic_load(&shared->wrong_writes));
}

/* --- servers that die */

/* A reader that must get the disk's words or an error, in a process of its own. */
static pid_t reader_start(int is_direct, int stops_at_once)
{
	pid_t pid = fork();
	int turn;

	if (pid)
		return pid;
	if (protocol != V2)
		srandom(getpid());
	for (turn = 0; !wrong_words && !(turn && stops_at_once); turn++) {
		int region = stops_at_once ? 2 : 4 + random() % (REGIONS - 4);
		ssize_t got = is_direct ? read_direct(NOTHING, region)
					: read_region(disk, NOTHING, region, "while it dies");

		if (!is_direct)
			forget_pages();
		if (got != REGION)
			_exit(wrong_words ? 3 : 1);
	}
	_exit(wrong_words ? 3 : 0);
}

static int reader_end(pid_t pid)
{
	int status;

	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : 9;
}

static void server_dies(void)
{
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
}

/* Killed in the middle of a copy, for certain. */
static void try_stuck(int is_direct, uint32_t recovery_ms)
{
	pid_t reader;
	int tries;

	device_begin(recovery_ms);
	poison(SOME);
	atomic_store(&shared->stuck, 0);
	atomic_store(&shared->fault, STUCK);
	reader = reader_start(is_direct, 1);
	for (tries = 0; !atomic_load(&shared->stuck) && tries < 30000; tries++)
		usleep(1000);
	expect("a server waits in the middle of a copy", 1, atomic_load(&shared->stuck));
	atomic_store(&shared->fault, NOTHING);
	server_dies();
	if (recovery_ms)
		server_start(UBD_CMD_RESUME_DEV);
	expect(recovery_ms ? "its reader gets the disk's words from the next" : "its reader gets an error",
	       !recovery_ms, reader_end(reader));
	device_end();
}

static void try_kills(int count)
{
	pid_t readers[3];
	int i, kills, worst = 0;

	for (kills = 0; kills < count; kills++) {
		device_begin(0);
		poison(SOME);
		for (i = 0; i < 3; i++)
			readers[i] = reader_start(i & 1, 0);
		usleep(kills * 7919 % 50000);
		server_dies();
		for (i = 0; i < 3; i++) {
			int status = reader_end(readers[i]);

			worst = status > worst ? status : worst;
		}
		device_end();
	}
	expect("after kills at any time, an error and no other's word", 1, worst);
}

/* --- */

static void try_all(int from, int to)
{
	int fault;

	if (protocol == V2)
		poison(0);
	device_begin(0);
	for (fault = from; fault <= to; fault++)
		if (fault != STUCK && (protocol == V2 || !is_fault_of_v2(fault)))
			try_fault(fault);
	if (protocol != PLANS) {
		/* On a new device: a tag keeps the address that its last answer gave, and where that was wrong a WRITE fails. */
		device_end();
		device_begin(0);
		try_writes();
	}
	close(disk);
	server_dies();
	server_start(UBD_CMD_START_DEV);
	disk_open();
	device_end();
	expect("new servers find empty areas", 0, atomic_load(&shared->dirty_areas));
}

static void legs_fill(const char *const paths[2])
{
	char *words = aligned_alloc(4096, LEG_DISK_SIZE);
	int i;

	fill(words, LEG_DISK_SIZE, DISK, 0);
	for (i = 0; i < 2; i++) {
		legs[i] = open(paths[i], O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
		if (legs[i] < 0 || pwrite(legs[i], words, i == LEG_DISK ? LEG_DISK_SIZE : 65536, 0) < 0)
			err(1, "%s", paths[i]);
	}
	if (ftruncate(legs[LEG_FILE], LEG_FILE_SIZE))
		err(1, "%s", paths[LEG_FILE]);
	free(words);
}

int main(int argc, char **argv)
{
	int recoveries;

	setvbuf(stdout, NULL, _IOLBF, 0);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	signal(SIGBUS, on_no_page);
	if (argc == 4 && !strcmp(argv[1], "plans")) {
		protocol = PLANS;
		legs_fill((const char *const *)argv + 2);
		try_all(PLAN_NOTHING, PLAN_THEN_NO_DATA);
		expect("wrong plans were refused", 1, atomic_load(&shared->refused_plans) > 2);
		expect("and failed ones handed back", 1, atomic_load(&shared->plans_back) > 4);
		return failures != 0;
	}
	if (argc != 2)
		errx(2, "see the head of canary.c");
	protocol = !strcmp(argv[1], "batches") ? BATCHES : V2;
	try_all(NOTHING, NEVER_TOUCHED);
	try_kills(6);
	for (recoveries = 0; protocol == V2 && half_missing() && recoveries < 4; recoveries++)
		try_stuck(recoveries & 1, recoveries & 2 ? 20000 : 0);
	return failures != 0;
}
