// SPDX-License-Identifier: MIT
/*
 * The ubd front-end: a device of our driver (kmod/ubd_cmd.h). Its queues are ubd_queue.c's; it
 * knows no target.
 */
#include "frontend_type.h"
#include "ubd_control.h"
#include "ubd_queue.h"

#include <string.h>
#include <unistd.h>

#define HAND_OVER_MS 3000 /* less than who asked for it waits for the daemon's answer */
#define RANGE_MAX (UINT64_C(1) << 30) /* one DISCARD or WRITE_ZEROES; limits.unmap_max may say less */

/* The driver can run sub-I/Os itself on all that can be read and written past the page cache, both. */
static bool can_pass(const struct tree *tree)
{
	unsigned i;

	for (i = 0; i < tree->leaf_count; i++)
		if (!tree->leaves[i]->direct || tree->leaves[i]->node->limits.read_only)
			return false;
	return tree->leaf_count > 0 && tree->leaf_count <= UBD_MAX_LEGS;
}

/* Whether the driver is to carry plans out itself: HACKING.md says why `auto` is for it. */
static bool has_plans(const struct tree *tree)
{
	return tree->device.fan_out == FAN_OUT_PASSTHROUGH ||
		(tree->device.fan_out == FAN_OUT_AUTO && can_pass(tree));
}

static int ubd_check(const struct tree *tree, struct err *err)
{
	if (tree->device.fan_out == FAN_OUT_PASSTHROUGH && !can_pass(tree))
		return json_err(json_get(json_get(tree->document, "device"), "fan_out"), err,
			"fan_out \"passthrough\" needs 1 to %u leaves, none of them with "
			"\"direct\": false",
			UBD_MAX_LEGS);
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
	uint64_t range = RANGE_MAX;
	int result;

	if (frontend->tree->device.recovery != RECOVERY_NONE)
		params.recovery_ms = frontend->tree->device.recovery_timeout * 1000;
	if (frontend->tree->device.recovery == RECOVERY_REISSUE)
		params.flags |= UBD_PARAM_REISSUE;
	if (limits->unmap_max && limits->unmap_max < range)
		range = limits->unmap_max;
	if (limits->read_only)
		params.flags |= UBD_PARAM_READ_ONLY;
	if (limits->rotational)
		params.flags |= UBD_PARAM_ROTATIONAL;
	if (limits->discard_granularity) {
		params.discard_granularity = limits->discard_granularity;
		params.max_discard = round_down(range, limits->discard_granularity);
	}
	if (limits->zeroes_granularity)
		params.max_write_zeroes = round_down(range, block);
	result = driver_control_command(
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
static int ubd_attach(struct frontend *frontend, struct err *err)
{
	const struct tree *tree = frontend->tree;
	int32_t fds[UBD_MAX_LEGS];
	unsigned i;
	int result;

	if (!has_plans(tree))
		return 0;
	for (i = 0; i < tree->leaf_count; i++)
		fds[i] = tree->leaves[i]->fd;
	result = driver_control_command(&frontend->control, UBD_CMD_SET_LEGS, frontend->id, fds,
		(uint16_t)(tree->leaf_count * sizeof(*fds)), 0);
	if (result < 0)
		return err_add(err, "%s: the driver refuses the leaves as legs: %s", tree->name,
			strerror(-result));
	return 0;
}

/* The device that the tree wants. */
static struct ubd_dev_info device_wanted(const struct tree *tree, uint64_t features)
{
	uint32_t block = tree->root->limits.logical_block_size;
	struct ubd_dev_info info = {
		.nr_hw_queues = (uint16_t)tree->device.queues,
		.queue_depth = (uint16_t)tree->device.queue_depth,
		.block_size = (uint16_t)block,
		.rq_max_blocks = tree->device.max_io_size / block,
		.dev_id = DRIVER_NO_DEVICE,
		.dev_blocks = tree->root->limits.size / block,
		.flags = { UBD_F_PARAMS | UBD_F_BATCHES | (features & UBD_F_RESIZE) },
	};

	if (has_plans(tree))
		info.flags[0] |= UBD_F_PLANS;
	if (tree->device.recovery != RECOVERY_NONE)
		info.flags[0] |= UBD_F_RECOVERY;
	return info;
}

static void device_is(struct frontend *frontend, const struct ubd_dev_info *info)
{
	frontend->queues_wanted = info->nr_hw_queues;
	frontend->depth = info->queue_depth;
	frontend->queue_type = has_plans(frontend->tree) ? &ubd_queue_type_plans : &ubd_queue_type;
}

static int ubd_add(struct frontend *frontend, struct err *err)
{
	const struct tree *tree = frontend->tree;
	struct ubd_dev_info info = device_wanted(tree, frontend->control.features);
	int result = driver_control_command(
		&frontend->control, UBD_CMD_ADD_DEV, DRIVER_NO_DEVICE, &info, sizeof(info), 0);

	if (result < 0)
		return err_add(err, "%s: the driver refuses the device: %s", tree->name,
			strerror(-result));
	frontend_added(frontend, info.dev_id);
	device_is(frontend, &info);
	return device_parameters(frontend, err);
}

/* What its users rely on has to be as it was. */
static int ubd_adopt(struct frontend *frontend, struct err *err)
{
	struct ubd_dev_info wanted = device_wanted(frontend->tree, frontend->control.features), info;
	int result = driver_control_command(
		&frontend->control, UBD_CMD_GET_DEV_INFO, frontend->id, &info, sizeof(info), 0);

	if (result < 0)
		return err_add(err, "%s: the driver doesn't know it: %s", frontend->path,
			strerror(-result));
	if (info.state != UBD_DEV_WAITING)
		return err_add(err, "%s does not wait for a daemon", frontend->path);
	frontend->is_smaller = info.dev_blocks < wanted.dev_blocks;
	if (info.block_size != wanted.block_size || info.dev_blocks > wanted.dev_blocks ||
		info.rq_max_blocks != wanted.rq_max_blocks ||
		(info.flags[0] ^ wanted.flags[0]) & ~UBD_F_RESIZE)
		return err_add(err,
			"%s has %llu blocks of %u bytes, requests of %u blocks and features 0x%llx; "
			"the tree would make %llu of %u, %u and 0x%llx of it",
			frontend->path, (unsigned long long)info.dev_blocks, info.block_size,
			info.rq_max_blocks, (unsigned long long)info.flags[0],
			(unsigned long long)wanted.dev_blocks, wanted.block_size,
			wanted.rq_max_blocks, (unsigned long long)wanted.flags[0]);
	if (frontend->is_smaller && !(info.flags[0] & UBD_F_RESIZE))
		return err_add(err,
			"%s has %llu blocks, the tree %llu, and the disk was made as one whose size "
			"stays", frontend->path, (unsigned long long)info.dev_blocks,
			(unsigned long long)wanted.dev_blocks);
	device_is(frontend, &info);
	return 0;
}

static int ubd_resize(struct frontend *frontend)
{
	return driver_control_command(&frontend->control, UBD_CMD_UPDATE_SIZE, frontend->id, NULL, 0,
		device_wanted(frontend->tree, 0).dev_blocks);
}

static int ubd_resume(struct frontend *frontend)
{
	return driver_control_command(
		&frontend->control, UBD_CMD_RESUME_DEV, frontend->id, NULL, 0, (uint64_t)getpid());
}

static int ubd_hand_over(struct driver_control *control, uint32_t id)
{
	return driver_control_command(control, UBD_CMD_HAND_OVER_DEV, id, NULL, 0, HAND_OVER_MS);
}

static int ubd_start(struct driver_control *control, uint32_t id, pid_t server)
{
	return driver_control_command_within(
		control, UBD_CMD_START_DEV, id, NULL, 0, (uint64_t)server, 0);
}

static int ubd_stop(struct driver_control *control, uint32_t id)
{
	return driver_control_command_within(control, UBD_CMD_STOP_DEV, id, NULL, 0, 0, 0);
}

static int ubd_remove(struct driver_control *control, uint32_t id, bool is_open)
{
	(void)is_open;
	return driver_control_command_within(control, UBD_CMD_DEL_DEV, id, NULL, 0, 0, 0);
}

static bool get_info(struct driver_control *control, uint32_t id, struct ubd_dev_info *info)
{
	return driver_control_command(control, UBD_CMD_GET_DEV_INFO, id, info, sizeof(*info), 0) >= 0;
}

static bool is_in_state(struct driver_control *control, uint32_t id, uint16_t state)
{
	struct ubd_dev_info info;

	return get_info(control, id, &info) && info.state == state;
}

static bool ubd_is_dead(struct driver_control *control, uint32_t id)
{
	return is_in_state(control, id, UBD_DEV_DEAD);
}

/* A killed server's session lasts until its I/O on the leaves has ended. */
static bool ubd_is_ending(struct driver_control *control, uint32_t id)
{
	struct ubd_dev_info info;

	return get_info(control, id, &info) && info.state == UBD_DEV_LIVE && frontend_server_ends(info.pid);
}

static bool ubd_is_waiting(struct driver_control *control, uint32_t id)
{
	return is_in_state(control, id, UBD_DEV_WAITING);
}

const struct frontend_type frontend_ubd = {
	.driver = DRIVER_UBD,
	.control_path = "/dev/ubd-control",
	.char_path = "/dev/ubdc%u",
	.disk_path = "/dev/ubdb%u",
	.check = ubd_check,
	.control_open = ubd_control_open,
	.add = ubd_add,
	.attach = ubd_attach,
	.start = ubd_start,
	.stop = ubd_stop,
	.remove = ubd_remove,
	.is_dead = ubd_is_dead,
	.is_ending = ubd_is_ending,
	.adopt = ubd_adopt,
	.resume = ubd_resume,
	.resize = ubd_resize,
	.hand_over = ubd_hand_over,
	.is_waiting = ubd_is_waiting,
};
