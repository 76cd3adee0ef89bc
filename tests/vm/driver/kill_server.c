// SPDX-License-Identifier: MIT
/*
 * Runs a server, puts I/O on its disk, kills it with SIGKILL and sees what is left: the process must
 * go, each I/O must end, the disk must vanish and the device must take the next server, soon.
 * Prints the milliseconds that each of them took; exits with 1 if one took longer than the limit.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long limit_ms = 2000, kill_after_ms = 200;
static int jobs, at_start;

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void sleep_ms(long ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&t, NULL);
}

/* Reads and writes at random until it fails. Exits with 0 if that was an I/O error or no such device. */
static void load(const char *disk, int seed)
{
	char *buffer = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = open(disk, O_RDWR | O_DIRECT);

	if (fd < 0)
		_exit(errno == ENXIO || errno == ENOENT ? 0 : 2);
	srandom(seed);
	for (;;) {
		off_t offset = random() % 1024 * 4096;
		ssize_t got = random() % 2 ? pread(fd, buffer, 4096, offset) : pwrite(fd, buffer, 4096, offset);

		if (got != 4096) /* a dead disk has no sectors: end of file, or no space */
			_exit(!got || errno == EIO || errno == ENXIO || errno == ENODEV || errno == ENOSPC ? 0 : 3);
	}
}

static void took(const char *what, double since)
{
	double ms = now_ms() - since;

	printf("%s %.1f ms\n", what, ms);
	if (ms > limit_ms)
		errx(1, "%s took longer than %ld ms", what, limit_ms);
}

static pid_t start_server(char **argv, char *disk, size_t size)
{
	int ends[2];
	pid_t pid;
	ssize_t got;

	if (pipe(ends))
		err(1, "pipe");
	pid = fork();
	if (pid == 0) {
		dup2(ends[1], 1);
		close(ends[0]);
		close(ends[1]);
		execvp(argv[0], argv);
		err(127, "%s", argv[0]);
	}
	close(ends[1]);
	if (at_start) { /* killed before it could tell */
		strcpy(disk, "/dev/ubdb0");
		return pid;
	}
	got = read(ends[0], disk, size - 1);
	if (got <= 1)
		errx(1, "the server did not start");
	disk[got - 1] = 0;
	return pid;
}

int main(int argc, char **argv)
{
	char disk[64];
	double killed;
	pid_t server, *loads;
	int option, i, status, spent = 0;

	while ((option = getopt(argc, argv, "+l:t:j:s")) != -1) {
		switch (option) {
		case 'l': limit_ms = atol(optarg); break;
		case 't': kill_after_ms = atol(optarg); break;
		case 'j': jobs = atoi(optarg); break;
		case 's': at_start = 1; break;
		default:
			errx(2, "usage: kill_server [-l LIMIT_MS] [-t KILL_AFTER_MS] [-j JOBS] [-s: during its start] SERVER [ARG]...");
		}
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	server = start_server(argv + optind, disk, sizeof(disk));
	loads = calloc(jobs + 1, sizeof(*loads));
	for (i = 0; i < jobs; i++) {
		loads[i] = fork();
		if (loads[i] == 0)
			load(disk, i);
	}
	sleep_ms(kill_after_ms);
	killed = now_ms();
	if (kill(server, SIGKILL))
		err(1, "SIGKILL");
	if (waitpid(server, &status, 0) != server || !WIFSIGNALED(status))
		errx(1, "the server was gone before it was killed");
	took("exit", killed);
	for (i = 0; i < jobs; i++) {
		if (waitpid(loads[i], &status, 0) != loads[i] || !WIFEXITED(status))
			errx(1, "load %d died", i);
		spent |= WEXITSTATUS(status);
	}
	if (spent)
		errx(1, "an I/O ended other than with an I/O error (%d)", spent);
	if (jobs)
		took("I/O", killed);
	while (!access(disk, F_OK) && now_ms() - killed < limit_ms)
		sleep_ms(1);
	took("disk", killed);
	for (;;) { /* the next server could come */
		char path[64];
		int fd;

		snprintf(path, sizeof(path), "/dev/ubdc%s", disk + strlen("/dev/ubdb"));
		fd = open(path, O_RDWR | O_NONBLOCK);
		if (fd >= 0 || errno != EBUSY || now_ms() - killed > limit_ms)
			break;
		sleep_ms(1);
	}
	took("device", killed);
	return 0;
}
