/* SPDX-License-Identifier: MIT */
/*
 * The run directory: /run/ubd-compose, with one control socket NAME.sock for each device's daemon.
 *
 * A name is in use while a daemon listens on its socket: the kernel knows that, so a daemon that
 * was killed leaves nothing that could be mistaken. Who isn't root has his in $XDG_RUNTIME_DIR.
 * UBD_COMPOSE_RUN names another directory (for tests). Called by the daemon at its start and end, and by the command line. Short blocking calls.
 */
#ifndef COMPOSER_RUN_DIRECTORY_H
#define COMPOSER_RUN_DIRECTORY_H

#include "err.h"

#include <stdbool.h>

#define DEVICE_NAMES_MAX 4096

const char *run_directory(void);

/* NAME's socket path, to be freed; it may be longer than a socket address allows. */
char *run_socket_path(const char *name);

/* 0, or -1 with a message: a daemon serves a device of that name. */
int run_check_free(const char *name, struct err *err);

/* 0, or -1 with a message: no daemon of that name, alive or dead, has left anything. */
int run_check_known(const char *name, struct err *err);

/*
 * Makes NAME's socket and listens: from then on the name is ours. A dead daemon's socket is
 * replaced. Returns the listening fd, or -1 with a message (in use, no permission, …).
 */
int run_claim(const char *name, struct err *err);

/* Gives the name back: its socket and what is kept go. Only for who has claimed it. */
void run_release(const char *name);

/* Keeps what the device is to the kernel. 0, or -1 with a message. Only for who has the name. */
int run_record(const char *name, const char *driver, unsigned id, struct err *err);

#define DRIVER_NAME_BYTES 16
struct run_device {
	char driver[DRIVER_NAME_BYTES]; /* "ubd" */
	unsigned id;
};

/* The device that a dead daemon of that name has left. False: none. */
bool run_recorded(const char *name, struct run_device *device);

/* Whether that is recorded as the device of any name. */
bool run_has_device(const char *driver, unsigned id);

/*
 * Keeps the document as it was read, for the next daemon: the file's path and its text. 0, or -1
 * with a message. Only for who has the name.
 *
 * run_kept() gets them back, both to be freed, for who hasn't. -1: with a message.
 */
int run_keep(const char *name, const char *path, const char *text, size_t length, struct err *err);
int run_kept(const char *name, char **path, char **text, size_t *length, struct err *err);

/* The names that have sockets, sorted, alive or dead; ended by NULL. NULL with a message: can't
 * read. */
char **run_list(struct err *err);
void run_list_free(char **names);

/* Connects to NAME's daemon. The fd, or -errno: -ENOENT no such name, -ECONNREFUSED it is dead. */
int run_connect(const char *name);

#endif
