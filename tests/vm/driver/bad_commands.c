// SPDX-License-Identifier: MIT
/*
 * Commands that the driver must refuse: each gets its error, disturbs nothing that is pending, and a
 * session goes on after it. At the end the device serves a read, stops and goes.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "session.h"

static struct device device;
static struct queue queue;

static int io(struct io_uring *ring, uint32_t code, int q_id, int tag, uint64_t addr)
{
	struct ubd_io_cmd payload = { .q_id = q_id, .tag = tag, .addr = addr };

	command(ring, device.fd, code, &payload, sizeof(payload), 99);
	io_uring_submit(ring);
	return next_result(ring, NULL, 300);
}

static void *fetch_elsewhere(void *unused)
{
	return (void *)(long)io(queue.ring, UBD_IO_FETCH_REQ, 0, 2, 4096);
}

static void bad_devices(void)
{
	static const struct {
		const char *what;
		struct ubd_dev_info info;
		int error;
	} table[] = {
		{ "no queue", { 0, 4, 512, 0, 128, -1u, 8192 }, -EINVAL },
		{ "too many queues", { 4097, 4, 512, 0, 128, -1u, 8192 }, -EINVAL },
		{ "no depth", { 1, 0, 512, 0, 128, -1u, 8192 }, -EINVAL },
		{ "too deep a queue", { 1, 4097, 512, 0, 128, -1u, 8192 }, -EINVAL },
		{ "a block size of zero", { 1, 4, 0, 0, 128, -1u, 8192 }, -EINVAL },
		{ "a block size below 512", { 1, 4, 256, 0, 128, -1u, 8192 }, -EINVAL },
		{ "a block size of no power of two", { 1, 4, 1536, 0, 128, -1u, 8192 }, -EINVAL },
		{ "a block size above the page", { 1, 4, 8192, 0, 128, -1u, 8192 }, -EINVAL },
		{ "requests smaller than a page", { 1, 4, 512, 0, 7, -1u, 8192 }, -EINVAL },
		{ "requests larger than the limit", { 1, 4, 4096, 0, 8193, -1u, 8192 }, -EINVAL },
		{ "no blocks", { 1, 4, 512, 0, 128, -1u, 0 }, -EINVAL },
		{ "more bytes than 63 bits count", { 1, 4, 4096, 0, 128, -1u, 1ull << 52 }, -EINVAL },
		{ "a number out of range", { 1, 4, 512, 0, 128, 1u << 30, 8192 }, -EINVAL },
		{ "a reserved field", { 1, 4, 512, 0, 128, -1u, 8192, .reserved0 = 1 }, -EINVAL },
		{ "reserved flags", { 1, 4, 512, 0, 128, -1u, 8192, .flags = { 0, 1 } }, -EINVAL },
		{ "an unknown feature", { 1, 4, 512, 0, 128, -1u, 8192, .flags = { 1ull << 63 } }, -EOPNOTSUPP },
	};
	char what[100];
	unsigned int i;

	for (i = 0; i < sizeof(table) / sizeof(*table); i++) {
		device.info = table[i].info;
		snprintf(what, sizeof(what), "ADD with %s is refused", table[i].what);
		expect(what, table[i].error, device_add(&device));
	}
}

static void bad_control(void)
{
	struct ubd_ctrl_cmd payload = { .dev_id = 4000, .queue_id = UBD_NO_QUEUE };
	struct io_uring *small = ring_open(4, 0);
	uint64_t features = 0;

	command(small, device.control_fd, UBD_CMD_GET_FEATURES, &payload, sizeof(payload), 0);
	io_uring_submit(small);
	expect("control from a ring of small SQEs is refused", -EINVAL, next_result(small, NULL, 1000));
	device.info.dev_id = 4000;
	expect("STOP of no device", -ENODEV, control(&device, UBD_CMD_STOP_DEV, NULL, 0, 0));
	expect("GET_DEV_INFO of no device", -ENODEV, control(&device, UBD_CMD_GET_DEV_INFO, &payload, 128, 0));
	expect("an unknown control command of no device", -ENODEV, control(&device, 0x7f, NULL, 0, 0));
	expect("GET_FEATURES wants room", -EINVAL, control(&device, UBD_CMD_GET_FEATURES, &features, 4, 0));
	expect("GET_FEATURES to nowhere", -EFAULT, control(&device, UBD_CMD_GET_FEATURES, (void *)8, 8, 0));
	expect("GET_FEATURES", 0, control(&device, UBD_CMD_GET_FEATURES, &features, 8, 0));
	expect("features hold parameters", UBD_F_PARAMS, features & UBD_F_PARAMS);
	expect("ADD from nowhere", -EFAULT, control(&device, UBD_CMD_ADD_DEV, (void *)4096, 128, 0));
}

static void bad_mappings(void)
{
	size_t length = ubd_desc_length(4, getpagesize());

	expect("a writable mapping is refused", EPERM,
	       mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, device.fd, 0) == MAP_FAILED ? errno : 0);
	expect("a private mapping is refused", EINVAL,
	       mmap(NULL, length, PROT_READ, MAP_PRIVATE, device.fd, 0) == MAP_FAILED ? errno : 0);
	expect("a mapping of another length is refused", EINVAL,
	       mmap(NULL, 2 * length, PROT_READ, MAP_SHARED, device.fd, 0) == MAP_FAILED ? errno : 0);
	expect("a mapping of no queue is refused", EINVAL,
	       mmap(NULL, length, PROT_READ, MAP_SHARED, device.fd, ubd_desc_offset(1, 4096)) == MAP_FAILED ? errno : 0);
	expect("a mapping between queues is refused", EINVAL,
	       mmap(NULL, length, PROT_READ, MAP_SHARED, device.fd, 4096) == MAP_FAILED ? errno : 0);
	expect("a mapping cannot be made writable", -1, mprotect((void *)queue.descs, length, PROT_READ | PROT_WRITE));
}

static void bad_io_before_start(void)
{
	uint64_t addr = (uintptr_t)queue_buffer(&queue, 0);
	struct io_uring *other = ring_open(8, IORING_SETUP_SQE128), *small = ring_open(8, 0);
	pthread_t thread;
	void *result;

	expect("COMMIT to a queue that nobody serves is refused", -EINVAL, io(other, UBD_IO_COMMIT_REQ, 0, 0, addr));
	queue_command(&queue, UBD_IO_FETCH_REQ, 0, 0);
	queue_command(&queue, UBD_IO_FETCH_REQ, 3, 0);
	io_uring_submit(queue.ring);
	expect("a second FETCH of a tag is refused", -EBUSY, io(queue.ring, UBD_IO_FETCH_REQ, 0, 0, addr));
	expect("and of another", -EBUSY, io(queue.ring, UBD_IO_FETCH_REQ, 0, 3, addr));
	expect("FETCH without a buffer is refused", -EINVAL, io(queue.ring, UBD_IO_FETCH_REQ, 0, 1, 0));
	expect("FETCH of a tag out of range is refused", -EINVAL, io(queue.ring, UBD_IO_FETCH_REQ, 0, 4, addr));
	expect("FETCH of the largest tag is refused", -EINVAL, io(queue.ring, UBD_IO_FETCH_REQ, 0, 65535, addr));
	expect("FETCH on a queue out of range is refused", -EINVAL, io(queue.ring, UBD_IO_FETCH_REQ, 1, 0, addr));
	expect("FETCH from another ring is refused", -EINVAL, io(other, UBD_IO_FETCH_REQ, 0, 1, addr));
	expect("FETCH from a ring of small SQEs is refused", -EINVAL, io(small, UBD_IO_FETCH_REQ, 0, 1, addr));
	expect("an unknown I/O command is refused", -EOPNOTSUPP, io(queue.ring, 0x7f, 0, 1, addr));
	expect("COMMIT of an idle tag is refused", -EINVAL, io(queue.ring, UBD_IO_COMMIT_AND_FETCH_REQ, 0, 0, addr));
	if (pthread_create(&thread, NULL, fetch_elsewhere, NULL) || pthread_join(thread, &result))
		errx(1, "thread");
	expect("FETCH from another thread is refused", -EINVAL, (long)result);
	queue_command(&queue, UBD_IO_FETCH_REQ, 1, 0);
	queue_command(&queue, UBD_IO_FETCH_REQ, 2, 0);
	io_uring_submit(queue.ring);
	expect("nothing of that disturbed what is pending", -ETIME, next_result(queue.ring, NULL, 100));
	expect("FETCH of a complete queue is refused", -EBUSY, io(queue.ring, UBD_IO_FETCH_REQ, 0, 3, addr));
}

/* Answers what comes with zeroes until nothing came for a while. Returns the last tag seen. */
static int serve_for(int ms)
{
	uint64_t tag;
	int result, last = -1;

	while ((result = next_result(queue.ring, &tag, ms)) == 0) {
		memset(queue_buffer(&queue, tag), 0, queue_buffer_size(&queue));
		queue_command(&queue, UBD_IO_COMMIT_AND_FETCH_REQ, tag, queue.descs[tag].nr_sectors * 512);
		io_uring_submit(queue.ring);
		last = tag;
	}
	if (result != -ETIME)
		errx(1, "serving: %s", strerror(-result));
	return last;
}

static pid_t start_elsewhere(uint64_t pid)
{
	pid_t child = fork();

	if (child == 0) { /* its own ring: a ring must not be shared over a fork */
		device.control = ring_open(4, IORING_SETUP_SQE128);
		_exit(-control(&device, UBD_CMD_START_DEV, NULL, 0, pid));
	}
	return child;
}

static int status_of(pid_t child)
{
	int status;

	waitpid(child, &status, 0);
	return WIFEXITED(status) ? -WEXITSTATUS(status) : 1;
}

static void bad_io_when_live(void)
{
	uint64_t addr = (uintptr_t)queue_buffer(&queue, 0), tag = 0;
	char path[32], *page = aligned_alloc(4096, 4096);
	struct ubd_params params = { .logical_block_size = 512 };
	uint64_t cpus[2] = { 0, -1ull };
	pid_t child;
	int fd;

	expect("START without a pid is refused", -EINVAL, control(&device, UBD_CMD_START_DEV, NULL, 0, 0));
	child = start_elsewhere(getpid());
	serve_for(700);
	expect("START", 0, status_of(child));
	expect("a second START is refused", -EEXIST, control(&device, UBD_CMD_START_DEV, NULL, 0, getpid()));
	expect("SET_PARAMS of a live device is refused", -EBUSY,
	       control(&device, UBD_CMD_SET_PARAMS, &params, sizeof(params), 0));
	expect("the device is live", 0, control(&device, UBD_CMD_GET_DEV_INFO, &device.info, 128, 0));
	expect("its state says so", UBD_DEV_LIVE, device.info.state);
	expect("its pid is ours", getpid(), device.info.pid);

	expect("GET_QUEUE_AFFINITY wants whole words", -EINVAL,
	       control(&device, UBD_CMD_GET_QUEUE_AFFINITY, cpus, 12, 0));
	expect("GET_QUEUE_AFFINITY of no queue", -EINVAL,
	       control(&device, UBD_CMD_GET_QUEUE_AFFINITY, cpus, sizeof(cpus), 1));
	expect("GET_QUEUE_AFFINITY", 0, control(&device, UBD_CMD_GET_QUEUE_AFFINITY, cpus, sizeof(cpus), 0));
	expect("the only queue has every CPU", (1l << sysconf(_SC_NPROCESSORS_CONF)) - 1, cpus[0]);
	expect("and no more", 0, cpus[1]);

	snprintf(path, sizeof(path), "/dev/ubdb%u", device.info.dev_id);
	child = fork();
	if (child == 0) {
		fd = open(path, O_RDONLY | O_DIRECT);
		_exit(pread(fd, page, 4096, 65536) == 4096 ? 0 : 1);
	}
	expect("a request comes", 0, next_result(queue.ring, &tag, 3000));
	expect("COMMIT from another ring is refused", -EINVAL,
	       io(ring_open(4, IORING_SETUP_SQE128), UBD_IO_COMMIT_AND_FETCH_REQ, 0, tag, addr));
	expect("COMMIT_AND_FETCH without a buffer is refused", -EINVAL,
	       io(queue.ring, UBD_IO_COMMIT_AND_FETCH_REQ, 0, tag, 0));
	expect("COMMIT of another tag is refused", -EINVAL, io(queue.ring, UBD_IO_COMMIT_REQ, 0, (tag + 1) % 4, addr));
	expect("FETCH of a tag in hand is refused", -EBUSY, io(queue.ring, UBD_IO_FETCH_REQ, 0, tag, addr));
	queue_command(&queue, UBD_IO_COMMIT_AND_FETCH_REQ, tag, 4096);
	io_uring_submit(queue.ring);
	expect("the request ends all the same", 0, status_of(child));
	expect("a second COMMIT is refused", -EINVAL, io(queue.ring, UBD_IO_COMMIT_REQ, 0, tag, addr));

	child = fork();
	if (child == 0) {
		fd = open(path, O_RDONLY | O_DIRECT);
		_exit(pread(fd, page, 4096, 65536) < 0 ? errno : 0);
	}
	expect("a request comes again", 0, next_result(queue.ring, &tag, 3000));
	expect("COMMIT from a bad buffer", -ETIME, io(queue.ring, UBD_IO_COMMIT_AND_FETCH_REQ, 0, tag, 16));
	expect("fails the request", -EIO, status_of(child));
}

/* Somebody without privileges, who was handed the open control node. */
static void unprivileged(void)
{
	struct ubd_dev_info info;
	char path[32];
	struct stat stat;
	pid_t child;

	snprintf(path, sizeof(path), "/dev/ubdc%u", device.info.dev_id);
	expect("the char node's mode", 0600, lstat(path, &stat) ? -1 : (int)(stat.st_mode & 0777));
	expect("the control node's mode", 0600, lstat("/dev/ubd-control", &stat) ? -1 : (int)(stat.st_mode & 0777));
	child = fork();
	if (child == 0) {
		device.control = ring_open(4, IORING_SETUP_SQE128);
		_exit(setresuid(65534, 65534, 65534) ? 99
						     : -control(&device, UBD_CMD_GET_DEV_INFO, &info, sizeof(info), 0));
	}
	expect("control commands of who may not are refused", -EPERM, status_of(child));
}

static void the_end(void)
{
	uint64_t name = 0;
	char path[32];
	int tag, told = 0;

	expect("STOP", 0, control(&device, UBD_CMD_STOP_DEV, NULL, 0, 0));
	for (tag = 0; tag < 4; tag++) {
		expect("a waiting tag is told", UBD_IO_RES_ABORT, next_result(queue.ring, &name, 1000));
		told |= 1 << (name < 4 ? name : 4); /* that from the bad buffer has another name */
	}
	expect("each of the four, once", 4, __builtin_popcount(told));
	expect("FETCH after STOP is refused", UBD_IO_RES_ABORT, io(queue.ring, UBD_IO_FETCH_REQ, 0, 0, 4096));
	expect("START after STOP is refused", -ENODEV, control(&device, UBD_CMD_START_DEV, NULL, 0, getpid()));
	snprintf(path, sizeof(path), "/dev/ubdc%u", device.info.dev_id);
	expect("a second opener is refused", -EBUSY, device_open(&device));
	expect("DEL", 0, control(&device, UBD_CMD_DEL_DEV, NULL, 0, 0));
	expect("a second DEL", -ENODEV, control(&device, UBD_CMD_DEL_DEV, NULL, 0, 0));
	expect("the char node is gone", -1, access(path, F_OK));
}

int main(void)
{
	int fd;

	setvbuf(stdout, NULL, _IOLBF, 0);
	device_init(&device, 1, 4);
	bad_devices();
	bad_control();
	device_init(&device, 1, 4);
	device.info.flags[0] = UBD_F_ZERO_COPY | UBD_F_PARAMS;
	expect("ADD", 0, device_add(&device));
	expect("V2's zero copy is not granted", UBD_F_PARAMS, device.info.flags[0]);
	expect("ADD of a number that is taken", -EEXIST, device_add(&device));
	expect("open", 0, device_open(&device));
	fd = device.fd;
	expect("a second opener is refused", -EBUSY, device_open(&device));
	device.fd = fd;
	queue_open(&queue, &device, 0);
	bad_mappings();
	unprivileged();
	bad_io_before_start();
	bad_io_when_live();
	fd = device.fd;
	the_end();
	return failures != 0;
}
