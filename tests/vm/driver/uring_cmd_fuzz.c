// SPDX-License-Identifier: MIT
/*
 * A hostile world around the driver, from one seed: servers that speak the protocol nearly, wildly
 * or not at all, from several threads; a thread that changes their submission entries and plans
 * while the kernel reads them; users that do I/O on the disks meanwhile, switch schedulers and read
 * partition tables. Servers stop, close and die at random.
 *
 * It goes by rounds. Each starts some servers and users on a few devices, lets them rage for a
 * moment, kills them all, and fails if one of them cannot die: nothing that a server does may leave
 * a process waiting for ever. What else is wrong the kernel's log tells: run it on the debug
 * kernel. Thread timing is not of the seed, so a seed repeats the plan, not the run.
 */
#define _GNU_SOURCE
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <time.h>

#include "fuzz_server.h"

enum { SERVERS = 3, USERS = 3, REPLACED = 50, DYING_S = 60 };
enum { AT_ONCE = 32, MOST = 32768 }; /* a user's requests; bytes of each */
enum { PACE = 4000, PACE_S = 4 }; /* commands, seconds at most, between two signals */

static unsigned long seed = 1, wanted = 100000;

/* --- a user of the disks */

static void set_queue(unsigned int device, const char *name, const char *value)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/sys/block/ubdb%u/queue/%s", device, name);
	fd = open(path, O_WRONLY);
	if (fd >= 0) {
		(void)!write(fd, value, strlen(value));
		close(fd);
	}
}

static long use_disk(struct chance *chance, int fd, unsigned int device, char *buffer)
{
	static const char *const schedulers[] = { "none", "mq-deadline", "kyber", "bfq" };
	uint64_t range[2] = { below(chance, 1 << 12) * 4096, (1 + below(chance, 64)) * 4096 };
	size_t length = 512ull << below(chance, 9);
	off_t offset = below(chance, 1 << 15) * 512;

	switch (below(chance, 40)) {
	case 0:
		return ioctl(fd, BLKDISCARD, range);
	case 1:
		return ioctl(fd, BLKZEROOUT, range);
	case 2:
		return ioctl(fd, BLKRRPART, 0);
	case 3:
		return ioctl(fd, BLKFLSBUF, 0);
	case 4:
	case 5:
		return fsync(fd);
	case 6:
		if (one_in(chance, 4))
			set_queue(device, "scheduler", schedulers[below(chance, 4)]);
		return 0;
	case 7:
		if (one_in(chance, 8))
			set_queue(device, "nr_requests", one_in(chance, 2) ? "4" : "64");
		return 0;
	default:
		if (one_in(chance, 2))
			return pread(fd, buffer, length, offset);
		return pwrite(fd, buffer, length, offset);
	}
}

/* Many at once: they come to the driver as one list, and keep all of a queue's tags busy. */
static void use_disk_at_once(struct chance *chance, struct io_uring *ring, int fd, char *buffer)
{
	unsigned int i, count = 1 + below(chance, AT_ONCE);
	struct io_uring_cqe *cqe;

	for (i = 0; i < count; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
		unsigned int length = 512u << below(chance, 7);
		off_t offset = below(chance, 1 << 12) * 4096;

		if (one_in(chance, 2))
			io_uring_prep_read(sqe, fd, buffer + i * MOST, length, offset);
		else
			io_uring_prep_write(sqe, fd, buffer + i * MOST, length, offset);
	}
	if (io_uring_submit(ring) != (int)count)
		return;
	for (i = 0; i < count && !io_uring_wait_cqe(ring, &cqe); i++) {
		totals->io[cqe->res < 0]++;
		io_uring_cqe_seen(ring, cqe);
	}
}

static void user_main(struct chance chance, unsigned int number)
{
	char *buffer =
		mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct io_uring ring;

	if (buffer == MAP_FAILED || io_uring_queue_init(AT_ONCE, &ring, 0))
		err(1, "a user");
	for (;;) {
		unsigned int device = one_in(&chance, 4) ? below(&chance, DEVICES)
							 : number % DEVICES,
			     i;
		char path[32];
		int fd;

		snprintf(path, sizeof(path), "/dev/ubdb%u", device);
		fd = open(path, O_RDWR | (one_in(&chance, 2) ? O_DIRECT : 0));
		if (fd < 0)
			fd = open(path, O_RDONLY);
		if (fd < 0) {
			usleep(20000); /* what looks for a disk all the time leaves none the time to start */
			continue;
		}
		for (i = below(&chance, 200); i; i--) {
			if (one_in(&chance, 2))
				use_disk_at_once(&chance, &ring, fd, buffer);
			else
				totals->io[use_disk(&chance, fd, device, buffer) < 0]++;
		}
		close(fd);
	}
}

/* --- rounds */

static pid_t start(
	void (*run)(struct chance, unsigned int), struct chance chance, unsigned int number)
{
	pid_t pid = fork();

	if (pid < 0)
		err(1, "fork");
	if (!pid) {
		(void)setpgid(0, 0);
		run(chance, number);
		_exit(0);
	}
	(void)setpgid(pid, pid);
	return pid;
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

/* All servers are dead or dying: nobody can be waiting for one. */
static void must_end(const pid_t *children, int count)
{
	double begin = seconds();
	int i;

	for (i = 0; i < count; i++)
		(void)kill(-children[i], SIGKILL);
	for (i = 0; i < count; i++) {
		while (!waitpid(children[i], NULL, WNOHANG)) {
			if (seconds() - begin > DYING_S) {
				printf("FAILED: process %d does not die\n", children[i]);
				fflush(stdout);
				(void)!system(
					"echo w >/proc/sysrq-trigger; echo d >/proc/sysrq-trigger; "
					"for p in /proc/[0-9]*/task/*; do "
					"grep -qs '^State:.[DRZ]' $p/status && { echo $p $(grep -E "
					"'^(Name|State|PPid)' $p/status); cat $p/stack; }; done");
				exit(1);
			}
			usleep(2000);
		}
	}
}

/* Returns when so many more commands have been sent: how far the world is, however slow the machine. */
static void let_them_rage(unsigned long commands)
{
	unsigned long wanted = totals->commands + commands;
	double end = seconds() + PACE_S;

	while (totals->commands < wanted && seconds() < end)
		usleep(5000);
}

static void round_run(struct chance chance)
{
	pid_t children[SERVERS + USERS + REPLACED];
	double end = seconds() + (1 + below(&chance, life_ms)) / 1000.0;
	int i, count = SERVERS + USERS;

	for (i = 0; i < count; i++)
		children[i] = start(
			i < SERVERS ? server_main : user_main, (struct chance){ draw(&chance) }, i);
	while (seconds() < end) {
		let_them_rage(below(&chance, PACE));
		i = below(&chance, SERVERS);
		if (one_in(&chance, 3) && count < SERVERS + USERS + REPLACED) {
			(void)kill(-children[i], SIGKILL);
			children[count++] = children[i];
			children[i] = start(server_main, (struct chance){ draw(&chance) }, i);
		} else if (one_in(&chance, 2)) {
			(void)kill(-children[i], SIGSTOP);
			usleep(below(&chance, 200000));
			(void)kill(-children[i], SIGCONT);
		}
	}
	must_end(children, count);
}

/* All servers are gone, and with them the legs: the driver can be unloaded, with whatever devices are left. */
static void reload(void)
{
	int tries;

	for (tries = 0; system("rmmod ubd 2>/dev/null"); tries++) {
		if (tries == 200) {
			printf("FAILED: rmmod ubd is refused after 20 s\n");
			fflush(stdout);
			(void)!system("grep ubd /proc/modules; ls /sys/block /dev/ubd*; ls -l /proc/[0-9]*/fd | grep ubd; "
				"for p in /proc/[0-9]*/task/*; do echo $p $(grep -E '^(Name|State)' $p/status); "
				"cat $p/stack; done");
			exit(1);
		}
		usleep(100000);
	}
	if (system("modprobe ubd"))
		errx(1, "FAILED: modprobe ubd");
}

/*
 * For each code, how often it was sent, what the driver did (accepted), and what it said otherwise.
 * A command that its ring or its server took along is not answered.
 */
static void tell(double begin)
{
	int code, answer;

	printf("%lu commands, %lu of them I/O commands to live disks; users' I/O: %lu done, %lu failed; "
	       "%.0f s\n",
		totals->commands, totals->to_live, totals->io[0], totals->io[1], seconds() - begin);
	for (code = 0; code < CODES; code++) {
		if (!totals->sent[code])
			continue;
		printf("  0x%02x: %lu, accepted %lu", code, totals->sent[code],
			totals->answers[code][0] + totals->answers[code][EREMOTEIO]);
		for (answer = 1; answer < ANSWERS; answer++)
			if (totals->answers[code][answer])
				printf(" %s %lu",
					answer == ANSWERS - 1 ? "other" : strerrorname_np(answer),
					totals->answers[code][answer]);
		printf("\n");
	}
	fflush(stdout);
}

int main(int argc, char **argv)
{
	struct rlimit files = { 256, 256 };
	struct chance chance;
	double begin = seconds();
	unsigned long round;
	int option;

	while ((option = getopt(argc, argv, "s:n:l:f")) != -1) {
		switch (option) {
		case 's':
			seed = strtoul(optarg, NULL, 0);
			break;
		case 'n':
			wanted = strtoul(optarg, NULL, 0);
			break;
		case 'l':
			life_ms = atoi(optarg);
			break;
		case 'f':
			faults = 1;
			break;
		default:
			errx(2, "usage: uring_cmd_fuzz [-s SEED] [-n COMMANDS] [-l MS: a round's "
				"longest life] [-f: fail allocations, as failslab is set up]");
		}
	}
	totals = mmap(
		NULL, sizeof(*totals), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (totals == MAP_FAILED || setrlimit(RLIMIT_NOFILE, &files))
		err(1, "start");
	signal(SIGPIPE, SIG_IGN);
	printf("uring_cmd_fuzz -s %lu -n %lu -l %u%s\n", seed, wanted, life_ms,
		faults ? " -f" : "");
	fflush(stdout);
	chance.state = seed * 0x9e3779b97f4a7c15ull;
	for (round = 1; totals->commands < wanted; round++) {
		round_run((struct chance){ draw(&chance) });
		if (round % 8 == 0)
			reload();
		if (round % 32 == 0)
			tell(begin);
	}
	reload();
	printf("%lu rounds\n", round - 1);
	tell(begin);
	return 0;
}
