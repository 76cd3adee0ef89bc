// SPDX-License-Identifier: MIT
/*
 * Parameters: what SET_PARAMS refuses, what GET_PARAMS says, and what the block layer then shows in
 * sysfs for the disk.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sys/wait.h>

#include "session.h"

static struct device device;
static struct queue queue;
static volatile int hold;

/* Answers everything at once, or once told to hold, nothing. */
static void *serve(void *unused)
{
	uint64_t tag;
	int result;

	queue_open(&queue, &device, 0);
	queue_fetch_all(&queue);
	for (;;) {
		result = next_result(queue.ring, &tag, 100);
		if (result == -ETIME || hold)
			continue;
		if (result)
			return NULL;
		queue_command(&queue, UBD_IO_COMMIT_AND_FETCH_REQ, tag, queue.descs[tag].nr_sectors * 512);
		io_uring_submit(queue.ring);
	}
}

static int set(struct ubd_params params)
{
	return control(&device, UBD_CMD_SET_PARAMS, &params, sizeof(params), 0);
}

static void bad_params(void)
{
	static const struct {
		const char *what;
		struct ubd_params params;
	} table[] = {
		{ "an unknown flag", { .flags = 1u << 31 } },
		{ "FUA without a cache", { .flags = UBD_PARAM_FUA } },
		{ "a logical block of no power of two", { .logical_block_size = 1000 } },
		{ "a logical block above the page", { .logical_block_size = 8192 } },
		{ "a physical block below the logical", { .logical_block_size = 4096, .physical_block_size = 512 } },
		{ "a physical block of no power of two", { .physical_block_size = 3072 } },
		{ "io_min off the logical block", { .io_min = 700 } },
		{ "io_opt off the logical block", { .io_opt = 700 } },
		{ "a chunk of no power of two", { .chunk_size = 12288 } },
		{ "a chunk below the page", { .chunk_size = 2048 } },
		{ "a discard granularity of no power of two", { .discard_granularity = 1536, .max_discard = 1 << 20 } },
		{ "a discard granularity above the largest discard", { .discard_granularity = 8192, .max_discard = 4096 } },
		{ "a largest discard off the logical block", { .max_discard = 1000 } },
		{ "largest zeroes off the logical block", { .max_write_zeroes = 1000 } },
		{ "too short a timeout", { .timeout_ms = 999 } },
		{ "a reserved field", { .reserved = { 0, 0, 1 } } },
	};
	char what[100];
	unsigned int i;

	for (i = 0; i < sizeof(table) / sizeof(*table); i++) {
		snprintf(what, sizeof(what), "%s is refused", table[i].what);
		expect(what, -EINVAL, set(table[i].params));
	}
	expect("parameters that are too short are refused", -EINVAL,
	       control(&device, UBD_CMD_SET_PARAMS, &device.info, 64, 0));
}

static void expect_attribute(const char *name, const char *wanted)
{
	char path[128], text[64] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/sys/block/ubdb%u/%s", device.info.dev_id, name);
	file = fopen(path, "r");
	if (!file || !fgets(text, sizeof(text), file))
		err(1, "%s", path);
	fclose(file);
	text[strcspn(text, "\n")] = 0;
	printf("%sok - %s is %s", strcmp(text, wanted) ? "not " : "", name, wanted);
	printf(strcmp(text, wanted) ? ", not %s\n" : "\n", text);
	failures += strcmp(text, wanted) != 0;
}

static void add_and_start(const struct ubd_params *params, uint64_t flags)
{
	static pthread_t thread;

	device_init(&device, 1, 4);
	device.info.flags[0] = flags;
	device.info.rq_max_blocks = 1024;
	expect("ADD", 0, device_add(&device));
	if (params) {
		bad_params();
		expect("SET_PARAMS", 0, set(*params));
	} else {
		expect("SET_PARAMS without the feature is refused", -EOPNOTSUPP, set((struct ubd_params){ 0 }));
	}
	expect("open", 0, device_open(&device));
	if (pthread_create(&thread, NULL, serve, NULL))
		errx(1, "thread");
	expect("START", 0, control(&device, UBD_CMD_START_DEV, NULL, 0, getpid()));
}

/*
 * In a process of its own, as a read that nobody ends can't be given up. Returns its errno, 0 if it
 * succeeds, -1 if it doesn't end.
 */
static int read_elsewhere(const char *path, int seconds)
{
	int left = seconds * 100, status;
	pid_t reader = fork();

	if (!reader) {
		int fd = open(path, O_RDONLY | O_DIRECT);

		_exit(pread(fd, aligned_alloc(4096, 4096), 4096, 8192) < 0 ? errno : 0);
	}
	while (!waitpid(reader, &status, WNOHANG)) {
		if (!left--)
			return -1;
		usleep(10000);
	}
	return WEXITSTATUS(status);
}

static void a_hung_server_is_given_up(void)
{
	char path[32];

	snprintf(path, sizeof(path), "/dev/ubdb%u", device.info.dev_id);
	hold = 1;
	expect("a read from a hung server fails soon after the timeout", EIO,
	       read_elsewhere(path, 20));
	for (int i = 0; i < 2000 && !access(path, F_OK); i++)
		usleep(10000);
	expect("and the disk is gone", -1, access(path, F_OK));
}

int main(void)
{
	struct ubd_params got, params = {
		.flags = UBD_PARAM_VOLATILE_CACHE | UBD_PARAM_ROTATIONAL | UBD_PARAM_READ_ONLY,
		.logical_block_size = 4096,
		.io_min = 65536,
		.io_opt = 262144,
		.chunk_size = 65536,
		.discard_granularity = 65536,
		.max_discard = 1 << 20,
		.max_write_zeroes = 2 << 20,
		.timeout_ms = 1000,
	};

	setvbuf(stdout, NULL, _IOLBF, 0);
	add_and_start(NULL, 0);
	expect_attribute("queue/logical_block_size", "512");
	expect_attribute("queue/write_cache", "write back");
	expect_attribute("queue/fua", "1");
	expect_attribute("queue/rotational", "0");
	expect_attribute("queue/discard_granularity", "4096");
	expect_attribute("queue/max_hw_sectors_kb", "512");
	expect_attribute("queue/chunk_sectors", "0");
	expect_attribute("ro", "0");
	expect_attribute("size", "8192");
	expect("STOP", 0, control(&device, UBD_CMD_STOP_DEV, NULL, 0, 0));
	expect("DEL", 0, control(&device, UBD_CMD_DEL_DEV, NULL, 0, 0));

	add_and_start(&params, UBD_F_PARAMS);
	expect("GET_PARAMS", 0, control(&device, UBD_CMD_GET_PARAMS, &got, sizeof(got), 0));
	expect("fills in the physical block", 4096, got.physical_block_size);
	expect("and gives the rest back", 262144, got.io_opt);
	expect_attribute("queue/logical_block_size", "4096");
	expect_attribute("queue/physical_block_size", "4096");
	expect_attribute("queue/minimum_io_size", "65536");
	expect_attribute("queue/optimal_io_size", "262144");
	expect_attribute("queue/chunk_sectors", "128");
	expect_attribute("queue/discard_granularity", "65536");
	expect_attribute("queue/discard_max_bytes", "1048576");
	expect_attribute("queue/write_zeroes_max_bytes", "2097152");
	expect_attribute("queue/write_cache", "write back");
	expect_attribute("queue/fua", "0");
	expect_attribute("queue/rotational", "1");
	expect_attribute("queue/io_timeout", "1000");
	expect_attribute("ro", "1");
	a_hung_server_is_given_up();
	expect("DEL", 0, control(&device, UBD_CMD_DEL_DEV, NULL, 0, 0));
	return failures != 0;
}
