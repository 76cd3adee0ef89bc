// SPDX-License-Identifier: GPL-2.0-only
/*
 * Control commands: unpack, check, hand on. They run in an io_uring worker, with the memory and the
 * credentials of who sent them, and may sleep.
 */
#include <linux/capability.h>
#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/log2.h>
#include <linux/refcount.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "ubd.h"

static int ubd_control_read(const struct ubd_ctrl_cmd *payload, void *to, size_t size)
{
	if (payload->len < size || !payload->addr)
		return -EINVAL;
	return copy_from_user(to, u64_to_user_ptr(payload->addr), size) ? -EFAULT : 0;
}

static int ubd_control_write(const struct ubd_ctrl_cmd *payload, const void *from, size_t size)
{
	if (payload->len < size || !payload->addr)
		return -EINVAL;
	return copy_to_user(u64_to_user_ptr(payload->addr), from, size) ? -EFAULT : 0;
}

static int ubd_control_features(const struct ubd_ctrl_cmd *payload)
{
	u64 features = UBD_FEATURES;

	return ubd_control_write(payload, &features, sizeof(features));
}

static int ubd_control_check_info(const struct ubd_dev_info *info)
{
	u64 request_size = (u64)info->rq_max_blocks * info->block_size;

	if (!info->nr_hw_queues || info->nr_hw_queues > UBD_MAX_NR_QUEUES)
		return -EINVAL;
	if (!info->queue_depth || info->queue_depth > UBD_MAX_QUEUE_DEPTH)
		return -EINVAL;
	if (!is_power_of_2(info->block_size) || info->block_size < SECTOR_SIZE ||
	    info->block_size > PAGE_SIZE)
		return -EINVAL;
	if (request_size < PAGE_SIZE || request_size > UBD_MAX_RQ_BYTES)
		return -EINVAL;
	if (!info->dev_blocks || info->dev_blocks > (u64)LLONG_MAX / info->block_size)
		return -EINVAL;
	if (info->reserved0 || info->flags[1])
		return -EINVAL;
	return info->flags[0] & ~(UBD_FEATURES | UBD_F_ZERO_COPY) ? -EOPNOTSUPP : 0;
}

/* If the answer cannot be written the device goes again: nobody would know its number. */
static int ubd_control_add(const struct ubd_ctrl_cmd *payload)
{
	struct ubd_device *device;
	struct ubd_dev_info info;
	int error;

	error = ubd_control_read(payload, &info, sizeof(info));
	if (error)
		return error;
	if (info.dev_id != payload->dev_id)
		return -EINVAL;
	error = ubd_control_check_info(&info);
	if (error)
		return error;
	info.state = UBD_DEV_DEAD;
	info.pid = -1;
	info.flags[0] &= UBD_FEATURES;
	memset(info.reserved1, 0, sizeof(info.reserved1));
	device = ubd_device_create(&info);
	if (IS_ERR(device))
		return PTR_ERR(device);
	error = ubd_control_write(payload, &info, sizeof(info));
	if (error)
		(void)ubd_device_delete(device, 0);
	ubd_device_put(device);
	return error;
}

static int ubd_control_info(struct ubd_device *device, const struct ubd_ctrl_cmd *payload)
{
	struct ubd_dev_info info = device->info;

	info.state = READ_ONCE(device->info.state);
	info.pid = READ_ONCE(device->info.pid);
	info.dev_blocks = READ_ONCE(device->info.dev_blocks);
	return ubd_control_write(payload, &info, sizeof(info));
}

static int ubd_control_affinity(struct ubd_device *device, const struct ubd_ctrl_cmd *payload)
{
	unsigned int cpu, length = payload->len;
	cpumask_var_t mask;
	int error = 0;

	if (payload->data[0] >= device->info.nr_hw_queues)
		return -EINVAL;
	if (length % sizeof(u64) || length * BITS_PER_BYTE < nr_cpu_ids || !payload->addr)
		return -EINVAL;
	if (!zalloc_cpumask_var(&mask, GFP_KERNEL))
		return -ENOMEM;
	for_each_possible_cpu(cpu) {
		if (device->tag_set.map[HCTX_TYPE_DEFAULT].mq_map[cpu] == payload->data[0])
			cpumask_set_cpu(cpu, mask);
	}
	if (clear_user(u64_to_user_ptr(payload->addr), length) ||
	    copy_to_user(u64_to_user_ptr(payload->addr), cpumask_bits(mask),
			 min_t(unsigned int, length, cpumask_size())))
		error = -EFAULT;
	free_cpumask_var(mask);
	return error;
}

static int ubd_control_set_params(struct ubd_device *device, const struct ubd_ctrl_cmd *payload)
{
	struct ubd_params params;
	int error;

	if (!(device->info.flags[0] & UBD_F_PARAMS))
		return -EOPNOTSUPP;
	error = ubd_control_read(payload, &params, sizeof(params));
	if (error)
		return error;
	if (!params.logical_block_size)
		params.logical_block_size = device->info.block_size;
	error = ubd_disk_check_params(device, &params);
	if (error)
		return error;
	if (mutex_lock_interruptible(&device->lock))
		return -EINTR;
	if (device->disk)
		error = -EBUSY;
	else
		device->params = params;
	mutex_unlock(&device->lock);
	return error;
}

static int ubd_control_get_params(struct ubd_device *device, const struct ubd_ctrl_cmd *payload)
{
	struct ubd_params params;

	if (!(device->info.flags[0] & UBD_F_PARAMS))
		return -EOPNOTSUPP;
	if (mutex_lock_interruptible(&device->lock))
		return -EINTR;
	ubd_disk_effective_params(device, &params);
	mutex_unlock(&device->lock);
	return ubd_control_write(payload, &params, sizeof(params));
}

/*
 * Whether plans may be under way: not before there is a disk, nor while it waits and the session that
 * served it is reset. Under device->lock, which a reset takes.
 */
static bool ubd_control_has_plans(const struct ubd_device *device)
{
	return device->disk && (READ_ONCE(device->fate) != UBD_FATE_WAIT ||
				ubd_device_is(device, UBD_DEVICE_ENDING));
}

static int ubd_control_set_legs(struct ubd_device *device, const struct ubd_ctrl_cmd *payload)
{
	s32 fds[UBD_MAX_LEGS];
	int error;

	if (!(device->info.flags[0] & UBD_F_PLANS))
		return -EOPNOTSUPP;
	if (!payload->len || payload->len % sizeof(*fds) || payload->len > sizeof(fds))
		return -EINVAL;
	error = ubd_control_read(payload, fds, payload->len);
	if (error)
		return error;
	if (mutex_lock_interruptible(&device->lock))
		return -EINTR;
	if (ubd_control_has_plans(device))
		error = -EBUSY;
	else if (!ubd_device_is(device, UBD_DEVICE_OPEN) ||
		 ubd_device_is(device, UBD_DEVICE_ENDING))
		error = -ENOTCONN; /* whose end would give them up? */
	else
		error = ubd_legs_set(device, fds, payload->len / sizeof(*fds));
	mutex_unlock(&device->lock);
	return error;
}

/*
 * What may wait for a server's answers is done by a worker of ours, and its sender can be killed
 * while it waits. For if sender and server are one process, its exit waits for the sender's end
 * before it closes its files, which is how we notice that it is gone.
 */
struct ubd_job {
	struct work_struct work;
	struct completion done;
	refcount_t users; /* the worker and the sender */
	struct ubd_device *device;
	int (*run)(struct ubd_device *device, int argument);
	int argument;
	int result;
};

static void ubd_job_put(struct ubd_job *job)
{
	if (!refcount_dec_and_test(&job->users))
		return;
	ubd_device_put(job->device);
	kfree(job);
}

static void ubd_job_work(struct work_struct *work)
{
	struct ubd_job *job = container_of(work, struct ubd_job, work);

	job->result = job->run(job->device, job->argument);
	complete(&job->done);
	ubd_job_put(job);
}

static int ubd_control_run(struct ubd_device *device, int (*run)(struct ubd_device *, int),
			   int argument)
{
	struct ubd_job *job = kzalloc(sizeof(*job), GFP_KERNEL);
	int result;

	if (!job)
		return -ENOMEM;
	INIT_WORK(&job->work, ubd_job_work);
	init_completion(&job->done);
	refcount_set(&job->users, 2);
	ubd_device_get(device);
	job->device = device;
	job->run = run;
	job->argument = argument;
	queue_work(ubd_job_workqueue, &job->work);
	result = wait_for_completion_killable(&job->done);
	if (!result)
		result = job->result;
	ubd_job_put(job);
	return result;
}

/* START and RESUME: once all tags are fetched. */
static int ubd_control_start(struct ubd_device *device, const struct ubd_ctrl_cmd *payload,
			     int (*start)(struct ubd_device *device, int pid))
{
	int error;

	if (!payload->data[0] || payload->data[0] > INT_MAX)
		return -EINVAL;
	do {
		if (wait_event_interruptible(device->wait, ubd_disk_can_start(device) != -EAGAIN))
			return -EINTR;
		error = ubd_control_run(device, start, payload->data[0]);
	} while (error == -EAGAIN);
	return error;
}

static int ubd_control_resume(struct ubd_device *device, const struct ubd_ctrl_cmd *payload)
{
	if (!(device->info.flags[0] & UBD_F_RECOVERY))
		return -EOPNOTSUPP;
	return ubd_control_start(device, payload, ubd_recovery_resume);
}

static int ubd_control_hand_over(struct ubd_device *device, const struct ubd_ctrl_cmd *payload)
{
	if (!(device->info.flags[0] & UBD_F_RECOVERY) || !READ_ONCE(device->params.recovery_ms))
		return -EOPNOTSUPP;
	if (!payload->data[0] || payload->data[0] > UBD_HAND_OVER_MAX_MS)
		return -EINVAL;
	return ubd_control_run(device, ubd_recovery_hand_over, payload->data[0]);
}

static int ubd_control_update_size(struct ubd_device *device, const struct ubd_ctrl_cmd *payload)
{
	int error;

	if (!(device->info.flags[0] & UBD_F_RESIZE))
		return -EOPNOTSUPP;
	if (mutex_lock_interruptible(&device->lock))
		return -EINTR;
	error = ubd_disk_resize(device, payload->data[0]);
	mutex_unlock(&device->lock);
	return error;
}

static int ubd_control_of_device(struct ubd_device *device, u32 code,
				 const struct ubd_ctrl_cmd *payload)
{
	switch (code) {
	case UBD_CMD_GET_QUEUE_AFFINITY:
		return ubd_control_affinity(device, payload);
	case UBD_CMD_GET_DEV_INFO:
		return ubd_control_info(device, payload);
	case UBD_CMD_DEL_DEV:
		return ubd_control_run(device, ubd_device_delete, 0);
	case UBD_CMD_START_DEV:
		return ubd_control_start(device, payload, ubd_disk_start);
	case UBD_CMD_STOP_DEV:
		return ubd_control_run(device, ubd_disk_stop, 0);
	case UBD_CMD_SET_PARAMS:
		return ubd_control_set_params(device, payload);
	case UBD_CMD_GET_PARAMS:
		return ubd_control_get_params(device, payload);
	case UBD_CMD_SET_LEGS:
		return ubd_control_set_legs(device, payload);
	case UBD_CMD_UPDATE_SIZE:
		return ubd_control_update_size(device, payload);
	case UBD_CMD_RESUME_DEV:
		return ubd_control_resume(device, payload);
	case UBD_CMD_HAND_OVER_DEV:
		return ubd_control_hand_over(device, payload);
	default:
		return -EOPNOTSUPP;
	}
}

/* /dev/ubd-control's uring_cmd() */
int ubd_control_cmd(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	struct ubd_ctrl_cmd payload;
	struct ubd_device *device;
	int result;

	if (!(issue_flags & IO_URING_F_SQE128))
		return -EINVAL;
	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (issue_flags & IO_URING_F_NONBLOCK)
		return -EAGAIN; /* a worker takes it on, with a copy of the payload */
	memcpy(&payload, ubd_cmd_payload(cmd), sizeof(payload));
	if (cmd->cmd_op == UBD_CMD_GET_FEATURES)
		return ubd_control_features(&payload);
	if (cmd->cmd_op == UBD_CMD_ADD_DEV)
		return ubd_control_add(&payload);
	device = ubd_devices_get(payload.dev_id);
	if (!device)
		return -ENODEV;
	result = ubd_control_of_device(device, cmd->cmd_op, &payload);
	ubd_device_put(device);
	return result;
}
