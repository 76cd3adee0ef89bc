// SPDX-License-Identifier: MIT
/*
 * The ublk front-end: a device of the mainline driver (ublk_cmd.h). Its queues are ublk_queue.c's;
 * it knows no target.
 */
#include "frontend_type.h"
#include "log.h"
#include "ublk_control.h"
#include "ublk_device.h"
#include "ublk_queue.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SECTOR 512
/*
 * A request that a killed server's last commands missed is seen only by its time limit (measured on
 * 6.12: up to then START_USER_RECOVERY waits for the driver's lock). The block layer's is 30 s; a
 * living server's requests are not concerned, the driver begins their time again.
 */
#define IO_TIMEOUT_MS "3000"
#define HAND_OVER_MS 3000 /* less than who asked for it waits for the daemon's answer */

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
	const struct json *device = json_get(tree->document, "device");

	if (features & UBLK_F_UNPRIVILEGED_DEV && tree->device.recovery != RECOVERY_NONE)
		return json_err(json_get(device, "recovery"), err,
			"recovery needs root (CAP_SYS_ADMIN): driver \"ublk\" gives others disks that "
			"end with their daemon");
	if (features & UBLK_F_UNPRIVILEGED_DEV && tree->device.fan_out == FAN_OUT_PASSTHROUGH)
		return json_err(json_get(device, "fan_out"), err,
			"fan_out \"passthrough\" needs root (CAP_SYS_ADMIN): driver \"ublk\" lends its "
			"pages to nobody else");
	if (tree->device.fan_out == FAN_OUT_PASSTHROUGH && !ublk_can_pass(features))
		return json_err(json_get(json_get(tree->document, "device"), "fan_out"), err,
			"fan_out \"passthrough\" needs Linux 6.16 or later with driver \"ublk\": "
			"this one's features are 0x%" PRIx64 ", 0x%llx are needed",
			features, UBLK_PASS_FEATURES);
	return 0;
}

static int device_parameters(struct frontend *frontend, struct err *err)
{
	const struct limits *limits = &frontend->tree->root->limits;
	struct ublk_params params = ublk_parameters_wanted(frontend->tree);
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

/* udev gives the node of a user's device to who may use it, and before that no command is allowed. */
static int await_node(uint32_t id, struct err *err)
{
	const struct timespec pause = { 0, 10000000 };
	char path[32];
	unsigned tries;

	(void)snprintf(path, sizeof(path), UBLK_CHAR_PATH, id); /* fits any id */
	for (tries = 0; tries < FRONTEND_TRIES; tries++) {
		if (access(path, R_OK | W_OK) == 0)
			return 0;
		(void)nanosleep(&pause, NULL); /* shorter is fine */
	}
	return err_add(err,
		"%s: no permission: udev has to give it to who may make devices, as ubd-compose(8) tells "
		"under USERS WHO ARE NOT ROOT; root removes it: delete --orphan ublkb%u", path, id);
}

static int ublk_add(struct frontend *frontend, struct err *err)
{
	const struct tree *tree = frontend->tree;
	struct ublk_dev_info info = ublk_device_wanted(tree, frontend->control.features);
	int result = ublk_command(
		&frontend->control, UBLK_CMD_ADD_DEV, DRIVER_NO_DEVICE, &info, sizeof(info), 0);

	if (result < 0)
		return err_add(err, "%s: the ublk driver refuses the device: %s", tree->name,
			refusal(result));
	frontend_added(frontend, info.dev_id);
	if (info.flags & UBLK_F_UNPRIVILEGED_DEV && await_node(frontend->id, err) < 0)
		return -1;
	device_is(frontend, &info);
	return device_parameters(frontend, err);
}

static int device_info(struct driver_control *control, uint32_t id, struct ublk_dev_info *info)
{
	return ublk_command(control,
		control->path_format ? UBLK_CMD_GET_DEV_INFO2 : UBLK_CMD_GET_DEV_INFO, id, info,
		sizeof(*info), 0);
}

/* What the driver adds by itself is no difference. */
#define FLAGS_COMPARED                                                                             \
	(UBLK_PASS_FEATURES | UBLK_F_BATCH_IO | UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE |   \
		UBLK_F_QUIESCE)

/* What its users rely on has to be as it was. */
static int ublk_adopt(struct frontend *frontend, struct err *err)
{
	struct ublk_dev_info wanted = ublk_device_wanted(frontend->tree, frontend->control.features);
	struct ublk_params params = { .length = sizeof(params) };
	struct ublk_params expected = ublk_parameters_wanted(frontend->tree);
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
	frontend->is_smaller = params.sectors < expected.sectors;
	if (params.sectors > expected.sectors || params.logical_shift != expected.logical_shift ||
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
	if (frontend->is_smaller && !(frontend->control.features & UBLK_F_UPDATE_SIZE))
		return err_add(err,
			"%s has %llu sectors, the tree %llu: driver \"ublk\" can change that from "
			"Linux 6.16 on", frontend->path, (unsigned long long)params.sectors,
			(unsigned long long)expected.sectors);
	device_is(frontend, &info);
	return 0;
}

static int ublk_resize(struct frontend *frontend)
{
	return ublk_command(&frontend->control, UBLK_CMD_UPDATE_SIZE, frontend->id, NULL, 0,
		frontend->tree->root->limits.size / SECTOR);
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

/*
 * DEL_DEV waits until nobody has the char device open any more. DEL_DEV_ASYNC is not among the commands
 * that the driver looks up permissions for (6.12): of a user's device it is EINVAL.
 */
static int ublk_remove(struct driver_control *control, uint32_t id, bool is_open)
{
	int result = ublk_command(
		control, is_open ? UBLK_CMD_DEL_DEV_ASYNC : UBLK_CMD_DEL_DEV, id, NULL, 0, 0);

	return is_open && result == -EINVAL ? -EOPNOTSUPP : result;
}

static bool is_ours(struct driver_control *control, uint32_t id, struct ublk_dev_info *info)
{
	return device_info(control, id, info) >= 0 && (info->server_flags & UBLK_MARK_MASK) == UBLK_MARK;
}

static bool ublk_is_dead(struct driver_control *control, uint32_t id)
{
	struct ublk_dev_info info;

	return is_ours(control, id, &info) && info.state == UBLK_DEV_DEAD;
}

/* The driver notices a server's end after its process is gone. */
static bool ublk_is_ending(struct driver_control *control, uint32_t id)
{
	struct ublk_dev_info info;

	return is_ours(control, id, &info) && info.state == UBLK_DEV_LIVE &&
	       frontend_server_ends(info.server_pid);
}

static bool ublk_is_waiting(struct driver_control *control, uint32_t id)
{
	struct ublk_dev_info info;

	return is_ours(control, id, &info) && info.state == UBLK_DEV_QUIESCED;
}

const struct frontend_type frontend_ublk = {
	.driver = DRIVER_UBLK,
	.control_path = "/dev/ublk-control",
	.char_path = UBLK_CHAR_PATH,
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
	.resize = ublk_resize,
	.hand_over = ublk_hand_over,
	.is_waiting = ublk_is_waiting,
	.check_hand_over = ublk_check_hand_over,
};
