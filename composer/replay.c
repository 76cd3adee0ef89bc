// SPDX-License-Identifier: MIT
/*
 * The replay front-end: reads a script, keeps up to `depth` requests in flight, checks what comes
 * back. It knows no target, and leaves only through the queue.
 *
 * The pattern: byte-exact per seed and device offset, so that any part of what was written can be
 * checked by a later read of any alignment.
 */
#include "replay.h"

#include "crc32c.h"
#include "queue.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <json-c/json_object.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEPTH_MAX 128
#define LINE_MAX_BYTES 4096
#define WORDS_MAX 5

struct slot {
	struct request request;
	uint64_t line;
	uint64_t seed;
	bool is_busy, is_checked;
	int save_fd; /* READ: where its bytes go, at save_offset; -1: nowhere */
	uint64_t save_offset;
	char *report; /* its line of output, printed in script order */
};

struct save {
	int fd;
	uint64_t begin;
};

struct replay {
	struct queue queue; /* first: see queue.h */
	struct tree *tree;
	FILE *out;
	const char *name;
	struct slot slots[DEPTH_MAX];
	unsigned depth, busy, failures;
	uint64_t begun, printed; /* requests; slot n serves those n modulo DEPTH_MAX */
};

/* Eight bytes of the pattern: a mix of seed and position (splitmix64's finaliser). */
static uint64_t pattern_word(uint64_t seed, uint64_t index)
{
	uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15) + index;

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

/* Requests are whole blocks, so whole words. */
static void pattern_fill(void *data, uint64_t seed, uint64_t offset, uint64_t length)
{
	uint64_t i;

	for (i = 0; i < length / 8; i++) {
		uint64_t word = pattern_word(seed, offset / 8 + i);

		memcpy((char *)data + i * 8, &word, 8);
	}
}

/* Where the data first differs from the pattern; length if nowhere. */
static uint64_t pattern_check(const void *data, uint64_t seed, uint64_t offset, uint64_t length)
{
	uint64_t i;

	for (i = 0; i < length / 8; i++) {
		uint64_t word = pattern_word(seed, offset / 8 + i);

		if (memcmp((const char *)data + i * 8, &word, 8) != 0)
			return i * 8;
	}
	return length;
}

static void print_reports(struct replay *replay)
{
	while (replay->printed < replay->begun) {
		struct slot *slot = &replay->slots[replay->printed % DEPTH_MAX];

		if (slot->is_busy)
			return;
		fprintf(replay->out, "%s\n", slot->report ? slot->report : "out of memory");
		free(slot->report);
		slot->report = NULL;
		replay->printed++;
	}
}

static void report(struct replay *replay, unsigned tag, const char *outcome)
{
	struct slot *slot = &replay->slots[tag];
	const struct request *request = &slot->request;

	if (asprintf(&slot->report, "%" PRIu64 ": %s %" PRIu64 " %" PRIu64 ": %s", slot->line,
		    io_kind_name(request->kind), request->offset, request->length, outcome) < 0)
		slot->report = NULL;
}

static void replay_commit(void *context, unsigned tag, int result, bool linked)
{
	struct replay *replay = context;
	struct slot *slot = &replay->slots[tag];
	const struct request *request = &slot->request;
	const char *data = queue_buffer(&replay->queue, tag, replay->tree->device.max_io_size);
	char outcome[96];
	uint64_t same = request->length;

	(void)linked; /* never: the queue is gathered, as there is no command to link */
	if (result >= 0 && slot->is_checked)
		same = pattern_check(data, slot->seed, request->offset, request->length);
	if (result >= 0 && slot->save_fd >= 0 &&
		pwrite(slot->save_fd, data, request->length, (off_t)slot->save_offset) !=
			(ssize_t)request->length)
		result = errno ? -errno : -ENOSPC;
	if (result < 0)
		(void)snprintf(outcome, sizeof(outcome), "%s", strerror(-result));
	else if (same != request->length)
		(void)snprintf(outcome, sizeof(outcome), "differs at %" PRIu64,
			request->offset + same);
	else if (request->kind == IO_READ)
		(void)snprintf(outcome, sizeof(outcome), "ok crc32c %08" PRIx32,
			crc32c(data, request->length));
	else
		(void)snprintf(outcome, sizeof(outcome), "ok");
	if (result < 0 || same != request->length)
		replay->failures++;
	report(replay, tag, outcome);
	slot->is_busy = false;
	replay->busy--;
}

static int wait_until(struct replay *replay, unsigned busy, struct err *err)
{
	int result = 0;

	while (replay->busy > busy && result == 0)
		result = uring_run(&replay->queue.uring);
	print_reports(replay);
	return result < 0 ? err_add(err, "io_uring: %s", strerror(-result)) : 0;
}

/* Lets end what the nodes do by themselves, so that the leaves can be stopped. */
static int end_work(struct replay *replay, struct err *err)
{
	int result = 0;

	engine_quiesce(replay->queue.engine);
	while (engine_is_working(replay->queue.engine) && result == 0)
		result = uring_run(&replay->queue.uring);
	return result < 0 ? err_add(err, "io_uring: %s", strerror(-result)) : 0;
}

/* `save`: READ's bytes go to save->fd as well, at the offset beyond save->begin. NULL: nowhere. */
static int replay_request(struct replay *replay, const struct request *request, uint64_t line,
	const char *seed, const struct save *save, struct err *err)
{
	unsigned tag = (unsigned)(replay->begun % DEPTH_MAX);
	struct slot *slot = &replay->slots[tag];
	void *data = queue_buffer(&replay->queue, tag, replay->tree->device.max_io_size);

	if (wait_until(replay, replay->depth - 1, err) < 0)
		return -1;
	while (slot->is_busy || replay->begun - replay->printed >= DEPTH_MAX)
		if (wait_until(replay, replay->busy - 1, err) < 0)
			return -1;
	*slot = (struct slot){ .request = *request, .line = line, .is_busy = true, .save_fd = -1 };
	if (save) {
		slot->save_fd = save->fd;
		slot->save_offset = request->offset - save->begin;
	}
	slot->seed = seed ? strtoull(seed, NULL, 0) : 0;
	slot->is_checked = request->kind == IO_READ && seed;
	if (request->kind == IO_WRITE)
		pattern_fill(data, slot->seed, request->offset, request->length);
	replay->begun++;
	replay->busy++;
	engine_start(replay->queue.engine, tag, request, data);
	return 0;
}

static int line_err(const struct replay *replay, uint64_t line, const char *why, const char *word,
	struct err *err)
{
	return err_add(err, "%s (%s:%" PRIu64 ")%s%s", why, replay->name, line, word ? ": " : "",
		word ? word : "");
}

static const struct verb {
	const char *name;
	enum io_kind kind;
	unsigned least, most; /* words after the name */
} verbs[] = {
	{ "read", IO_READ, 2, 3 },
	{ "write", IO_WRITE, 3, 4 },
	{ "zeroes", IO_WRITE_ZEROES, 2, 2 },
	{ "discard", IO_DISCARD, 2, 2 },
	{ "flush", IO_FLUSH, 0, 0 },
};

static int verb_run(struct replay *replay, const struct verb *verb, char *const *words,
	unsigned count, uint64_t line, struct err *err)
{
	struct request request = { .kind = verb->kind };
	bool has_bytes = verb->kind == IO_READ || verb->kind == IO_WRITE;

	if (count - 1 < verb->least || count - 1 > verb->most)
		return line_err(replay, line, "wrong number of words", words[0], err);
	if (count > 2 && (!json_parse_size(words[1], &request.offset) ||
				 !json_parse_size(words[2], &request.length)))
		return line_err(replay, line, "offset and length must be sizes", words[1], err);
	if (has_bytes && request.length > replay->tree->device.max_io_size)
		return line_err(replay, line, "length is over max_io_size", words[2], err);
	if (has_bytes)
		request.data.home = DATA_REQUEST;
	if (count == 5 && strcmp(words[4], "fua") != 0)
		return line_err(replay, line, "unknown word", words[4], err);
	if (count == 5)
		request.flags = IO_FUA;
	return replay_request(replay, &request, line, count > 3 ? words[3] : NULL, NULL, err);
}

/* save OFFSET LENGTH FILE: reads of max_io_size, which may be many. */
static int save_run(struct replay *replay, char *const *words, uint64_t line, struct err *err)
{
	struct request request = { .kind = IO_READ, .data.home = DATA_REQUEST };
	struct save save;
	uint64_t end;
	int result = 0;

	if (!json_parse_size(words[1], &save.begin) || !json_parse_size(words[2], &end) ||
		end > UINT64_MAX - save.begin)
		return line_err(replay, line, "offset and length must be sizes", words[1], err);
	save.fd = open(words[3], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (save.fd < 0)
		return line_err(replay, line, strerror(errno), words[3], err);
	end += save.begin;
	for (request.offset = save.begin; request.offset < end && result == 0;
		request.offset += request.length) {
		request.length = end - request.offset;
		if (request.length > replay->tree->device.max_io_size)
			request.length = replay->tree->device.max_io_size;
		result = replay_request(replay, &request, line, NULL, &save, err);
	}
	if (wait_until(replay, 0, err) < 0)
		result = -1;
	if (close(save.fd) < 0 && result == 0)
		result = line_err(replay, line, strerror(errno), words[3], err);
	return result;
}

/* ask NODE VERB [ARGUMENTS]: then all waits until the nodes have done what that has given them to do. */
static int ask_run(struct replay *replay, char *const *words, unsigned count, uint64_t line, struct err *err)
{
	struct json_object *answer = json_object_new_object();
	const char *text = count > 3 ? words[3] : "{}";
	struct json *arguments = json_parse(replay->name, text, strlen(text), err);
	struct node *node = NULL;
	unsigned i;
	int result = 0;

	for (i = 0; i < replay->tree->node_count; i++)
		if (!strcmp(replay->tree->nodes[i]->id, words[1]))
			node = replay->tree->nodes[i];
	if (arguments && (!node || !node->type->command))
		result = line_err(replay, line, "no node of that id has verbs", words[1], err);
	if (!arguments || result < 0 || node->type->command(node, words[2], arguments, answer, err) < 0)
		result = -1;
	if (result == 0)
		engine_wake(replay->queue.engine, node);
	while (result == 0 && engine_is_working(replay->queue.engine))
		result = uring_run(&replay->queue.uring);
	print_reports(replay);
	if (result == 0)
		fprintf(replay->out, "%" PRIu64 ": ask %s %s: %s\n", line, words[1], words[2],
			json_object_to_json_string(answer));
	json_object_put(answer);
	json_destroy(arguments);
	return result < -1 ? err_add(err, "io_uring: %s", strerror(-result)) : result;
}

static int line_run(struct replay *replay, char *text, uint64_t line, struct err *err)
{
	char *words[WORDS_MAX + 1], *rest = NULL, *word;
	unsigned count = 0, i;
	uint64_t number;

	text[strcspn(text, "#\n")] = '\0';
	for (word = strtok_r(text, " \t", &rest); word && count <= WORDS_MAX;
		word = strtok_r(NULL, " \t", &rest))
		words[count++] = word;
	if (count == 0)
		return 0;
	if (!strcmp(words[0], "wait") && count == 1)
		return wait_until(replay, 0, err);
	if (!strcmp(words[0], "depth") && count == 2) {
		if (!json_parse_size(words[1], &number) || number < 1 || number > DEPTH_MAX)
			return line_err(replay, line, "depth is outside 1 to 128", words[1], err);
		replay->depth = (unsigned)number;
		return 0;
	}
	if (!strcmp(words[0], "save") && count == 4)
		return save_run(replay, words, line, err);
	if (!strcmp(words[0], "ask") && (count == 3 || count == 4))
		return ask_run(replay, words, count, line, err);
	for (i = 0; i < sizeof(verbs) / sizeof(*verbs); i++)
		if (!strcmp(words[0], verbs[i].name))
			return verb_run(replay, &verbs[i], words, count, line, err);
	return line_err(replay, line, "unknown request", words[0], err);
}

int replay_run(struct tree *tree, FILE *script, const char *name, FILE *out, bool trace,
	struct err *err)
{
	struct replay *replay = calloc(1, sizeof(*replay));
	struct queue_config config = {
		.tree = tree,
		.depth = DEPTH_MAX,
		.frontend_fd = -1,
		.trace = trace,
		.backend = { .commit = replay_commit },
	};
	enum fan_out fan_out = tree->device.fan_out;
	char text[LINE_MAX_BYTES];
	uint64_t line = 0;
	int result;

	if (!replay)
		return err_add(err, "out of memory");
	replay->tree = tree;
	replay->out = out;
	replay->name = name;
	replay->depth = 1;
	tree->device.fan_out = FAN_OUT_GATHERED;
	result = queue_open(&replay->queue, &config, err);
	if (result == 0)
		engine_begin(replay->queue.engine);
	while (result == 0 && fgets(text, sizeof(text), script))
		result = line_run(replay, text, ++line, err);
	if (replay->busy)
		result = wait_until(replay, 0, err) < 0 ? -1 : result;
	if (replay->queue.engine && end_work(replay, err) < 0)
		result = -1;
	print_reports(replay);
	if (result == 0 && replay->failures)
		result = 1;
	queue_close(&replay->queue);
	tree->device.fan_out = fan_out;
	free(replay);
	return result;
}
