// SPDX-License-Identifier: MIT
/*
 * Fuzzes thin's map() and resume() on hostile images (libFuzzer): make fuzz T=thin MINUTES=5. The
 * input is an image, as for T=qcow2; its last bytes also say what is asked of the device, in which
 * order the sub-I/Os end, and which fail.
 *
 * What must hold: an image is refused with a message, or it serves: every request ends, nothing is
 * asked of the file beyond its limit, and what was read or written is read again, also after a stop
 * and a start, which must not be refused. After errors of the file only the first two.
 */
#include "engine.h"
#include "lifetime.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SCRIPT 96u
#define SECTOR 512u
#define TAGS 4u
#define WINDOW (64u << 10) /* of the device, from its front, for each tag */
#define PIECE 4096u
#define REQUESTS 24u
#define PENDING_MAX 4096u
#define FILE_MAX (UINT64_C(64) << 20) /* then it is full */

static const uint8_t *script;
static unsigned script_left;
static char path[64];
static char model[TAGS * WINDOW], data[TAGS][WINDOW];
static bool is_known[TAGS * WINDOW / SECTOR];
static struct sub_io *pending[PENDING_MAX];
static unsigned pending_count;
static struct request requests[TAGS];
static bool is_busy[TAGS];
static int results[TAGS];
static unsigned fault_rate; /* one in so many; 0: never */
static bool has_failed;

static void must(bool what)
{
	if (!what)
		abort();
}

static unsigned take(unsigned limit)
{
	unsigned value = 0;

	if (script_left >= 2) {
		value = script[0] | (unsigned)script[1] << 8;
		script += 2;
		script_left -= 2;
	}
	return limit ? value % limit : value;
}

static void fuzz_submit(void *context, struct sub_io *sub)
{
	must(pending_count < PENDING_MAX);
	pending[pending_count++] = sub;
}

static void fuzz_commit(void *context, unsigned tag, int result, bool linked)
{
	must(is_busy[tag] && !linked);
	is_busy[tag] = false;
	results[tag] = result;
}

static const struct engine_backend fuzz_backend = { .submit = fuzz_submit, .commit = fuzz_commit };

static int move(const struct sub_io *sub)
{
	int fd = sub->leaf->fd, sum = 0;
	uint64_t offset = sub->offset;
	unsigned i;

	for (i = 0; i < sub->vector_count; i++) {
		const struct iovec *piece = &sub->vectors[i];
		ssize_t done = sub->kind == IO_READ
				       ? pread(fd, piece->iov_base, piece->iov_len, (off_t)offset)
				       : pwrite(fd, piece->iov_base, piece->iov_len, (off_t)offset);

		must(done >= 0);
		sum += (int)done;
		offset += (uint64_t)done;
		if ((size_t)done < piece->iov_len)
			break;
	}
	return sum;
}

/* An error, and of a write perhaps some bytes that nobody asked for. */
static int fail(const struct sub_io *sub)
{
	unsigned char junk[8];
	unsigned i, count = sub->kind == IO_WRITE ? take(4) : 0, at;

	has_failed = true;
	for (; count > 0; count--) {
		for (i = 0; i < sizeof(junk); i++)
			junk[i] = (unsigned char)take(i % 3 ? 256 : 4);
		at = take((unsigned)(sub->length / sizeof(junk))) * sizeof(junk);
		must(pwrite(sub->leaf->fd, junk, sizeof(junk), (off_t)(sub->offset + at)) > 0);
	}
	return take(2) ? -EIO : -ENOSPC;
}

static int perform(const struct sub_io *sub)
{
	uint64_t limit = sub->leaf->node->limits.size;
	int mode = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE;

	if (fault_rate && take(fault_rate) == 0)
		return fail(sub);
	if (sub->kind == IO_FLUSH)
		return 0;
	must(sub->offset <= limit && sub->length <= limit - sub->offset);
	if (sub->kind == IO_WRITE && sub->offset + sub->length > FILE_MAX)
		return -ENOSPC;
	if (sub->kind == IO_READ || sub->kind == IO_WRITE)
		return move(sub);
	return fallocate(sub->leaf->fd, mode, (off_t)sub->offset, (off_t)sub->length) < 0 ? -errno
											  : 0;
}

static void end_one(void)
{
	unsigned n = take(pending_count);
	struct sub_io *sub = pending[n];

	pending[n] = pending[--pending_count];
	sub->event.end(&sub->event, perform(sub));
}

/* What has ended, against the model. A write that failed may have happened in part. */
static void judge(unsigned tag)
{
	const struct request *request = &requests[tag];
	uint64_t at;

	for (at = 0; at < request->length; at += SECTOR) {
		char *expected = model + request->offset + at, *found = data[tag] + at;
		bool *known = &is_known[(request->offset + at) / SECTOR];

		if (request->kind == IO_READ && results[tag] < 0)
			continue;
		if (request->kind == IO_READ && *known && !has_failed)
			must(memcmp(expected, found, SECTOR) == 0);
		*known = results[tag] >= 0 && request->kind != IO_DISCARD;
		if (request->kind == IO_WRITE_ZEROES)
			memset(expected, 0, SECTOR);
		else
			memcpy(expected, found, SECTOR);
	}
}

static void start(
	struct engine *engine, unsigned tag, enum io_kind kind, uint64_t offset, uint64_t length)
{
	bool has_bytes = kind == IO_READ || kind == IO_WRITE;

	requests[tag] = (struct request){
		.kind = kind,
		.offset = offset,
		.length = length,
		.data = { has_bytes ? DATA_REQUEST : DATA_NONE, 0 },
	};
	if (kind == IO_WRITE && take(4) == 0)
		requests[tag].flags = IO_FUA;
	memset(data[tag], (int)(kind == IO_WRITE ? take(256) : 0xa5), has_bytes ? length : 0);
	is_busy[tag] = true;
	engine_start(engine, tag, &requests[tag], data[tag]);
}

static void finish(unsigned tag)
{
	while (is_busy[tag]) {
		must(pending_count > 0); /* else it never ends */
		end_one();
	}
	judge(tag);
}

/* Each tag in its own part of the device, so that what is under way doesn't overlap. */
static void ask(struct engine *engine, const struct limits *limits)
{
	static const enum io_kind kinds[] = { IO_WRITE, IO_WRITE, IO_WRITE, IO_READ,
		IO_WRITE_ZEROES, IO_DISCARD, IO_FLUSH };
	bool is_started[TAGS] = { false };
	unsigned n;

	for (n = 0; n < REQUESTS && script_left >= 8; n++) {
		unsigned tag = take(TAGS), unit = limits->logical_block_size;
		enum io_kind kind = kinds[take(7)];
		uint64_t room =
			limits->size < (tag + 1) * WINDOW ? limits->size : (tag + 1) * WINDOW;
		uint64_t offset = tag * WINDOW + take(WINDOW / unit) * unit, length;

		if (is_started[tag])
			finish(tag);
		is_started[tag] = false;
		if (kind == IO_DISCARD && limits->discard_granularity > unit) {
			unit = limits->discard_granularity;
			offset -= offset % unit;
		}
		if (offset + unit > room || offset < tag * WINDOW ||
			(kind == IO_DISCARD && !limits->discard_granularity) ||
			(kind == IO_WRITE_ZEROES && !limits->zeroes_granularity))
			continue;
		length = (1 + take((unsigned)((room - offset) / unit))) * unit;
		if (kind == IO_FLUSH)
			offset = length = 0;
		start(engine, tag, kind, offset, length);
		is_started[tag] = true;
		if (take(2) && pending_count)
			end_one();
	}
	for (n = 0; n < TAGS; n++)
		if (is_started[n])
			finish(n);
}

static void read_all(struct engine *engine, uint64_t size)
{
	uint64_t offset;

	for (offset = 0; offset < size && offset < sizeof(model); offset += PIECE) {
		start(engine, 0, IO_READ, offset, size - offset < PIECE ? size - offset : PIECE);
		finish(0);
	}
}

/* False: it is refused. */
static bool serve(bool again)
{
	static const char document[] = "{\"format\":1,\"name\":\"f\",\"root\":{\"type\":\"thin\","
				       "\"data\":{\"type\":\"file\","
				       "\"path\":\"%s\",\"direct\":false}}}";
	struct assemble_options options = { .force = false };
	struct err err = { 0 }, notes = { 0 };
	struct engine *engine = NULL;
	struct engine_config config = { .backend = &fuzz_backend, .depth = TAGS, .max_io = WINDOW };
	char text[512];
	bool is_served = false;

	snprintf(text, sizeof(text), document, path);
	config.tree = tree_parse("fuzz.json", text, strlen(text), &err);
	must(config.tree);
	config.fan_out = FAN_OUT_GATHERED;
	if (lifetime_prepare(config.tree, &options, &err, &notes) == 0) {
		if (lifetime_start(config.tree, &err, &notes) == 0 &&
			engine_open(&engine, &config, &err) == 0) {
			engine_begin(engine);
			read_all(engine, config.tree->root->limits.size);
			if (!again)
				ask(engine, &config.tree->root->limits);
			engine_quiesce(engine);
			must(pending_count == 0 && !engine_is_working(engine));
			engine_close(engine);
			is_served = true;
			must(lifetime_stop(config.tree, &err) == 0 || has_failed);
		} else {
			must(err.count > 0);
			lifetime_undo(config.tree, true);
		}
	} else {
		must(err.count > 0);
	}
	tree_destroy(config.tree);
	err_finish(&err);
	err_finish(&notes);
	return is_served;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	bool is_served;
	int fd;

	if (size < SECTOR + SCRIPT)
		return 0;
	if (!*path)
		snprintf(path, sizeof(path), "/dev/shm/ubd-fuzz-thin.%d", (int)getpid());
	script = bytes + size - SCRIPT;
	script_left = SCRIPT;
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	must(fd >= 0 && write(fd, bytes, size - SCRIPT) == (ssize_t)(size - SCRIPT));
	close(fd);
	memset(is_known, 0, sizeof(is_known));
	pending_count = 0;
	has_failed = false;
	fault_rate = take(3) ? 0 : 4 + take(64);
	is_served = serve(false);
	fault_rate = 0;
	must(serve(true) || !is_served || has_failed);
	unlink(path);
	return 0;
}
