// SPDX-License-Identifier: MIT
/* Running the hook program, in a process beside the daemon. It knows no event. */
#include "hook.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MESSAGE_MAX 65536
#define FAILED_TO_EXEC 127

/* Standard input of the program: a file in memory, so that nobody waits for it to read. */
static int input_make(const char *text, size_t length)
{
	int fd = memfd_create("event", MFD_CLOEXEC);

	if (fd < 0)
		return -1;
	if (write(fd, text, length) == (ssize_t)length && lseek(fd, 0, SEEK_SET) == 0)
		return fd;
	close(fd);
	return -1;
}

static void child(const char *path, int input)
{
	char *const arguments[] = { (char *)(uintptr_t)path, NULL };

	(void)setpgid(0, 0); /* can't fail for a fresh child */
	if (dup2(input, STDIN_FILENO) == STDIN_FILENO)
		(void)execv(path, arguments);
	_exit(FAILED_TO_EXEC);
}

static void run(const char *path, const char *text, size_t length)
{
	int input = input_make(text, length), process, status;
	struct pollfd ended = { .events = POLLIN };
	pid_t pid;

	if (input < 0)
		return;
	pid = fork();
	if (pid == 0)
		child(path, input);
	close(input);
	if (pid < 0)
		return;
	(void)setpgid(pid, pid); /* here too: whoever comes first; it may be gone already */
	process = (int)syscall(SYS_pidfd_open, pid, 0);
	ended.fd = process;
	if (process < 0 || poll(&ended, 1, HOOK_SECONDS * 1000) <= 0)
		(void)kill(-pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	(void)kill(-pid, SIGKILL); /* what it has left behind */
	if (process >= 0)
		close(process);
}

/* Keeps nothing of the caller's but the socket: who waits for the end of his output must see it. */
static void runner(const char *path, int socket)
{
	static char text[MESSAGE_MAX];
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), fd;
	sigset_t none;
	ssize_t length;

	(void)setsid(); /* fails only for a group's leader, which a fresh child is not */
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)signal(SIGPIPE, SIG_DFL);
	for (fd = STDIN_FILENO; fd <= STDERR_FILENO && null >= 0; fd++)
		(void)dup2(null, fd);
	if (socket > STDERR_FILENO + 1)
		(void)close_range(STDERR_FILENO + 1, (unsigned)socket - 1, 0);
	(void)close_range((unsigned)socket + 1, ~0u, 0);
	(void)!chdir("/"); /* else the caller's could not be unmounted; the program can do it too */
	while ((length = recv(socket, text, sizeof(text), 0)) != 0)
		if (length > 0)
			run(path, text, (size_t)length);
		else if (errno != EINTR)
			break;
	_exit(0);
}

int hook_start(const char *path, struct err *err)
{
	struct stat found;
	int ends[2];
	pid_t pid;

	if (!path)
		return -1;
	errno = 0;
	if (stat(path, &found) < 0 || access(path, X_OK) < 0 || !S_ISREG(found.st_mode)) {
		err_add(err, "hook %s can't be run: %s", path,
			errno ? strerror(errno) : "it is not a regular file");
		return -2;
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
		err_add(err, "hook %s: %s", path, strerror(errno));
		return -2;
	}
	pid = fork();
	if (pid == 0) {
		close(ends[0]);
		runner(path, ends[1]);
	}
	close(ends[1]);
	if (pid > 0)
		return ends[0];
	err_add(err, "hook %s: fork: %s", path, strerror(errno));
	close(ends[0]);
	return -2;
}

void hook_send(int fd, const char *text)
{
	size_t length = strlen(text);

	if (fd >= 0 && length < MESSAGE_MAX)
		(void)send(fd, text, length, MSG_DONTWAIT | MSG_NOSIGNAL);
}
