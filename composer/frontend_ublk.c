// SPDX-License-Identifier: MIT
/*
 * The ublk front-end: a device of the mainline driver (ublk_cmd.h). Its queues are ublk_queue.c's;
 * it knows no target.
 */
#include "crc32c.h"
#include "frontend_type.h"
#include "ublk_control.h"
#include "ublk_queue.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define RANGE_MAX (UINT64_C(1) << 30) /* one DISCARD or WRITE_ZEROES */
#define SECTOR 512

/* The driver keeps 64 bits for the server: who it is, and for which device. */
#define MARK (UINT64_C(0x7562642d) << 32)
#define MARK_MASK (UINT64_C(0xffffffff) << 32)

/* What requests need to be handed down without a copy, and to be copied where they can't be. */
#define PASS_FEATURES (UBLK_F_AUTO_BUF_REG | UBLK_F_USER_COPY)

static bool can_pass(uint64_t features)
{
	return (features & PASS_FEATURES) == PASS_FEATURES;
}

static int ublk_check(const struct tree *tree, struct err *err)
{
	(void)tree;
	(void)err;
	return 0; /* it takes any tree */
}

static int ublk_check_features(const struct tree *tree, uint64_t features, struct err *err)
{
	if (tree->device.fan_out == FAN_OUT_PASSTHROUGH && !can_pass(features))
		return json_err(json_get(json_get(tree->document, "device"), "fan_out"), err,
			"fan_out \"passthrough\" needs Linux 6.16 or later with driver \"ublk\": "
			"this one's features are 0x%" PRIx64 ", 0x%llx are needed",
			features, PASS_FEATURES);
	return 0;
}

/* Whether requests are handed down. */
static bool has_pass(const struct tree *tree, uint64_t features)
{
	return can_pass(features) && (tree->device.fan_out == FAN_OUT_PASSTHROUGH ||
					     tree->device.fan_out == FAN_OUT_AUTO);
}

static uint8_t shift_of(uint32_t power_of_two)
{
	return (uint8_t)__builtin_ctz(power_of_two);
}

static bool is_power_of_two(uint32_t value)
{
	return value && !(value & (value - 1));
}

/*
 * The driver has io_min and io_opt as powers of two. What is none is left out: an io_opt of three
 * legs' width rounded to two legs' would mislead a file system.
 */
static void hints_set(struct ublk_params *params, const struct limits *limits)
{
	uint32_t io_min = limits->io_min;

	if (!is_power_of_two(io_min) || io_min < limits->physical_block_size)
		io_min = limits->physical_block_size;
	params->io_min_shift = shift_of(io_min);
	params->io_opt_shift =
		is_power_of_two(limits->io_opt) ? shift_of(limits->io_opt) : params->io_min_shift;
}

static uint32_t sectors_below(uint64_t length, uint32_t unit)
{
	return (uint32_t)((length - length % unit) / SECTOR);
}

static int device_parameters(struct frontend *frontend, struct err *err)
{
	const struct limits *limits = &frontend->tree->root->limits;
	struct ublk_params params = {
		.length = sizeof(params),
		.types = UBLK_PARAM_BASIC,
		.attributes = UBLK_ATTR_VOLATILE_CACHE | UBLK_ATTR_FUA,
		.logical_shift = shift_of(limits->logical_block_size),
		.physical_shift = shift_of(limits->physical_block_size),
		.max_sectors = frontend->tree->device.max_io_size / SECTOR,
		.sectors = limits->size / SECTOR,
	};
	int result;

	hints_set(&params, limits);
	if (limits->read_only)
		params.attributes |= UBLK_ATTR_READ_ONLY;
	if (limits->rotational)
		params.attributes |= UBLK_ATTR_ROTATIONAL;
	if (limits->discard_granularity || limits->zeroes_granularity) {
		params.types |= UBLK_PARAM_DISCARD;
		params.discard_granularity = limits->discard_granularity
						     ? limits->discard_granularity
						     : limits->logical_block_size;
	}
	if (limits->discard_granularity) {
		params.max_discard_sectors = sectors_below(RANGE_MAX, limits->discard_granularity);
		params.max_discard_segments = 1;
	}
	if (limits->zeroes_granularity)
		params.max_write_zeroes_sectors =
			sectors_below(RANGE_MAX, limits->logical_block_size);
	result = ublk_command(
		&frontend->control, UBLK_CMD_SET_PARAMS, frontend->id, &params, sizeof(params), 0);
	if (result < 0)
		return err_add(err,
			"%s: the driver refuses the parameters (block sizes %u/%u, io_min %u, "
			"io_opt %u): %s",
			frontend->tree->name, limits->logical_block_size,
			limits->physical_block_size, limits->io_min, limits->io_opt,
			strerror(-result));
	return 0;
}

static const char *refusal(int result)
{
	if (result == -EACCES)
		return "it has as many devices as its parameter ublks_max allows";
	if (result == -EPERM)
		return "devices are made by root (CAP_SYS_ADMIN)";
	return strerror(-result);
}

static int ublk_add(struct frontend *frontend, struct err *err)
{
	const struct tree *tree = frontend->tree;
	bool is_encoded = frontend->control.features & UBLK_F_CMD_IOCTL_ENCODE;
	struct ublk_dev_info info = {
		.nr_hw_queues = (uint16_t)tree->device.queues,
		.queue_depth = (uint16_t)tree->device.queue_depth,
		.max_io_buf_bytes = tree->device.max_io_size,
		.dev_id = DRIVER_NO_DEVICE,
		.server_pid = -1,
		.flags = is_encoded ? UBLK_F_CMD_IOCTL_ENCODE : 0,
		.server_flags = MARK | crc32c(tree->name, strlen(tree->name)),
	};
	int result;

	if (has_pass(tree, frontend->control.features))
		info.flags |= PASS_FEATURES;
	result = ublk_command(
		&frontend->control, UBLK_CMD_ADD_DEV, DRIVER_NO_DEVICE, &info, sizeof(info), 0);

	if (result < 0)
		return err_add(err, "%s: the ublk driver refuses the device: %s", tree->name,
			refusal(result));
	frontend_added(frontend, info.dev_id);
	frontend->queues_wanted = info.nr_hw_queues;
	frontend->depth = info.queue_depth;
	if (info.flags & UBLK_F_AUTO_BUF_REG)
		frontend->queue_type = &ublk_queue_type_pass;
	else
		frontend->queue_type = is_encoded ? &ublk_queue_type : &ublk_queue_type_bare;
	return device_parameters(frontend, err);
}

static int ublk_start(struct driver_control *control, uint32_t id, pid_t server)
{
	return ublk_command_within(control, UBLK_CMD_START_DEV, id, NULL, 0, (uint64_t)server, 0);
}

static int ublk_stop(struct driver_control *control, uint32_t id)
{
	return ublk_command_within(control, UBLK_CMD_STOP_DEV, id, NULL, 0, 0, 0);
}

/* DEL_DEV waits until nobody has the char device open any more. */
static int ublk_remove(struct driver_control *control, uint32_t id, bool is_open)
{
	return ublk_command(
		control, is_open ? UBLK_CMD_DEL_DEV_ASYNC : UBLK_CMD_DEL_DEV, id, NULL, 0, 0);
}

static bool ublk_is_dead(struct driver_control *control, uint32_t id)
{
	struct ublk_dev_info info;

	return ublk_command(control, UBLK_CMD_GET_DEV_INFO, id, &info, sizeof(info), 0) >= 0 &&
	       info.state == UBLK_DEV_DEAD && (info.server_flags & MARK_MASK) == MARK;
}

const struct frontend_type frontend_ublk = {
	.driver = DRIVER_UBLK,
	.control_path = "/dev/ublk-control",
	.char_path = "/dev/ublkc%u",
	.disk_path = "/dev/ublkb%u",
	.check = ublk_check,
	.check_features = ublk_check_features,
	.control_open = ublk_control_open,
	.add = ublk_add,
	.start = ublk_start,
	.stop = ublk_stop,
	.remove = ublk_remove,
	.is_dead = ublk_is_dead,
};
