// SPDX-License-Identifier: MIT
/*
 * Kills a device's daemon under the load of ackload.h, again and again, and times what follows. All
 * blocks are read and compared with the record after each kill.
 *
 *   killstorm [-rz] [-n KILLS] [-j JOBS] [-d DEPTH] [-b BLOCKS] RECORD DISK NAME TREE
 *   killstorm -s [-r] ... RECORD DISK
 *
 * -s: not the daemon is killed, but recovery_server, which does nothing but serve memory: the driver's
 * part alone, many times as often. Its queues are as deep as the load's.
 * -z: the disk is a new one, of which the record says nothing yet.
 *
 * Each kill comes when a random number of writes have been acknowledged since the last, so however
 * slow the machine, each finds full queues. Without -r the load sees the disk's end, and `ubd-compose
 * create TREE` makes it anew; with -r it goes on, under `ubd-compose recover NAME`, and sees no error.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "ackload.h"

enum { LIMIT_S = 120, WRITES_MOST = 300 };

static int recovers, is_small, kills = 10;
static pid_t small_server;
static const char *disk_path, *name, *tree;

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

/* --- times */

enum { EXIT, IO_ENDED, DISK_GONE, SERVED_AGAIN, CYCLE, KINDS };
static double *times[KINDS];

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void tell(void)
{
	static const char *const names[] = { "daemon's exit", "last I/O ended", "disk gone", "served again", "whole cycle" };
	int kind;

	for (kind = 0; kind < KINDS; kind++) {
		double *t = times[kind];

		qsort(t, kills, sizeof(*t), compare);
		if (t[kills - 1] == 0)
			continue;
		printf("# %-14s median %6.1f ms, 90%% %6.1f, 99%% %6.1f, most %6.1f, of %d\n", names[kind], t[kills / 2],
			t[kills * 9 / 10], t[kills * 99 / 100], t[kills - 1], kills);
	}
}

/* --- the daemon */

/* Who listens on the device's control socket. */
static pid_t daemon_pid(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct ucred peer;
	socklen_t size = sizeof(peer);

	snprintf(address.sun_path, sizeof(address.sun_path), "/run/ubd-compose/%s.sock", name);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) ||
		getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size))
		err(1, "%s", address.sun_path);
	close(fd);
	return peer.pid;
}

static void compose(const char *verb, const char *what)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		if (dup2(2, 1) == 1)
			execlp("ubd-compose", "ubd-compose", verb, what, NULL);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
		errx(1, "ubd-compose %s %s: status %x", verb, what, status);
}

/* The next recovery_server, on device 0; it serves when this returns. */
static void small_start(int is_first)
{
	char queue_depth[16], size[16];
	const char *arguments[] = { "recovery_server", "-q4", queue_depth, size,
		recovers ? "-M60000" : "-M0", recovers ? NULL : "-f", NULL, NULL };
	int ends[2], i;
	char line[64];

	snprintf(queue_depth, sizeof(queue_depth), "-d%d", depth);
	snprintf(size, sizeof(size), "-s%u", blocks / (1048576 / BLOCK));
	for (i = 0; arguments[i]; i++)
		;
	if (!is_first)
		arguments[i] = recovers ? "-r0" : "-R0";
	if (pipe2(ends, O_CLOEXEC))
		err(1, "pipe");
	small_server = fork();
	if (!small_server) {
		if (dup2(ends[1], 1) == 1)
			execvp(arguments[0], (char **)arguments);
		_exit(127);
	}
	close(ends[1]);
	if (small_server < 0 || read(ends[0], line, sizeof(line)) <= 0)
		errx(1, "recovery_server does not start");
	close(ends[0]);
}

static void serve_anew(void)
{
	if (is_small)
		small_start(0);
	else
		compose(recovers ? "recover" : "create", recovers ? name : tree);
}

/* Its exit is over when this returns. */
static void daemon_kill(double *took)
{
	pid_t pid = is_small ? small_server : daemon_pid();
	struct pollfd gone = { .fd = pidfd_open(pid, 0), .events = POLLIN };
	double begin;

	if (gone.fd < 0)
		err(1, "pidfd_open %d", pid);
	begin = now_ms();
	if (kill(pid, SIGKILL) || poll(&gone, 1, LIMIT_S * 1000) != 1)
		errx(1, "the daemon does not die");
	*took = now_ms() - begin;
	close(gone.fd);
	if (is_small)
		(void)waitpid(pid, NULL, 0);
}

/* --- the load */

static pid_t load_start(void)
{
	pid_t pid = fork();

	if (!pid) {
		setpgid(0, 0);
		_exit(run_all());
	}
	return pid;
}

/* Returns when so many more writes have been acknowledged. */
static void load_runs(pid_t load, unsigned long writes)
{
	unsigned long wanted = atomic_load(acknowledged) + writes;
	double end = now_ms() + LIMIT_S * 1000;
	int status;

	while (atomic_load(acknowledged) < wanted) {
		if (waitpid(load, &status, WNOHANG))
			errx(1, "the load has ended by itself: status %x", status);
		if (now_ms() > end)
			errx(1, "%lu writes are not acknowledged in %d s", writes, LIMIT_S);
		usleep(500);
	}
}

static void load_ends(pid_t load)
{
	int status;

	if (waitpid(load, &status, 0) != load || status)
		errx(1, "the load ended with status %x", status);
}

static void disk_vanishes(void)
{
	double end = now_ms() + LIMIT_S * 1000;
	char path[64];

	snprintf(path, sizeof(path), "/sys/block/%s", disk_path + strlen("/dev/"));
	while (!access(path, F_OK)) {
		if (now_ms() > end)
			errx(1, "%s is still there", path);
		usleep(200);
	}
}

static void kill_once(int number)
{
	pid_t load = load_start();
	double begin;

	load_runs(load, random() % WRITES_MOST);
	begin = now_ms();
	daemon_kill(&times[EXIT][number]);
	load_ends(load);
	times[IO_ENDED][number] = now_ms() - begin;
	close(disk);
	disk_vanishes();
	times[DISK_GONE][number] = now_ms() - begin;
	serve_anew();
	times[SERVED_AGAIN][number] = now_ms() - begin;
	disk_open(disk_path);
}

static void recover_once(pid_t load, int number)
{
	double begin;

	load_runs(load, random() % WRITES_MOST);
	begin = now_ms();
	daemon_kill(&times[EXIT][number]);
	serve_anew();
	times[SERVED_AGAIN][number] = now_ms() - begin;
	if (number % 10 == 9 && !is_small)
		compose("recover", name); /* from a daemon that lives */
}

static void storm(void)
{
	uint64_t issued = 0;
	pid_t load = 0;
	int number;

	if (recovers)
		load = load_start();
	for (number = 0; number < kills; number++) {
		double begin = now_ms();
		char when[32];

		snprintf(when, sizeof(when), "after kill %d", number + 1);
		if (recovers)
			recover_once(load, number);
		else
			kill_once(number);
		may_tear = recovers || is_small; /* the load may be writing what we read */
		issued = verify(when);
		times[CYCLE][number] = now_ms() - begin;
	}
	if (recovers) {
		kill(load, SIGTERM);
		load_ends(load);
		may_tear = is_small;
		issued = verify("at the end");
	}
	printf("%d kills, %llu writes issued, %lu acknowledged; after each, all acknowledged ones were there\n", kills,
		(unsigned long long)issued, atomic_load(acknowledged));
}

int main(int argc, char **argv)
{
	int option, kind, is_new = 0;

	blocks = 512;
	while ((option = getopt(argc, argv, "szrn:j:d:b:")) != -1) {
		switch (option) {
		case 'r': recovers = errors_matter = 1; break;
		case 's': is_small = may_tear = 1; break;
		case 'z': is_new = 1; break;
		case 'n': kills = atoi(optarg); break;
		case 'j': jobs = atoi(optarg); break;
		case 'd': depth = atoi(optarg); break;
		case 'b': blocks = atoi(optarg); break;
		default: errx(2, "see the head of killstorm.c");
		}
	}
	if (argc - optind != (is_small ? 2 : 4) || kills < 1 || blocks / jobs <= (uint32_t)depth || blocks % AT_ONCE)
		errx(2, "see the head of killstorm.c");
	disk_path = argv[optind + 1];
	name = is_small ? NULL : argv[optind + 2];
	tree = is_small ? NULL : argv[optind + 3];
	records_open(argv[optind]);
	if (is_small || is_new)
		memset(records, 0, blocks * sizeof(*records));
	if (is_small)
		small_start(1);
	disk_open(disk_path);
	for (kind = 0; kind < KINDS; kind++)
		times[kind] = calloc(kills, sizeof(double));
	srandom(time(NULL));
	storm();
	tell();
	if (is_small)
		kill(small_server, SIGUSR1); /* it deletes the device */
	close(disk);
	return is_small && waitpid(small_server, NULL, 0) != small_server;
}
