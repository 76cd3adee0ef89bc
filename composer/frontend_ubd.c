// SPDX-License-Identifier: MIT
/*
 * The ubd front-end: a device of our driver from ADD_DEV to DEL_DEV. Queues are ubd_queue.c's; it
 * knows no target and no leaf.
 *
 * START_DEV reads the partition table through the device, so the queues serve in their own threads
 * before the main thread sends it.
 */
#include "frontend.h"
#include "ubd_control.h"
#include "ubd_queue.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define CHAR_PATH "/dev/ubdc%u"
#define RANGE_MAX (UINT64_C(1) << 30) /* one DISCARD or WRITE_ZEROES */
#define OPEN_TRIES 200 /* of OPEN_PAUSE each: the last server's exit may be under way */
#define OPEN_PAUSE_NS 10000000

struct frontend {
	struct tree *tree;
	struct ubd_control control;
	bool is_added;
	uint32_t id;
	char path[32];
	int char_fd, ended_fd;
	struct ubd_queue *queues;
	unsigned queue_count;
	bool has_plans; /* the driver carries plans out itself */
};

/* The driver can run sub-I/Os itself on disks; not on files. */
static bool can_pass(const struct tree *tree)
{
	unsigned i;

	for (i = 0; i < tree->leaf_count; i++)
		if (strcmp(tree->leaves[i]->node->type->name, "block") != 0)
			return false;
	return tree->leaf_count > 0 && tree->leaf_count <= UBD_MAX_LEGS;
}

int frontend_check(const struct tree *tree, struct err *err)
{
	const struct json *json = json_get(tree->document, "device");
	struct ubd_control control;

	if (tree->device.driver == DRIVER_UBLK)
		return json_err(json_get(json, "driver"), err,
			"driver \"ublk\" is not there yet; \"ubd\" is");
	if (tree->device.fan_out == FAN_OUT_PASSTHROUGH && !can_pass(tree))
		return json_err(json_get(json, "fan_out"), err,
			"fan_out \"passthrough\" needs 1 to %u leaves, all of them disks (type "
			"\"block\")", UBD_MAX_LEGS);
	if (ubd_control_open(&control, err) < 0)
		return -1;
	ubd_control_close(&control);
	return 0;
}

static uint64_t round_down(uint64_t value, uint64_t unit)
{
	return value - value % unit;
}

static int device_parameters(struct frontend *frontend, struct err *err)
{
	const struct limits *limits = &frontend->tree->root->limits;
	uint32_t block = limits->logical_block_size;
	struct ubd_params params = {
		.flags = UBD_PARAM_VOLATILE_CACHE | UBD_PARAM_FUA,
		.logical_block_size = block,
		.physical_block_size = limits->physical_block_size,
		.io_min = limits->io_min,
		.io_opt = limits->io_opt,
	};
	int result;

	if (limits->read_only)
		params.flags |= UBD_PARAM_READ_ONLY;
	if (limits->rotational)
		params.flags |= UBD_PARAM_ROTATIONAL;
	if (limits->discard_granularity) {
		params.discard_granularity = limits->discard_granularity;
		params.max_discard = round_down(RANGE_MAX, limits->discard_granularity);
	}
	if (limits->zeroes_granularity)
		params.max_write_zeroes = round_down(RANGE_MAX, block);
	result = ubd_control_command(
		&frontend->control, UBD_CMD_SET_PARAMS, frontend->id, &params, sizeof(params), 0);
	if (result < 0)
		return err_add(err,
			"%s: the driver refuses the parameters (block sizes %u/%u, "
			"io_min %u, io_opt %u): %s",
			frontend->tree->name, block, limits->physical_block_size, limits->io_min,
			limits->io_opt, strerror(-result));
	return 0;
}

/* The leaves as the driver's legs, so that plans can name them. */
static int device_legs(struct frontend *frontend, struct err *err)
{
	const struct tree *tree = frontend->tree;
	int32_t fds[UBD_MAX_LEGS];
	unsigned i;
	int result;

	if (!frontend->has_plans)
		return 0;
	for (i = 0; i < tree->leaf_count; i++)
		fds[i] = tree->leaves[i]->fd;
	result = ubd_control_command(&frontend->control, UBD_CMD_SET_LEGS, frontend->id, fds,
		(uint16_t)(tree->leaf_count * sizeof(*fds)), 0);
	if (result < 0)
		return err_add(err, "%s: the driver refuses the leaves as legs: %s", tree->name,
			strerror(-result));
	return 0;
}

static int device_add(struct frontend *frontend, struct ubd_dev_info *info, struct err *err)
{
	const struct tree *tree = frontend->tree;
	uint32_t block = tree->root->limits.logical_block_size;
	int result;

	*info = (struct ubd_dev_info){
		.nr_hw_queues = (uint16_t)tree->device.queues,
		.queue_depth = (uint16_t)tree->device.queue_depth,
		.block_size = (uint16_t)block,
		.rq_max_blocks = tree->device.max_io_size / block,
		.dev_id = (uint32_t)-1,
		.dev_blocks = tree->root->limits.size / block,
		.flags = { UBD_F_PARAMS | (frontend->has_plans ? UBD_F_PLANS : 0) },
	};
	result = ubd_control_command(
		&frontend->control, UBD_CMD_ADD_DEV, (uint32_t)-1, info, sizeof(*info), 0);
	if (result < 0)
		return err_add(err, "%s: the driver refuses the device: %s", tree->name,
			strerror(-result));
	frontend->is_added = true;
	frontend->id = info->dev_id;
	(void)snprintf(frontend->path, sizeof(frontend->path), "/dev/ubdb%u", info->dev_id);
	return device_parameters(frontend, err) < 0 ? -1 : device_legs(frontend, err);
}

/* A server's session, or -errno. The last server's exit may be under way, and udev with a new node.
 */
static int session_open(uint32_t id, bool is_new)
{
	const struct timespec pause = { 0, OPEN_PAUSE_NS };
	char path[32];
	unsigned tries;
	int fd;

	(void)snprintf(path, sizeof(path), CHAR_PATH, id); /* fits any id */
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

static int device_open(struct frontend *frontend, struct err *err)
{
	frontend->char_fd = session_open(frontend->id, true);
	if (frontend->char_fd < 0)
		return err_add(err, CHAR_PATH ": %s", frontend->id, strerror(-frontend->char_fd));
	return 0;
}

static int queues_start(
	struct frontend *frontend, const struct ubd_dev_info *info, bool trace, struct err *err)
{
	unsigned i;

	frontend->queues = calloc(info->nr_hw_queues, sizeof(*frontend->queues));
	if (!frontend->queues)
		return err_add(err, "out of memory");
	for (i = 0; i < info->nr_hw_queues; i++) {
		frontend->queues[i] = (struct ubd_queue){
			.tree = frontend->tree,
			.trace = trace,
			.number = (uint16_t)i,
			.depth = info->queue_depth,
			.char_fd = frontend->char_fd,
			.ended_fd = frontend->ended_fd,
			.has_plans = frontend->has_plans,
		};
		frontend->queue_count++;
		if (ubd_queue_start(&frontend->queues[i], err) < 0)
			return -1;
	}
	return 0;
}

int frontend_open(struct frontend **out, struct tree *tree, bool trace, struct err *err)
{
	struct frontend *frontend = calloc(1, sizeof(*frontend));
	struct ubd_dev_info info;

	*out = NULL;
	if (!frontend)
		return err_add(err, "out of memory");
	frontend->tree = tree;
	frontend->has_plans = tree->device.fan_out == FAN_OUT_PASSTHROUGH;
	frontend->char_fd = frontend->control.fd = -1;
	frontend->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (frontend->ended_fd < 0) {
		err_add(err, "eventfd: %s", strerror(errno));
		goto fail;
	}
	if (ubd_control_open(&frontend->control, err) < 0 || device_add(frontend, &info, err) < 0 ||
		device_open(frontend, err) < 0 || queues_start(frontend, &info, trace, err) < 0)
		goto fail;
	*out = frontend;
	return 0;
fail:
	frontend_close(frontend);
	return -1;
}

int frontend_start(struct frontend *frontend, struct err *err)
{
	int result = ubd_control_command(
		&frontend->control, UBD_CMD_START_DEV, frontend->id, NULL, 0, (uint64_t)getpid());

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
	(void)frontend; /* there is one so far */
	return driver_name(DRIVER_UBD);
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
			(const uint64_t *)engine_stats(frontend->queues[i].queue.engine);

		for (j = 0; j < sizeof(*stats) / sizeof(*sums); j++)
			sums[j] += __atomic_load_n(&counters[j], __ATOMIC_RELAXED);
	}
}

size_t frontend_memory(const struct frontend *frontend)
{
	size_t memory = 0;
	unsigned i;

	for (i = 0; i < frontend->queue_count; i++)
		memory += frontend->queues[i].queue.buffers_length +
			  engine_memory(frontend->queues[i].queue.engine);
	return memory;
}

void frontend_close(struct frontend *frontend)
{
	unsigned i;

	if (!frontend)
		return;
	/* Results aside: whatever they are, what follows has to happen, and DEL_DEV stops too. */
	if (frontend->is_added)
		(void)ubd_control_command(
			&frontend->control, UBD_CMD_STOP_DEV, frontend->id, NULL, 0, 0);
	for (i = 0; i < frontend->queue_count; i++)
		ubd_queue_join(&frontend->queues[i]);
	free(frontend->queues);
	if (frontend->char_fd >= 0)
		(void)close(frontend->char_fd); /* no data of ours in it */
	if (frontend->is_added)
		(void)ubd_control_command(
			&frontend->control, UBD_CMD_DEL_DEV, frontend->id, NULL, 0, 0);
	if (frontend->ended_fd >= 0)
		(void)close(frontend->ended_fd);
	ubd_control_close(&frontend->control);
	free(frontend);
}

static bool is_dead(struct ubd_control *control, unsigned id)
{
	struct ubd_dev_info info;

	return ubd_control_command(control, UBD_CMD_GET_DEV_INFO, id, &info, sizeof(info), 0) >=
		       0 &&
	       info.state == UBD_DEV_DEAD;
}

void frontend_remove_dead(unsigned id)
{
	struct err ignored = { 0 };
	struct ubd_control control;
	int session;

	if (ubd_control_open(&control, &ignored) < 0) {
		err_finish(&ignored); /* no driver: then it has no device either */
		return;
	}
	if (is_dead(&control, id)) {
		session = session_open(id, false); /* while we have it nobody else can serve it */
		if (session >= 0 && is_dead(&control, id))
			(void)ubd_control_command(&control, UBD_CMD_DEL_DEV, id, NULL, 0, 0);
		if (session >= 0)
			(void)close(session); /* no data of ours in it */
	}
	ubd_control_close(&control);
}
