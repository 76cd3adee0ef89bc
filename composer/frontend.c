// SPDX-License-Identifier: MIT
/*
 * A device of a kernel's driver, from its making to its removal: what is the same for every driver.
 * It knows no command's code, no target and no leaf.
 *
 * Starting reads the partition table through the device, so the queues serve in their own threads
 * before the main thread asks for it.
 */
#include "frontend_type.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* Leaves that fail after a long time of trying are waited for; a kernel that is silent is not. */
#define START_MS 60000
#define OPEN_PAUSE_NS 10000000

static const struct frontend_type *const types[] = { &frontend_ubd, &frontend_ublk };

#define TYPES (sizeof(types) / sizeof(*types))

const struct frontend_type *frontend_type_named(const char *driver)
{
	unsigned i;

	for (i = 0; i < TYPES; i++)
		if (!strcmp(driver_name(types[i]->driver), driver))
			return types[i];
	return NULL;
}

const struct frontend_type *frontend_type_at(unsigned i)
{
	return i < TYPES ? types[i] : NULL;
}

/* NULL with a message. */
static const struct frontend_type *type_choose(const struct tree *tree, struct err *err)
{
	unsigned i;

	for (i = 0; i < TYPES; i++)
		if (tree->device.driver == types[i]->driver ||
			(tree->device.driver == DRIVER_AUTO &&
				access(types[i]->control_path, F_OK) == 0))
			return types[i];
	err_add(err,
		"neither driver is loaded; try: modprobe ubd, or modprobe ublk_drv, which most "
		"kernels from 6.0 on have");
	return NULL;
}

int frontend_check(const struct tree *tree, struct err *err)
{
	const struct frontend_type *type = type_choose(tree, err);
	struct driver_control control;
	int result = 0;

	if (!type || type->check(tree, err) < 0 || type->control_open(&control, err) < 0)
		return -1;
	if (type->check_features)
		result = type->check_features(tree, control.features, err);
	driver_control_close(&control);
	if (tree->device.recovery != RECOVERY_NONE && !type->adopt)
		return json_err(json_get(json_get(tree->document, "device"), "recovery"), err,
			"driver \"%s\" can't keep a disk without a daemon",
			driver_name(type->driver));
	return result;
}

void frontend_added(struct frontend *frontend, uint32_t id)
{
	frontend->is_added = true;
	frontend->id = id;
	(void)snprintf(frontend->path, sizeof(frontend->path), frontend->type->disk_path, id);
}

int frontend_session(const struct frontend_type *type, uint32_t id, bool is_new, unsigned tries)
{
	const struct timespec pause = { 0, OPEN_PAUSE_NS };
	char path[32];
	int fd;

	(void)snprintf(path, sizeof(path), type->char_path, id); /* fits any id */
	while (tries-- > 0) {
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd >= 0)
			return fd;
		if (errno != EBUSY && !(errno == ENOENT && is_new))
			break;
		(void)nanosleep(&pause, NULL); /* shorter is fine */
	}
	return -errno;
}

static int char_open(struct frontend *frontend, struct err *err)
{
	char path[32];

	frontend->char_fd = frontend_session(frontend->type, frontend->id, true, FRONTEND_TRIES);
	if (frontend->char_fd >= 0)
		return 0;
	(void)snprintf(path, sizeof(path), frontend->type->char_path, frontend->id);
	return err_add(err, "%s: %s", path, strerror(-frontend->char_fd));
}

static int queues_start(struct frontend *frontend, bool trace, struct err *err)
{
	unsigned i;

	frontend->queues = calloc(frontend->queues_wanted, sizeof(struct driver_queue *));
	if (!frontend->queues)
		return err_add(err, "out of memory");
	for (i = 0; i < frontend->queues_wanted; i++) {
		struct driver_queue *queue = calloc(1, frontend->queue_type->size);

		if (!queue)
			return err_add(err, "out of memory");
		queue->type = frontend->queue_type;
		queue->tree = frontend->tree;
		queue->first = i > 0 ? frontend->queues[0] : queue;
		queue->trace = trace;
		queue->number = (uint16_t)i;
		queue->count = (uint16_t)frontend->queues_wanted;
		queue->depth = frontend->depth;
		queue->char_fd = frontend->char_fd;
		queue->ended_fd = frontend->ended_fd;
		frontend->queues[frontend->queue_count++] = queue;
		if (driver_queue_start(queue, err) < 0)
			return -1;
	}
	return 0;
}

struct frontend *frontend_make(const struct frontend_type *type, struct err *err)
{
	struct frontend *frontend = calloc(1, sizeof(*frontend));

	if (!frontend) {
		err_add(err, "out of memory");
		return NULL;
	}
	frontend->type = type;
	frontend->char_fd = frontend->control.fd = -1;
	frontend->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (frontend->ended_fd < 0) {
		err_add(err, "eventfd: %s", strerror(errno));
		frontend_close(frontend);
		return NULL;
	}
	return frontend;
}

static int device_make(struct frontend *frontend, struct err *err)
{
	const struct frontend_type *type = frontend->type;

	if (!frontend->is_taken && starter_open(&frontend->starter, type, err) < 0)
		return -1;
	if (type->control_open(&frontend->control, err) < 0)
		return -1;
	if (frontend->is_taken ? type->adopt(frontend, err) < 0
			       : type->add(frontend, err) < 0 || char_open(frontend, err) < 0)
		return -1;
	return type->attach ? type->attach(frontend, err) : 0;
}

int frontend_open(struct frontend **inout, struct tree *tree, bool trace, struct err *err)
{
	struct frontend *frontend = *inout;

	*inout = NULL;
	if (!frontend) {
		const struct frontend_type *type = type_choose(tree, err);

		frontend = type ? frontend_make(type, err) : NULL;
	}
	if (!frontend)
		return -1;
	frontend->tree = tree;
	if (device_make(frontend, err) == 0 && queues_start(frontend, trace, err) == 0) {
		*inout = frontend;
		return 0;
	}
	if (frontend->control.is_stuck)
		return FRONTEND_STUCK;
	frontend_close(frontend);
	return -1;
}

bool frontend_call(struct frontend *frontend, frontend_function *function, void *argument)
{
	return queue_call(&frontend->queues[0]->queue, function, argument);
}

/* Its engine isn't the first queue's; then none of theirs is. */
static bool has_own_engine(const struct frontend *frontend, unsigned queue)
{
	return queue == 0 || frontend->queues[queue]->queue.engine != frontend->queues[0]->queue.engine;
}

/* By an engine's first queue, if that has not ended: then none of its queues gets requests any more. */
void frontend_call_all(struct frontend *frontend, frontend_function *function, void *argument)
{
	unsigned i;

	for (i = 0; i < frontend->queue_count && has_own_engine(frontend, i); i++)
		(void)queue_call(&frontend->queues[i]->queue, function, argument);
}

static void begin(struct engine *engine, void *argument)
{
	(void)argument;
	engine_begin(engine);
}

/* It is served already, by a tree that has all that the smaller disk had. */
static void enlarge(struct frontend *frontend)
{
	int result = frontend->type->resize(frontend);

	if (result < 0)
		log_say("%s keeps its size, as the driver refuses the tree's: %s", frontend->path,
			strerror(-result));
}

int frontend_start(struct frontend *frontend, struct err *err)
{
	int result;

	frontend_call_all(frontend, begin, NULL); /* start() notices a queue that has ended */
	result = frontend->is_taken ? frontend->type->resume(frontend)
				    : starter_run(&frontend->starter, frontend->id, START_MS);
	starter_close(&frontend->starter);
	if (result == -ETIME) {
		err_add(err, "%s: the kernel has not started the disk within %d s; given up",
			frontend->path, START_MS / 1000);
		return FRONTEND_STUCK;
	}
	if (result < 0)
		return err_add(err, "%s: the driver can't start the disk: %s", frontend->path,
			strerror(-result));
	frontend->is_added = true;
	frontend->is_taken = false;
	if (frontend->is_smaller)
		enlarge(frontend);
	if (frontend->type->started)
		frontend->type->started(frontend);
	return 0;
}

const char *frontend_path(const struct frontend *frontend)
{
	return frontend->path;
}

unsigned frontend_id(const struct frontend *frontend)
{
	return frontend->id;
}

const char *frontend_driver(const struct frontend *frontend)
{
	return driver_name(frontend->type->driver);
}

int frontend_ended_fd(const struct frontend *frontend)
{
	return frontend->ended_fd;
}

/* Every member of engine_stats is a uint64_t counter, so that sums need not name them. */
_Static_assert(sizeof(struct engine_stats) % sizeof(uint64_t) == 0, "counters only");

void frontend_stats(const struct frontend *frontend, struct engine_stats *stats)
{
	uint64_t *sums = (uint64_t *)stats;
	unsigned i, j;

	*stats = (struct engine_stats){ 0 };
	for (i = 0; i < frontend->queue_count && has_own_engine(frontend, i); i++) {
		const uint64_t *counters =
			(const uint64_t *)engine_stats(frontend->queues[i]->queue.engine);

		for (j = 0; j < sizeof(*stats) / sizeof(*sums); j++)
			sums[j] += __atomic_load_n(&counters[j], __ATOMIC_RELAXED);
	}
}

size_t frontend_memory(const struct frontend *frontend)
{
	size_t memory = 0;
	unsigned i;

	for (i = 0; i < frontend->queue_count; i++)
		memory += frontend->queues[i]->queue.buffers_length +
			  (has_own_engine(frontend, i) ? engine_memory(frontend->queues[i]->queue.engine) : 0);
	return memory;
}

void frontend_close(struct frontend *frontend)
{
	unsigned i;

	if (!frontend || frontend->is_unanswered)
		return;
	if (frontend->is_added && frontend->type->is_waiting &&
		frontend->type->is_waiting(&frontend->control, frontend->id))
		frontend->is_added = false;
	frontend_end_waiting(frontend);
	/* Results aside: whatever they are, what follows has to happen, and remove() stops too. */
	if (frontend->is_added)
		(void)frontend->type->stop(&frontend->control, frontend->id);
	if (frontend->is_taken && frontend->queue_count) {
		(void)frontend->type->hand_over(&frontend->control, frontend->id);
		frontend->is_left = true;
	}
	if (frontend->is_left)
		frontend_leave(frontend);
	for (i = 0; i < frontend->queue_count; i++) {
		if (driver_queue_join(frontend->queues[i]))
			free(frontend->queues[i]);
	}
	free(frontend->queues);
	if (frontend->char_fd >= 0)
		(void)close(frontend->char_fd); /* no data of ours in it */
	if (frontend->is_added)
		(void)frontend->type->remove(&frontend->control, frontend->id, false);
	if (frontend->ended_fd >= 0)
		(void)close(frontend->ended_fd);
	driver_control_close(&frontend->control);
	starter_close(&frontend->starter);
	free(frontend);
}
