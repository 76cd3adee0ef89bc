// SPDX-License-Identifier: MIT
/*
 * Devices that a daemon has left behind in a kernel's driver: dead ones to be removed, and those
 * whose disk waits for the next daemon. It knows no tree.
 */
#include "frontend_type.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define EXIT_TRIES 3000 /* half a minute: a dead server's I/O on a slow leaf is part of its exit */
#define PAUSE_NS 10000000
#define END_MS 10000 /* for a killed server's process, which may be about to end */

bool frontend_server_ends(int pid)
{
	struct pollfd process = { .events = POLLIN };
	bool has_ended;

	if (pid <= 0)
		return true; /* it has closed the char device, and the disk goes */
	process.fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (process.fd < 0)
		return errno == ESRCH;
	has_ended = poll(&process, 1, END_MS) > 0;
	(void)close(process.fd); /* only looked at */
	return has_ended;
}

/* Tells the driver that another server comes. 0, or -errno. */
static int announce(const struct frontend_type *type, uint32_t id, struct err *err)
{
	const struct timespec pause = { 0, PAUSE_NS };
	struct driver_control control;
	unsigned tries = EXIT_TRIES;
	int result;

	if (!type->take)
		return 0;
	if (type->control_open(&control, err) < 0)
		return -ENODEV;
	while ((result = type->take(&control, id)) == -EBUSY && --tries > 0)
		(void)nanosleep(&pause, NULL); /* shorter is fine */
	driver_control_close(&control);
	return result;
}

int frontend_take(struct frontend **out, const char *driver, unsigned id, struct err *err)
{
	const struct frontend_type *type = frontend_type_named(driver);
	struct frontend *frontend;

	*out = NULL;
	if (!type || !type->adopt)
		return err_add(err, "driver \"%s\" can't keep a disk without a daemon", driver);
	frontend = frontend_make(type, err);
	if (!frontend)
		return -1;
	frontend->id = id;
	frontend->is_taken = true;
	frontend_path_of(driver, id, frontend->path);
	frontend->char_fd = announce(type, id, err);
	if (frontend->char_fd >= 0)
		frontend->char_fd = frontend_session(type, id, false, EXIT_TRIES);
	if (frontend->char_fd >= 0) {
		*out = frontend;
		return 0;
	}
	if (frontend->char_fd == -ETIME)
		err_add(err, "%s can't be taken over: the kernel has not answered within %d s",
			frontend->path, FRONTEND_TAKE_MS / 1000);
	else
		err_add(err, "%s can't be taken over: %s", frontend->path,
			strerror(-frontend->char_fd));
	frontend_close(frontend);
	return -1;
}

void frontend_path_of(const char *driver, unsigned id, char path[FRONTEND_PATH_BYTES])
{
	const struct frontend_type *type = frontend_type_named(driver);

	*path = '\0';
	if (type)
		(void)snprintf(path, FRONTEND_PATH_BYTES, type->disk_path, id); /* fits any id */
}

int frontend_check_hand_over(const char *driver, struct err *err)
{
	const struct frontend_type *type = frontend_type_named(driver);
	struct driver_control control;
	int result;

	if (!type || !type->check_hand_over)
		return 0;
	if (type->control_open(&control, err) < 0)
		return -1;
	result = type->check_hand_over(control.features, err);
	driver_control_close(&control);
	return result;
}

/* Asks, and if it does wait, with `remove` ends that. */
static bool waiting(const char *driver, unsigned id, bool remove)
{
	const struct frontend_type *type = frontend_type_named(driver);
	struct err ignored = { 0 };
	struct driver_control control;
	bool is_waiting;

	if (!type || !type->is_waiting || type->control_open(&control, &ignored) < 0) {
		err_finish(&ignored); /* no driver: then it has no device either */
		return false;
	}
	is_waiting = type->is_waiting(&control, id);
	if (is_waiting && remove)
		(void)type->remove(&control, id, false); /* what fails then is gone already */
	driver_control_close(&control);
	return is_waiting;
}

bool frontend_is_waiting(const char *driver, unsigned id)
{
	return waiting(driver, id, false);
}

void frontend_remove_waiting(const char *driver, unsigned id)
{
	(void)waiting(driver, id, true);
}

void frontend_remove_dead(const char *driver, unsigned id)
{
	const struct frontend_type *type = frontend_type_named(driver);
	struct err ignored = { 0 };
	struct driver_control control;
	const struct timespec pause = { 0, PAUSE_NS };
	unsigned tries = EXIT_TRIES;
	int session, result = 0;

	if (!type || type->control_open(&control, &ignored) < 0) {
		err_finish(&ignored); /* no driver: then it has no device either */
		return;
	}
	while (!type->is_dead(&control, id) && type->is_ending && type->is_ending(&control, id) &&
		--tries > 0)
		(void)nanosleep(&pause, NULL); /* shorter is fine */
	if (type->is_dead(&control, id)) {
		/* while we have it nobody else can serve it */
		session = frontend_session(type, id, false, EXIT_TRIES);
		if (session >= 0 && type->is_dead(&control, id))
			result = type->remove(&control, id, true);
		if (session >= 0)
			(void)close(session); /* no data of ours in it */
		if (result == -EOPNOTSUPP)
			(void)type->remove(&control, id, false);
		while (session >= 0 && type->is_dead(&control, id) && --tries > 0)
			(void)nanosleep(&pause, NULL); /* else the number is not free yet */
	}
	driver_control_close(&control);
}
