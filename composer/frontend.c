// SPDX-License-Identifier: MIT
/*
 * A device of a kernel's driver, from its making to its removal: what is the same for every driver.
 * It knows no command's code, no target and no leaf.
 *
 * Starting reads the partition table through the device, so the queues serve in their own threads
 * before the main thread asks for it.
 */
#include "frontend_type.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define OPEN_TRIES 200 /* of OPEN_PAUSE each: the last server's exit may be under way */
#define OPEN_PAUSE_NS 10000000

static const struct frontend_type *const types[] = { &frontend_ubd };

#define TYPES (sizeof(types) / sizeof(*types))

/* NULL with a message. */
static const struct frontend_type *type_choose(const struct tree *tree, struct err *err)
{
	unsigned i;

	for (i = 0; i < TYPES; i++)
		if (tree->device.driver == types[i]->driver)
			return types[i];
	if (tree->device.driver == DRIVER_AUTO) {
		for (i = 0; i < TYPES; i++)
			if (access(types[i]->control_path, F_OK) == 0)
				return types[i];
		return types[0]; /* whose message says what to load */
	}
	json_err(json_get(json_get(tree->document, "device"), "driver"), err,
		"driver \"%s\" is not there yet; \"ubd\" is", driver_name(tree->device.driver));
	return NULL;
}

int frontend_check(const struct tree *tree, struct err *err)
{
	const struct frontend_type *type = type_choose(tree, err);
	struct driver_control control;

	if (!type || type->check(tree, err) < 0 || type->control_open(&control, err) < 0)
		return -1;
	driver_control_close(&control);
	return 0;
}

void frontend_added(struct frontend *frontend, uint32_t id)
{
	frontend->is_added = true;
	frontend->id = id;
	(void)snprintf(frontend->path, sizeof(frontend->path), frontend->type->disk_path, id);
}

/*
 * A server's session, or -errno. The last server's exit may be under way, and udev with a new node.
 */
static int session_open(const struct frontend_type *type, uint32_t id, bool is_new)
{
	const struct timespec pause = { 0, OPEN_PAUSE_NS };
	char path[32];
	unsigned tries;
	int fd;

	(void)snprintf(path, sizeof(path), type->char_path, id); /* fits any id */
	for (tries = 0; tries < OPEN_TRIES; tries++) {
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

	frontend->char_fd = session_open(frontend->type, frontend->id, true);
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
		queue->trace = trace;
		queue->number = (uint16_t)i;
		queue->depth = frontend->depth;
		queue->char_fd = frontend->char_fd;
		queue->ended_fd = frontend->ended_fd;
		frontend->queues[frontend->queue_count++] = queue;
		if (driver_queue_start(queue, err) < 0)
			return -1;
	}
	return 0;
}

int frontend_open(struct frontend **out, struct tree *tree, bool trace, struct err *err)
{
	const struct frontend_type *type = type_choose(tree, err);
	struct frontend *frontend;

	*out = NULL;
	if (!type)
		return -1;
	frontend = calloc(1, sizeof(*frontend));
	if (!frontend)
		return err_add(err, "out of memory");
	frontend->type = type;
	frontend->tree = tree;
	frontend->char_fd = frontend->control.fd = -1;
	frontend->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (frontend->ended_fd < 0) {
		err_add(err, "eventfd: %s", strerror(errno));
		goto fail;
	}
	if (type->control_open(&frontend->control, err) < 0 || type->add(frontend, err) < 0 ||
		char_open(frontend, err) < 0 || queues_start(frontend, trace, err) < 0)
		goto fail;
	*out = frontend;
	return 0;
fail:
	frontend_close(frontend);
	return -1;
}

bool frontend_call(struct frontend *frontend, frontend_function *function, void *argument)
{
	return queue_call(&frontend->queues[0]->queue, function, argument);
}

static void begin(struct engine *engine, void *argument)
{
	(void)argument;
	engine_begin(engine);
}

int frontend_start(struct frontend *frontend, struct err *err)
{
	unsigned i;
	int result;

	for (i = 0; i < frontend->queue_count; i++) /* start() notices a queue that has ended */
		(void)queue_call(&frontend->queues[i]->queue, begin, NULL);
	result = frontend->type->start(frontend);
	if (result < 0)
		return err_add(err, "%s: the driver can't start the disk: %s", frontend->path,
			strerror(-result));
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
	for (i = 0; i < frontend->queue_count; i++) {
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
			  engine_memory(frontend->queues[i]->queue.engine);
	return memory;
}

void frontend_close(struct frontend *frontend)
{
	unsigned i;

	if (!frontend)
		return;
	/* Results aside: whatever they are, what follows has to happen, and remove() stops too. */
	if (frontend->is_added)
		(void)frontend->type->stop(&frontend->control, frontend->id);
	for (i = 0; i < frontend->queue_count; i++) {
		driver_queue_join(frontend->queues[i]);
		free(frontend->queues[i]);
	}
	free(frontend->queues);
	if (frontend->char_fd >= 0)
		(void)close(frontend->char_fd); /* no data of ours in it */
	if (frontend->is_added)
		(void)frontend->type->remove(&frontend->control, frontend->id);
	if (frontend->ended_fd >= 0)
		(void)close(frontend->ended_fd);
	driver_control_close(&frontend->control);
	free(frontend);
}

static const struct frontend_type *type_named(const char *driver)
{
	unsigned i;

	for (i = 0; i < TYPES; i++)
		if (!strcmp(driver_name(types[i]->driver), driver))
			return types[i];
	return NULL;
}

void frontend_remove_dead(const char *driver, unsigned id)
{
	const struct frontend_type *type = type_named(driver);
	struct err ignored = { 0 };
	struct driver_control control;
	int session;

	if (!type || type->control_open(&control, &ignored) < 0) {
		err_finish(&ignored); /* no driver: then it has no device either */
		return;
	}
	if (type->is_dead(&control, id)) {
		session =
			session_open(type, id, false); /* else somebody could serve it meanwhile */
		if (session >= 0 && type->is_dead(&control, id))
			(void)type->remove(&control, id);
		if (session >= 0)
			(void)close(session); /* no data of ours in it */
	}
	driver_control_close(&control);
}
