// SPDX-License-Identifier: MIT
/* Orphans, found by the drivers' char devices in /dev. */
#include "orphan.h"

#include "frontend_type.h"
#include "run_directory.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The device's number if `name` is one of the driver's char devices. */
static bool is_device(const struct frontend_type *type, const char *name, unsigned *id)
{
	const char *format = strrchr(type->char_path, '/') + 1; /* "ubdc%u" */
	char again[32];

	if (sscanf(name, format, id) != 1)
		return false;
	(void)snprintf(again, sizeof(again), format, *id); /* cut, it isn't the same */
	return !strcmp(again, name);
}

static bool is_orphan(const struct frontend_type *type, struct driver_control *control, unsigned id)
{
	int session;
	bool is_left =
		type->is_dead(control, id) || (type->is_waiting && type->is_waiting(control, id));

	if (!is_left || run_has_device(driver_name(type->driver), id))
		return false;
	session = frontend_session(type, id, false, 1);
	if (session < 0)
		return false; /* a daemon that is just starting it */
	(void)close(session); /* no data of ours in it */
	return true;
}

/* Calls each() for the driver's devices until it says no. */
static void each_device(const struct frontend_type *type,
	bool (*each)(const struct frontend_type *type, struct driver_control *control, unsigned id,
		void *context),
	void *context)
{
	struct err unavailable = { 0 };
	struct driver_control control;
	struct dirent *entry;
	unsigned id;
	DIR *dev;

	if (access(type->control_path, R_OK | W_OK) < 0)
		return;
	if (type->control_open(&control, &unavailable) < 0) {
		err_finish(&unavailable); /* then there is nothing that we could do about them */
		return;
	}
	dev = opendir("/dev");
	while (dev && (entry = readdir(dev)))
		if (is_device(type, entry->d_name, &id) && !each(type, &control, id, context))
			break;
	if (dev)
		closedir(dev);
	driver_control_close(&control);
}

struct search {
	struct orphan *orphans;
	unsigned count;
};

static void orphan_name(struct orphan *orphan, const struct frontend_type *type, unsigned id)
{
	orphan->driver = driver_name(type->driver);
	orphan->id = id;
	(void)snprintf(orphan->path, sizeof(orphan->path), type->disk_path, id); /* fits any id */
}

static bool find_one(const struct frontend_type *type, struct driver_control *control, unsigned id,
	void *context)
{
	struct search *search = context;

	if (is_orphan(type, control, id))
		orphan_name(&search->orphans[search->count++], type, id);
	return search->count < ORPHANS_MAX;
}

static int by_path(const void *a, const void *b)
{
	const struct orphan *one = a, *other = b;
	int order = strcmp(one->driver, other->driver);

	return order ? order : (int)(one->id > other->id) - (int)(one->id < other->id);
}

unsigned orphans_find(struct orphan *orphans)
{
	struct search search = { .orphans = orphans };
	const struct frontend_type *type;
	unsigned i;

	for (i = 0; (type = frontend_type_at(i)) && search.count < ORPHANS_MAX; i++)
		each_device(type, find_one, &search);
	qsort(orphans, search.count, sizeof(*orphans), by_path);
	return search.count;
}

/* What was asked for, among all devices. */
struct choice {
	const char *called;
	struct orphan orphan, other; /* the first and the last that fit */
	unsigned fits;
};

static bool is_called(const struct orphan *orphan, const char *called)
{
	char number[16];

	(void)snprintf(number, sizeof(number), "%u", orphan->id);
	return !strcmp(called, orphan->path) || !strcmp(called, orphan->path + strlen("/dev/")) ||
	       !strcmp(called, number);
}

static bool choose_one(const struct frontend_type *type, struct driver_control *control,
	unsigned id, void *context)
{
	struct choice *choice = context;
	struct orphan orphan;

	(void)control;
	orphan_name(&orphan, type, id);
	if (is_called(&orphan, choice->called)) {
		if (!choice->fits++)
			choice->orphan = orphan;
		choice->other = orphan;
	}
	return true;
}

static bool remove_one(const struct frontend_type *type, struct driver_control *control,
	unsigned id, void *context)
{
	struct orphan *orphan = context;

	if (id != orphan->id || strcmp(driver_name(type->driver), orphan->driver) != 0)
		return true;
	if (is_orphan(type, control, id)) {
		frontend_remove_waiting(orphan->driver, id);
		frontend_remove_dead(orphan->driver, id);
		orphan->path[0] = '\0';
	}
	return false;
}

int orphan_remove(const char *called, struct err *err)
{
	struct choice choice = { .called = called };
	const struct frontend_type *type;
	unsigned i;

	for (i = 0; (type = frontend_type_at(i)); i++)
		each_device(type, choose_one, &choice);
	if (choice.fits == 0)
		return err_add(
			err, "there is no orphan \"%s\"; `ubd-compose list` shows them", called);
	if (choice.fits > 1)
		return err_add(err, "\"%s\" could be %s or %s; name it so", called,
			choice.orphan.path, choice.other.path);
	for (i = 0; (type = frontend_type_at(i)); i++)
		each_device(type, remove_one, &choice.orphan);
	if (choice.orphan.path[0])
		return err_add(err,
			"%s is no orphan: its daemon is alive, or its name is left; "
			"`ubd-compose list` shows them",
			choice.orphan.path);
	return 0;
}
