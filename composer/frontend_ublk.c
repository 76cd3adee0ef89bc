// SPDX-License-Identifier: MIT
/*
 * The ublk front-end: a device of the mainline driver (ublk_cmd.h). Its queues are ublk_queue.c's;
 * it knows no target.
 */
#include "crc32c.h"
#include "frontend_type.h"
#include "log.h"
#include "ublk_control.h"
#include "ublk_queue.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RANGE_MAX (UINT64_C(1) << 30) /* one DISCARD or WRITE_ZEROES */
#define SECTOR 512
#define END_MS 1000 /* for a killed server's process, which may be about to end */
/*
 * A request that a killed server's last commands missed is seen only by its time limit (measured on
 * 6.12: up to then START_USER_RECOVERY waits for the driver's lock). The block layer's is 30 s; a
 * living server's requests are not concerned, the driver begins their time again.
 */
#define IO_TIMEOUT_MS "3000"
#define HAND_OVER_MS 3000 /* less than who asked for it waits for the daemon's answer */

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
	const struct json *device = json_get(tree->document, "device");

	if (json_get(device, "recovery_timeout"))
		return json_err(json_get(device, "recovery_timeout"), err,
			"recovery_timeout needs driver \"ubd\": with ublk a disk waits until a "
			"daemon comes, or `delete`");
	return 0;
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
	uint64_t flags = features & UBLK_F_CMD_IOCTL_ENCODE;

	if (can_pass(features) && tree->device.fan_out != FAN_OUT_LINKED &&
		tree->device.fan_out != FAN_OUT_GATHERED)
		flags |= PASS_FEATURES;
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

static struct ublk_params parameters_wanted(const struct tree *tree)
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

static int device_parameters(struct frontend *frontend, struct err *err)
{
	const struct limits *limits = &frontend->tree->root->limits;
	struct ublk_params params = parameters_wanted(frontend->tree);
	int result = ublk_command(
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

static struct ublk_dev_info device_wanted(const struct tree *tree, uint64_t features)
{
	return (struct ublk_dev_info){
		.nr_hw_queues = (uint16_t)tree->device.queues,
		.queue_depth = (uint16_t)tree->device.queue_depth,
		.max_io_buf_bytes = tree->device.max_io_size,
		.dev_id = DRIVER_NO_DEVICE,
		.server_pid = -1,
		.flags = flags_wanted(tree, features),
		.server_flags = MARK | crc32c(tree->name, strlen(tree->name)),
	};
}

/* What the driver has made of it. */
static void device_is(struct frontend *frontend, const struct ublk_dev_info *info)
{
	frontend->queues_wanted = info->nr_hw_queues;
	frontend->depth = info->queue_depth;
	if (info->flags & UBLK_F_BATCH_IO)
		frontend->queue_type = info->flags & UBLK_F_AUTO_BUF_REG
					       ? &ublk_queue_type_batch_pass
					       : &ublk_queue_type_batch;
	else if (info->flags & UBLK_F_AUTO_BUF_REG)
		frontend->queue_type = &ublk_queue_type_pass;
	else if (frontend->control.features & UBLK_F_CMD_IOCTL_ENCODE)
		frontend->queue_type = &ublk_queue_type;
	else
		frontend->queue_type = &ublk_queue_type_bare;
}

static int ublk_add(struct frontend *frontend, struct err *err)
{
	const struct tree *tree = frontend->tree;
	struct ublk_dev_info info = device_wanted(tree, frontend->control.features);
	int result = ublk_command(
		&frontend->control, UBLK_CMD_ADD_DEV, DRIVER_NO_DEVICE, &info, sizeof(info), 0);

	if (result < 0)
		return err_add(err, "%s: the ublk driver refuses the device: %s", tree->name,
			refusal(result));
	frontend_added(frontend, info.dev_id);
	device_is(frontend, &info);
	return device_parameters(frontend, err);
}

static int device_info(struct driver_control *control, uint32_t id, struct ublk_dev_info *info)
{
	return ublk_command(control, UBLK_CMD_GET_DEV_INFO, id, info, sizeof(*info), 0);
}

/* What the driver adds by itself is no difference. */
#define FLAGS_COMPARED                                                                             \
	(PASS_FEATURES | UBLK_F_BATCH_IO | UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE |   \
		UBLK_F_QUIESCE)

/* What its users rely on has to be as it was. */
static int ublk_adopt(struct frontend *frontend, struct err *err)
{
	struct ublk_dev_info wanted = device_wanted(frontend->tree, frontend->control.features);
	struct ublk_params params = { .length = sizeof(params) };
	struct ublk_params expected = parameters_wanted(frontend->tree);
	struct ublk_dev_info info;
	int result = device_info(&frontend->control, frontend->id, &info);

	if (result >= 0)
		result = ublk_command(&frontend->control, UBLK_CMD_GET_PARAMS, frontend->id,
			&params, sizeof(params), 0);
	if (result < 0)
		return err_add(err, "%s: the driver doesn't know it: %s", frontend->path,
			strerror(-result));
	if (info.state != UBLK_DEV_QUIESCED)
		return err_add(err, "%s does not wait for a daemon", frontend->path);
	if (params.sectors != expected.sectors || params.logical_shift != expected.logical_shift ||
		info.max_io_buf_bytes != wanted.max_io_buf_bytes ||
		(info.flags ^ wanted.flags) & FLAGS_COMPARED)
		return err_add(err,
			"%s has %llu sectors, blocks of %u, requests of %u bytes and flags 0x%llx; "
			"the tree would make %llu, %u, %u and 0x%llx of it",
			frontend->path, (unsigned long long)params.sectors,
			1u << params.logical_shift, info.max_io_buf_bytes,
			(unsigned long long)info.flags, (unsigned long long)expected.sectors,
			1u << expected.logical_shift, wanted.max_io_buf_bytes,
			(unsigned long long)wanted.flags);
	device_is(frontend, &info);
	return 0;
}

/*
 * A driver before 6.16 answers EINVAL when the last one to announce himself has given up before all
 * of a queue was fetched: then it waits for us already. What else is wrong ublk_adopt() tells.
 */
static int ublk_take(struct driver_control *control, uint32_t id)
{
	struct ublk_dev_info info;
	int result = device_info(control, id, &info);

	if (result < 0 || info.state == UBLK_DEV_DEAD)
		return result;
	result = ublk_command_within(
		control, UBLK_CMD_START_USER_RECOVERY, id, NULL, 0, 0, FRONTEND_TAKE_MS);
	return result == -EINVAL && info.state == UBLK_DEV_QUIESCED ? 0 : result;
}

static int ublk_resume(struct frontend *frontend)
{
	return ublk_command(&frontend->control, UBLK_CMD_END_USER_RECOVERY, frontend->id, NULL, 0,
		(uint64_t)getpid());
}

static int ublk_check_hand_over(uint64_t features, struct err *err)
{
	if (features & UBLK_F_QUIESCE)
		return 0;
	return err_add(err, "driver \"ublk\" takes a disk from a living daemon from Linux 6.16 on; "
			    "here only one that has died can be replaced");
}

static int ublk_hand_over(struct driver_control *control, uint32_t id)
{
	int result = -EOPNOTSUPP;

	if (control->features & UBLK_F_QUIESCE)
		result = ublk_command(control, UBLK_CMD_QUIESCE_DEV, id, NULL, 0, HAND_OVER_MS);
	return result == -EBUSY ? -ETIMEDOUT : result;
}

static int ublk_start(struct driver_control *control, uint32_t id, pid_t server)
{
	return ublk_command_within(control, UBLK_CMD_START_DEV, id, NULL, 0, (uint64_t)server, 0);
}

static void ublk_started(const struct frontend *frontend)
{
	char path[64];
	int fd;

	if (frontend->tree->device.recovery == RECOVERY_NONE)
		return;
	(void)snprintf(path, sizeof(path), "/sys/block/ublkb%u/queue/io_timeout", frontend->id);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return; /* no sysfs: a recovery may take half a minute */
	if (write(fd, IO_TIMEOUT_MS, sizeof(IO_TIMEOUT_MS) - 1) < 0)
		log_say("%s: %s; `recover` may take half a minute", path, strerror(errno));
	(void)close(fd); /* sysfs answers at the write */
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

static bool is_ours(struct driver_control *control, uint32_t id, struct ublk_dev_info *info)
{
	return device_info(control, id, info) >= 0 && (info->server_flags & MARK_MASK) == MARK;
}

static bool ublk_is_dead(struct driver_control *control, uint32_t id)
{
	struct ublk_dev_info info;

	return is_ours(control, id, &info) && info.state == UBLK_DEV_DEAD;
}

/* The driver notices a server's end after its process is gone. */
static bool ublk_is_ending(struct driver_control *control, uint32_t id)
{
	struct pollfd process = { .events = POLLIN };
	struct ublk_dev_info info;
	bool has_ended;

	if (!is_ours(control, id, &info) || info.state != UBLK_DEV_LIVE)
		return false;
	if (info.server_pid <= 0)
		return true; /* it has closed the char device, and the disk goes */
	process.fd = (int)syscall(SYS_pidfd_open, info.server_pid, 0);
	if (process.fd < 0)
		return errno == ESRCH;
	has_ended = poll(&process, 1, END_MS) > 0;
	(void)close(process.fd); /* only looked at */
	return has_ended;
}

static bool ublk_is_waiting(struct driver_control *control, uint32_t id)
{
	struct ublk_dev_info info;

	return is_ours(control, id, &info) && info.state == UBLK_DEV_QUIESCED;
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
	.started = ublk_started,
	.stop = ublk_stop,
	.remove = ublk_remove,
	.is_dead = ublk_is_dead,
	.is_ending = ublk_is_ending,
	.take = ublk_take,
	.adopt = ublk_adopt,
	.resume = ublk_resume,
	.hand_over = ublk_hand_over,
	.is_waiting = ublk_is_waiting,
	.check_hand_over = ublk_check_hand_over,
};
