// SPDX-License-Identifier: MIT
/*
 * A child that goes on alone. Its report is one text: '+' or '-', the result's line, messages'
 * lines.
 */
#include "detach.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define REPORT_MAX (1024 * 1024)
#define END_MS 10000

static void standard_to_null(int fd)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0)
		return; /* a /dev without null: what is there stays */
	(void)dup2(null, fd); /* between two open files */
	if (null != fd)
		close(null);
}

/* Closes what the caller left open besides the standard files. Returns where `fd` is now. */
static int keep_only(int fd)
{
	const int kept = STDERR_FILENO + 1;

	if (fd != kept)
		(void)dup3(fd, kept, O_CLOEXEC); /* an open file to a number in range */
	(void)close_range(kept + 1, ~0u, 0); /* not before Linux 5.9: then they stay open */
	return kept;
}

int detach(int *report, struct err *err)
{
	int ends[2];
	pid_t pid;

	(void)fflush(stdout); /* else the child would have a copy of what is buffered */
	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_add(err, "can't start the daemon: pipe: %s", strerror(errno));
	pid = fork();
	if (pid < 0) {
		err_add(err, "can't start the daemon: fork: %s", strerror(errno));
		close(ends[0]);
		close(ends[1]);
		return -1;
	}
	if (pid > 0) {
		close(ends[1]);
		*report = ends[0];
		return pid;
	}
	*report = keep_only(ends[1]);
	(void)setsid(); /* fails only for a group's leader, which a fresh child is not */
	standard_to_null(STDIN_FILENO);
	standard_to_null(STDOUT_FILENO);
	return 0;
}

int detach_report(int report, bool success, const char *result, const char *text, bool quiet)
{
	char *all;
	int length, done = 0;

	length = asprintf(&all, "%c%s\n%s", success ? '+' : '-', result, text ? text : "");
	if (length < 0)
		abort();
	(void)signal(SIGPIPE, SIG_IGN); /* a known signal */
	while (done < length) {
		ssize_t count = write(report, all + done, (size_t)(length - done));

		if (count < 0 && errno != EINTR)
			break;
		if (count > 0)
			done += (int)count;
	}
	free(all);
	if (quiet)
		standard_to_null(STDERR_FILENO);
	close(report);
	return done == length ? 0 : -1;
}

static char *read_all(int fd)
{
	char *text = calloc(1, REPORT_MAX + 1);
	size_t length = 0;
	ssize_t count;

	if (!text)
		abort();
	while (length < REPORT_MAX) {
		count = read(fd, text + length, REPORT_MAX - length);
		if (count == 0 || (count < 0 && errno != EINTR))
			break;
		length += count > 0 ? (size_t)count : 0;
	}
	close(fd);
	return text;
}

static void died(int pid, struct err *err)
{
	int status = 0;

	if (waitpid(pid, &status, 0) == pid && WIFSIGNALED(status))
		err_add(err, "the daemon was killed by signal %d (%s) before the device was usable",
			WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		err_add(err, "the daemon ended with status %d before the device was usable",
			WEXITSTATUS(status));
}

/*
 * So that nothing of it is left when we say so. False: it is still there. What has been undone is
 * gone at once; only one that the kernel doesn't answer stays, and nobody must wait for that.
 */
static bool wait_end(int pid)
{
	struct pollfd process = { .fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN };
	bool has_ended = process.fd < 0 || poll(&process, 1, END_MS) != 0;

	if (process.fd >= 0)
		close(process.fd);
	if (has_ended)
		(void)waitpid(pid, NULL, 0);
	return has_ended;
}

int detach_wait(int report, int pid, char **result, struct err *err, struct err *notes)
{
	char *all = read_all(report), *rest = all, *line;
	bool success = *all == '+';

	line = strsep(&rest, "\n");
	if (!rest) {
		died(pid, err);
		free(all);
		return -1;
	}
	if (success) {
		*result = strdup(line + 1);
		if (!*result)
			abort();
	}
	while ((line = strsep(&rest, "\n")))
		if (*line)
			err_add(success ? notes : err, "%s", line);
	free(all);
	if (!success && !wait_end(pid))
		err_add(err, "its daemon (pid %d) waits for the kernel and ends when that answers", pid);
	return success ? 0 : -1;
}
