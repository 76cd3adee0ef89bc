// SPDX-License-Identifier: MIT
/* The run directory and its sockets. It knows nothing of what is said through them. */
#include "run_directory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define RUN_DIRECTORY "/run/ubd-compose"
#define SUFFIX ".sock"
#define RECORD_SUFFIX ".device"
#define DOCUMENT_SUFFIX ".tree" /* the document's path, a newline, its text */
#define DOCUMENT_MAX (PATH_MAX + 2 * 1024 * 1024)
#define BACKLOG 16

const char *run_directory(void)
{
	static char own[PATH_MAX];
	const char *other = getenv("UBD_COMPOSE_RUN"), *user = getenv("XDG_RUNTIME_DIR");

	if (other && *other)
		return other;
	if (geteuid() == 0 || !user || *user != '/')
		return RUN_DIRECTORY;
	(void)snprintf(own, sizeof(own), "%s/ubd-compose", user);
	return own;
}

char *run_socket_path(const char *name)
{
	char *path;

	if (asprintf(&path, "%s/%s" SUFFIX, run_directory(), name) < 0)
		abort();
	return path;
}

static int address_make(const char *path, struct sockaddr_un *address)
{
	if (strlen(path) >= sizeof(address->sun_path))
		return -ENAMETOOLONG;
	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	strcpy(address->sun_path, path);
	return 0;
}

int run_connect(const char *name)
{
	char *path = run_socket_path(name);
	struct sockaddr_un address;
	int result = address_make(path, &address);
	int fd = -1;

	free(path);
	if (result < 0)
		return result;
	/* Without SOCK_NONBLOCK a full backlog of a stopped daemon would keep us waiting. */
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		result = -errno;
		close(fd);
		return result;
	}
	return fd;
}

/* The directory, made if need be, and locked: claims are one after the other. */
static int directory_lock(struct err *err)
{
	const char *path = run_directory();
	int fd;

	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return err_add(err, "%s: can't make the directory for control sockets: %s", path,
			strerror(errno));
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || flock(fd, LOCK_EX) < 0) {
		err_add(err, "%s: can't use the directory for control sockets: %s", path,
			strerror(errno));
		if (fd >= 0)
			close(fd);
		return -1;
	}
	return fd;
}

static int listen_at(const char *path, struct err *err)
{
	struct sockaddr_un address;
	mode_t mask;
	int fd, result = address_make(path, &address);

	if (result < 0)
		return err_add(err, "%s: the control socket's path has %zu bytes, the limit is %zu",
			path, strlen(path), sizeof(address.sun_path) - 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_add(err, "%s: can't make the control socket: %s", path, strerror(errno));
	mask = umask(0177);
	result = bind(fd, (struct sockaddr *)&address, sizeof(address));
	(void)umask(mask);
	if (result == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	err_add(err, "%s: can't make the control socket: %s", path, strerror(errno));
	close(fd);
	return -1;
}

int run_check_free(const char *name, struct err *err)
{
	int fd = run_connect(name);

	if (fd >= 0)
		close(fd);
	if (fd >= 0 || fd == -EAGAIN)
		return err_add(err,
			"name \"%s\" is in use: a daemon already serves a device of that name",
			name);
	return 0;
}

int run_claim(const char *name, struct err *err)
{
	int directory = directory_lock(err), fd = -1;
	char *path;

	if (directory < 0)
		return -1;
	path = run_socket_path(name);
	if (run_check_free(name, err) == 0) {
		(void)unlink(path); /* a dead daemon's; if it stays bind() tells */
		fd = listen_at(path, err);
	}
	free(path);
	close(directory);
	return fd;
}

static char *path_of(const char *name, const char *suffix)
{
	char *path;

	if (asprintf(&path, "%s/%s%s", run_directory(), name, suffix) < 0)
		abort();
	return path;
}

static void forget(const char *name, const char *suffix)
{
	char *path = path_of(name, suffix);

	(void)unlink(path); /* what stays is replaced by the next claim */
	free(path);
}

void run_release(const char *name)
{
	forget(name, RECORD_SUFFIX);
	forget(name, DOCUMENT_SUFFIX);
	forget(name, SUFFIX);
}

int run_record(const char *name, const char *driver, unsigned id, struct err *err)
{
	char *path = path_of(name, RECORD_SUFFIX);
	FILE *file = fopen(path, "we");
	bool good = file && fprintf(file, "%s %u\n", driver, id) > 0;

	if (file && fclose(file) != 0)
		good = false;
	if (!good)
		err_add(err, "%s: %s", path, strerror(errno));
	free(path);
	return good ? 0 : -1;
}

bool run_recorded(const char *name, struct run_device *device)
{
	char *path = path_of(name, RECORD_SUFFIX);
	FILE *file = fopen(path, "re");
	bool found = file && fscanf(file, "%15s %u", device->driver, &device->id) == 2;

	if (file)
		fclose(file);
	free(path);
	return found;
}

int run_keep(const char *name, const char *path, const char *text, size_t length, struct err *err)
{
	char *kept = path_of(name, DOCUMENT_SUFFIX);
	FILE *file = fopen(kept, "we");
	bool good = file && fprintf(file, "%s\n", path) > 0 &&
		    fwrite(text, 1, length, file) == length;

	if (file && fclose(file) != 0)
		good = false;
	if (!good)
		err_add(err, "%s: %s", kept, strerror(errno));
	free(kept);
	return good ? 0 : -1;
}

int run_kept(const char *name, char **path, char **text, size_t *length, struct err *err)
{
	char *kept = path_of(name, DOCUMENT_SUFFIX), *all = malloc(DOCUMENT_MAX), *end = NULL;
	FILE *file = fopen(kept, "re");
	size_t count = 0;

	if (!all)
		abort();
	if (file) {
		count = fread(all, 1, DOCUMENT_MAX, file);
		end = memchr(all, '\n', count);
		if (ferror(file) || !end)
			errno = EIO;
		fclose(file);
	}
	if (end) {
		*path = strndup(all, (size_t)(end - all));
		*length = count - (size_t)(end + 1 - all);
		*text = strndup(end + 1, *length);
		if (!*path || !*text)
			abort();
	} else {
		err_add(err, "%s: %s", kept, strerror(errno));
	}
	free(kept);
	free(all);
	return end ? 0 : -1;
}

int run_check_known(const char *name, struct err *err)
{
	char *path = path_of(name, RECORD_SUFFIX);
	int result = 0;

	if (strchr(name, '/') || access(path, F_OK) < 0)
		result = err_add(err, "there is no device \"%s\", nor one that its daemon has left", name);
	free(path);
	return result;
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

char **run_list(struct err *err)
{
	char **names = calloc(DEVICE_NAMES_MAX + 1, sizeof(*names));
	DIR *directory = opendir(run_directory());
	struct dirent *entry;
	unsigned count = 0;

	if (!names)
		abort();
	if (!directory && errno == ENOENT)
		return names; /* nothing was ever created */
	if (!directory) {
		err_add(err, "%s: %s%s", run_directory(), strerror(errno),
			errno == EACCES ? "; devices are root's" : "");
		free(names);
		return NULL;
	}
	while (count < DEVICE_NAMES_MAX && (entry = readdir(directory))) {
		size_t length = strlen(entry->d_name);

		if (length <= strlen(SUFFIX) ||
			strcmp(entry->d_name + length - strlen(SUFFIX), SUFFIX))
			continue;
		names[count] = strndup(entry->d_name, length - strlen(SUFFIX));
		if (!names[count++])
			abort();
	}
	closedir(directory);
	qsort(names, count, sizeof(*names), compare);
	return names;
}

void run_list_free(char **names)
{
	char **name;

	for (name = names; name && *name; name++)
		free(*name);
	free(names);
}

bool run_has_device(const char *driver, unsigned id)
{
	struct err unreadable = { 0 };
	char **names = run_list(&unreadable), **name;
	struct run_device device;
	bool found = false;

	for (name = names; name && *name && !found; name++)
		found = run_recorded(*name, &device) && device.id == id &&
			!strcmp(device.driver, driver);
	run_list_free(names);
	err_finish(&unreadable); /* who may not read it has no device there */
	return found;
}
