// SPDX-License-Identifier: MIT
/*
 * Sub-I/Os under way. They end in any order, short, failed or late; a linked one takes its commit
 * along only if it succeeds in full, as io_uring's chains do; what was handed down is carried out
 * and answered without the engine, as the driver does.
 */
#include "sim.h"

#include <errno.h>
#include <string.h>

#define PENDING_MAX 16384
#define MS UINT64_C(1000000)

struct pending {
	struct sub_io *sub; /* NULL: a WRITE's bytes are on their way to its buffer */
	bool has_commit, is_passed, is_hung;
	unsigned tag;
	int result; /* of the commit behind it */
	uint64_t writes; /* FLUSH: what it covers */
	uint64_t begun; /* time */
};

static struct pending pending[PENDING_MAX];
static unsigned pending_count;

static struct passed { /* by tag: a request that is the driver's */
	unsigned left;
	bool is_under_way, has_failed, has_ended;
	bool has_lost[IMAGES_MAX]; /* a flush of that leaf, of which the engine doesn't know yet */
} passed[TAGS];
static bool lost[IMAGES_MAX]; /* the driver believes no flush of that leaf any more */
static bool poll_wanted;

struct backend backend;

static bool has_bytes(const struct sub_io *sub)
{
	return sub->kind == IO_READ || sub->kind == IO_WRITE;
}

static struct pending *pending_add(struct sub_io *sub)
{
	struct pending *each;

	if (pending_count == PENDING_MAX)
		sim_fail("more than %d sub-I/Os under way", PENDING_MAX);
	each = &pending[pending_count++];
	*each = (struct pending){
		.sub = sub,
		.is_hung = random_one_in(backend.faults.hung),
		.writes = sub ? backend.images[sub->leaf->place]->writes : 0,
		.begun = clock_time(NULL),
	};
	totals.sub_ios += sub != NULL;
	return each;
}

static void sim_submit(void *context, struct sub_io *sub)
{
	(void)context;
	sim_note("  submit tag=%u leaf=%u %s%s %llu %llu%s", sub->io->tag, sub->leaf->place,
		io_kind_name(sub->kind), sub->flags & IO_FUA ? " fua" : "",
		(unsigned long long)sub->offset, (unsigned long long)sub->length,
		sub->linked ? " linked" : "");
	pending_add(sub);
}

static void sim_commit(void *context, unsigned tag, int result, bool linked)
{
	struct pending *last;

	(void)context;
	if (!linked) {
		backend.ended(tag, result);
		return;
	}
	last = &pending[pending_count ? pending_count - 1 : 0];
	if (pending_count == 0 || !last->sub->linked || last->has_commit)
		sim_fail("tag %u: a linked commit without a sub-I/O before it", tag);
	totals.linked++;
	last->has_commit = true;
	last->tag = tag;
	last->result = result;
}

/* What the driver would refuse, or a bug. */
static bool can_pass(unsigned tag, const struct sub_io *subs)
{
	const struct sub_io *sub;

	if (passed[tag].is_under_way)
		sim_fail("tag %u is handed down twice", tag);
	if (subs && random_one_in(5))
		return false;
	for (sub = subs; sub; sub = sub->next) {
		if (sub->kind == IO_RECORD)
			return false; /* the driver knows no labels */
		if (sub->kind == IO_WRITE_ZEROES && sub->flags & IO_FUA)
			return false;
	}
	return true;
}

static bool sim_pass(void *context, unsigned tag, const struct sub_io *subs)
{
	const struct sub_io *sub;

	(void)context;
	if (!can_pass(tag, subs))
		return false;
	passed[tag] = (struct passed){ .is_under_way = true };
	if (!subs) {
		struct pending *each = pending_add(NULL);

		each->is_passed = true;
		each->tag = tag;
		sim_note("  fetch tag=%u", tag);
		return true;
	}
	for (sub = subs; sub; sub = sub->next) {
		struct pending *each = pending_add((struct sub_io *)sub);

		each->is_passed = true;
		each->tag = tag;
		passed[tag].left++;
	}
	sim_note("  pass tag=%u in %u", tag, passed[tag].left);
	totals.passed++;
	return true;
}

static bool sim_ended(void *context, unsigned tag)
{
	(void)context;
	return passed[tag].has_ended;
}

static void sim_poll(void *context)
{
	(void)context;
	poll_wanted = true;
}

const struct engine_backend sim_backend = {
	.submit = sim_submit,
	.commit = sim_commit,
	.now = clock_time,
	.timer = clock_timer,
};

const struct engine_backend sim_passing_backend = {
	.submit = sim_submit,
	.commit = sim_commit,
	.pass = sim_pass,
	.ended = sim_ended,
	.poll = sim_poll,
	.now = clock_time,
	.timer = clock_timer,
};

/* The engine has given it up: a slot's own, whose op has ended. */
static bool is_late(const struct pending *each)
{
	return each->sub && each->sub->leaf->timeout_ms && !each->sub->op;
}

unsigned backend_pending(void)
{
	unsigned i, count = poll_wanted;

	for (i = 0; i < pending_count; i++)
		count += !is_late(&pending[i]);
	return count;
}

unsigned backend_hung(void)
{
	unsigned i, count = 0;

	for (i = 0; i < backend.tree->leaf_count; i++)
		count += leaf_is_hung(backend.tree->leaves[i]);
	return count;
}

static bool is_older(const struct pending *each, uint64_t age)
{
	return each->sub && each->sub->leaf->timeout_ms && clock_time(NULL) - each->begun >= age;
}

void backend_note_time(void)
{
	unsigned i;

	for (i = 0; i < pending_count; i++)
		if (is_older(&pending[i], TIMEOUT_MS * MS) && !is_late(&pending[i])) {
			model_fault(); /* it may be given up now */
			return;
		}
}

void backend_reset(void)
{
	pending_count = 0;
	poll_wanted = false;
	clock_reset();
	memset(passed, 0, sizeof(passed));
	memset(lost, 0, sizeof(lost));
	memset(backend.dead, 0, sizeof(backend.dead));
}

/* One piece of memory of the sub-I/O against the leaf. */
static void move_piece(struct image *image, const struct sub_io *sub, uint64_t offset, void *memory,
	uint64_t length)
{
	if (offset > image->bytes || length > image->bytes - offset)
		sim_fail("leaf %u of %zu bytes is asked for %llu at %llu", sub->leaf->place,
			image->bytes, (unsigned long long)length, (unsigned long long)offset);
	if (sub->kind == IO_READ) {
		memcpy(memory, image->view + offset, length);
		lie_read(image, offset, memory, length);
	} else {
		image_write(image, offset, memory, length);
		lie_written(image, offset, memory, length);
	}
}

/* Carries out the first `length` bytes. */
static void perform(const struct pending *each, uint64_t length)
{
	const struct sub_io *sub = each->sub, *part = sub;
	struct image *image = backend.images[sub->leaf->place];
	struct lie lie = lie_about(image, sub, length, each->is_passed);
	uint64_t offset = lie.offset, left = length;
	unsigned i;

	if (lie.kind == LIE_LOST)
		return;
	if (sub->kind == IO_FLUSH)
		image_flush(image, random_below(2) ? each->writes : image->writes);
	if (sub->kind == IO_WRITE_ZEROES || sub->kind == IO_DISCARD) {
		image_zero(image, sub->offset, length);
		lie_zeroed(image, sub, length);
	}
	for (i = 0; has_bytes(sub) && left > 0; i++) {
		struct iovec piece = each->is_passed ? part->vector : sub->vectors[i];
		uint64_t count = piece.iov_len < left ? piece.iov_len : left;

		if (each->is_passed) /* the driver works on the request's own pages */
			piece.iov_base = backend.page_of(each->tag, piece.iov_base);

		if (!each->is_passed && i >= sub->vector_count)
			sim_fail("leaf %u: the vectors hold less than %llu bytes", sub->leaf->place,
				(unsigned long long)sub->length);
		move_piece(image, sub, offset, piece.iov_base, count);
		offset += count;
		left -= count;
		part = part->merged;
	}
	if (sub->kind == IO_WRITE && sub->flags & IO_FUA && length)
		image_persist(image, lie.offset, length);
	lie_told(image, &lie, length);
}

/* Some whole sectors of it, perhaps none, perhaps all. */
static uint64_t some_of(const struct sub_io *sub)
{
	uint32_t count = (uint32_t)(sub->length / SECTOR);

	switch (random_below(3)) {
	case 0:
		return 0;
	case 1:
		return sub->length;
	default:
		return (uint64_t)random_below(count + 1) * SECTOR;
	}
}

static int fail(const struct pending *each)
{
	const struct sub_io *sub = each->sub;
	struct image *image = backend.images[sub->leaf->place];

	model_fault();
	backend.has_lost |= sub->kind == IO_FLUSH;
	if (sub->kind == IO_FLUSH && random_below(2))
		image_lose_flush(image);
	else if (sub->kind != IO_FLUSH && !backend.dead[sub->leaf->place])
		perform(each, some_of(sub));
	return random_below(4) ? -EIO : -ENOSPC;
}

/* What becomes of it: bytes, 0 or -errno. */
static int outcome(const struct pending *each)
{
	const struct sub_io *sub = each->sub;
	unsigned place = sub->leaf->place;
	uint64_t length = sub->length;

	if (backend.dead[place] || (!backend.guarded[place] && random_one_in(backend.faults.error)))
		return fail(each);
	if (random_one_in(backend.faults.again))
		return random_below(2) ? -EAGAIN : -EINTR;
	if (has_bytes(sub) && length > SECTOR && random_one_in(backend.faults.shorter))
		length = SECTOR * (1 + random_below((uint32_t)(length / SECTOR) - 1));
	perform(each, length);
	return has_bytes(sub) ? (int)length : 0;
}

/* As the driver judges flushes: by the first one of the leaf that has failed. */
static int passed_flush_judge(struct passed *request, const struct sub_io *sub, int result)
{
	unsigned place = sub->leaf->place;

	if (sub->kind != IO_FLUSH || result == -EAGAIN || result == -EINTR)
		return result;
	lost[place] |= result < 0;
	request->has_lost[place] |= lost[place];
	return lost[place] ? -EIO : 0;
}

static void passed_back(unsigned tag)
{
	unsigned place;

	totals.restarted++;
	for (place = 0; place < backend.tree->leaf_count; place++)
		if (passed[tag].has_lost[place])
			engine_flush_failed(backend.tree->leaves[place]);
	backend.fetch(tag);
	engine_restart(backend.engine, tag);
}

static void passed_part_ended(const struct pending *each, int result)
{
	struct passed *request = &passed[each->tag];
	const struct request *whole = &backend.engine->ios[each->tag].request;
	int full = has_bytes(each->sub) ? (int)each->sub->length : 0;

	request->has_failed |= passed_flush_judge(request, each->sub, result) != full;
	if (--request->left)
		return;
	request->is_under_way = false;
	if (request->has_failed) {
		passed_back(each->tag);
		return;
	}
	request->has_ended = true;
	backend.passed(each->tag, whole->data.home == DATA_REQUEST ? (int)whole->length : 0);
}

static void end_pending(unsigned n)
{
	struct pending each = pending[n];
	struct sub_io *sub = each.sub;
	int full, result;

	pending[n] = pending[--pending_count];
	if (!sub) {
		passed[each.tag].is_under_way = false;
		backend.fetch(each.tag);
		engine_restart(backend.engine, each.tag);
		return;
	}
	full = has_bytes(sub) ? (int)sub->length : 0;
	totals.late += is_late(&each);
	result = outcome(&each);
	sim_note("  end tag=%u leaf=%u %s %llu: %d", sub->io->tag, sub->leaf->place,
		io_kind_name(sub->kind), (unsigned long long)sub->offset, result);
	if (each.is_passed)
		passed_part_ended(&each, result);
	else if (each.has_commit && result == full)
		backend.ended(each.tag, each.result);
	else
		sub->event.end(&sub->event, result);
}

/* After each event: what has come about is judged before anything follows. */
static void watch(void)
{
	judge_watch();
	past_watch();
}

/* Leaves that never fail don't hang either: what is that old there ends. */
static void end_guarded(uint64_t age)
{
	unsigned i;

	for (i = 0; i < pending_count;)
		if (is_older(&pending[i], age) &&
			backend.guarded[pending[i].sub->leaf->place]) {
			end_pending(i);
			watch();
			i = 0;
		} else {
			i++;
		}
}

static void end_one(void)
{
	unsigned tries;

	lie_rot();
	end_guarded(TIMEOUT_MS / 2 * MS);
	if (clock_tick(backend_pending() == 0))
		return;
	if (poll_wanted && (pending_count == 0 || random_one_in(4))) {
		poll_wanted = false;
		engine_poll(backend.engine);
		return;
	}
	if (random_one_in(backend.faults.death)) {
		unsigned place = random_below(backend.tree->leaf_count);

		if (!backend.guarded[place]) {
			backend.dead[place] = !backend.dead[place];
			model_fault();
			sim_note("leaf %u %s", place, backend.dead[place] ? "dies" : "is back");
		}
	}
	for (tries = 0; tries < 8 && pending_count; tries++) {
		unsigned n = random_below(pending_count);

		if (!pending[n].is_hung) {
			end_pending(n);
			return;
		}
	}
	if (tries < 8)
		return;
	if (life.document.has_timeout && random_below(2)) {
		end_guarded(0);
		clock_skip();
	} else {
		backend_release_hung();
	}
}

void backend_end_one(void)
{
	end_one();
	watch();
}

void backend_release_hung(void)
{
	unsigned i;

	for (i = 0; i < pending_count; i++)
		pending[i].is_hung = false;
}

/* It was never answered: nothing of it need be durable. */
static void land(const struct pending *each)
{
	struct sub_io *sub = each->sub;
	bool is_fua = sub->flags & IO_FUA;

	if (sub->kind != IO_READ && sub->kind != IO_FLUSH && !backend.dead[sub->leaf->place]) {
		sub->flags &= ~IO_FUA;
		perform(each, some_of(sub));
		sub->flags |= is_fua ? IO_FUA : 0;
	}
	if (is_late(each))
		sub->event.end(&sub->event, -EIO); /* the engine keeps its memory as long as it has not heard of it */
}

void backend_land_late(void)
{
	unsigned i;

	for (i = 0; i < pending_count; i++)
		land(&pending[i]);
	pending_count = 0;
}

void backend_crash(bool is_cut)
{
	unsigned i;

	for (i = 0; i < pending_count; i++)
		if (pending[i].sub)
			land(&pending[i]);
	backend_reset();
	if (is_cut)
		images_cut();
}

void backend_print(FILE *out)
{
	char text[4096];
	unsigned i;

	for (i = 0; i < pending_count && i < 12; i++) {
		const struct sub_io *sub = pending[i].sub;
		const struct frame *frame;

		if (!sub)
			continue;
		fprintf(out, "under way: tag %u leaf %u %s %llu %llu%s\n", sub->io->tag,
			sub->leaf->place, io_kind_name(sub->kind), (unsigned long long)sub->offset,
			(unsigned long long)sub->length, pending[i].is_hung ? " (hung)" : "");
		for (frame = sub->frame; frame; frame = frame->parent) {
			plan_print(&frame->plan, text, sizeof(text));
			fprintf(out, "%s plans:\n%s", frame->node->id, text);
		}
	}
}
