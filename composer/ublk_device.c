// SPDX-License-Identifier: MIT
/* What a ublk device is to be, by its tree and what the driver can. It sends no command. */
#include "ublk_device.h"

#include "crc32c.h"
#include "driver_control.h"

#include <string.h>

#define RANGE_MAX (UINT64_C(1) << 30) /* one DISCARD or WRITE_ZEROES */
#define SECTOR 512

bool ublk_can_pass(uint64_t features)
{
	return (features & UBLK_PASS_FEATURES) == UBLK_PASS_FEATURES;
}

/*
 * One command for many tags is 6 % cheaper at depth 32 (4k reads of a stripe on 7.3), and as much
 * dearer at depth 1, where a commit can be the tail of a chain: whoever wants that says "linked".
 * With recovery the driver fails requests while a living daemon hands over (7.3: QUIESCE_DEV makes
 * it fail whatever comes before the next daemon), so there each tag keeps its command.
 */
static bool takes_batches(const struct tree *tree)
{
	return tree->device.recovery == RECOVERY_NONE && tree->device.fan_out != FAN_OUT_LINKED;
}

/* What the device is to be, of what the driver can. */
static uint64_t flags_wanted(const struct tree *tree, uint64_t features)
{
	uint64_t flags = features & (UBLK_F_CMD_IOCTL_ENCODE | UBLK_F_UNPRIVILEGED_DEV);

	if (ublk_can_pass(features) && tree->device.fan_out != FAN_OUT_LINKED &&
		tree->device.fan_out != FAN_OUT_GATHERED)
		flags |= UBLK_PASS_FEATURES;
	if (takes_batches(tree))
		flags |= features & UBLK_F_BATCH_IO;
	if (tree->device.recovery != RECOVERY_NONE)
		flags |= UBLK_F_USER_RECOVERY | (features & UBLK_F_QUIESCE);
	if (tree->device.recovery == RECOVERY_REISSUE)
		flags |= UBLK_F_USER_RECOVERY_REISSUE;
	return flags;
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

struct ublk_params ublk_parameters_wanted(const struct tree *tree)
{
	const struct limits *limits = &tree->root->limits;
	struct ublk_params params = {
		.length = sizeof(params),
		.types = UBLK_PARAM_BASIC,
		.attributes = UBLK_ATTR_VOLATILE_CACHE | UBLK_ATTR_FUA,
		.logical_shift = shift_of(limits->logical_block_size),
		.physical_shift = shift_of(limits->physical_block_size),
		.max_sectors = tree->device.max_io_size / SECTOR,
		.sectors = limits->size / SECTOR,
	};

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
	return params;
}

struct ublk_dev_info ublk_device_wanted(const struct tree *tree, uint64_t features)
{
	return (struct ublk_dev_info){
		.nr_hw_queues = (uint16_t)tree->device.queues,
		.queue_depth = (uint16_t)tree->device.queue_depth,
		.max_io_buf_bytes = tree->device.max_io_size,
		.dev_id = DRIVER_NO_DEVICE,
		.server_pid = -1,
		.flags = flags_wanted(tree, features),
		.server_flags = UBLK_MARK | crc32c(tree->name, strlen(tree->name)),
	};
}
