// SPDX-License-Identifier: MIT
/*
 * Sub-I/Os under way. They end in any order, short, failed or late; a linked one takes its commit
 * along only if it succeeds in full, as io_uring's chains do; what was handed down is carried out
 * and answered without the engine, as the driver does.
 */
#include "perform.h"

#include <errno.h>
#include <string.h>

#define PENDING_MAX 16384
#define MS UINT64_C(1000000)

static struct pending pending[PENDING_MAX];
static unsigned pending_count;

struct backend backend;

static struct pending *pending_add(const void *context, struct sub_io *sub)
{
	struct pending *each;

	if (pending_count == PENDING_MAX)
		sim_fail("more than %d sub-I/Os under way", PENDING_MAX);
	each = &pending[pending_count++];
	*each = (struct pending){
		.sub = sub,
		.queue = queue_of(context),
		.is_hung = random_one_in(backend.faults.hung),
		.writes = sub ? backend.images[sub->leaf->place]->writes : 0,
		.begun = clock_time(NULL),
	};
	totals.sub_ios += sub != NULL;
	return each;
}

static void sim_submit(void *context, struct sub_io *sub)
{
	sim_note("  submit tag=%u leaf=%u %s%s %llu %llu%s", sub->io->tag, sub->leaf->place,
		io_kind_name(sub->kind), sub->flags & IO_FUA ? " fua" : "",
		(unsigned long long)sub->offset, (unsigned long long)sub->length,
		sub->linked ? " linked" : "");
	pending_add(context, sub);
}

static void check_thread(const void *context)
{
	if (backend.engine->port->context != context)
		sim_fail("queue %u is asked by another one's thread", queue_of(context));
}

/* Its number among all queues'. */
static unsigned tag_of(const void *context, unsigned tag)
{
	return queue_of(context) * queue_depth() + tag;
}

static void sim_commit(void *context, unsigned own_tag, int result, bool linked)
{
	unsigned tag = tag_of(context, own_tag);
	struct pending *last;

	check_thread(context);
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

static bool sim_pass(void *context, unsigned own_tag, const struct sub_io *subs)
{
	unsigned tag = tag_of(context, own_tag), count = 0;
	const struct sub_io *sub;

	check_thread(context);
	if (!pass_begin(tag, subs))
		return false;
	if (!subs) {
		struct pending *each = pending_add(context, NULL);

		each->is_passed = true;
		each->tag = tag;
		sim_note("  fetch tag=%u", tag);
		return true;
	}
	for (sub = subs; sub; sub = sub->next) {
		struct pending *each = pending_add(context, (struct sub_io *)sub);

		each->is_passed = true;
		each->tag = tag;
		count++;
	}
	sim_note("  pass tag=%u in %u", tag, count);
	totals.passed++;
	return true;
}

static bool sim_ended(void *context, unsigned tag)
{
	return pass_has_ended(tag_of(context, tag));
}

const struct engine_backend sim_backend = {
	.submit = sim_submit,
	.commit = sim_commit,
	.wake = queue_wakes,
	.now = clock_time,
	.timer = clock_timer,
};

const struct engine_backend sim_passing_backend = {
	.submit = sim_submit,
	.commit = sim_commit,
	.pass = sim_pass,
	.ended = sim_ended,
	.poll = queue_polls,
	.wake = queue_wakes,
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
	unsigned i, count = queues_pending();

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
	clock_reset();
	pass_reset();
	memset(backend.dead, 0, sizeof(backend.dead));
	hardship_forget();
}

static void end_event(unsigned queue, struct sub_io *sub, int result)
{
	queue_enter(queue);
	sub->event.end(&sub->event, result);
	queue_leave();
}

static void end_pending(unsigned n)
{
	struct pending each = pending[n];
	struct sub_io *sub = each.sub;
	int full, result;

	pending[n] = pending[--pending_count];
	if (!sub) {
		pass_fetched(each.tag);
		return;
	}
	full = has_bytes(sub) ? (int)sub->length : 0;
	totals.late += is_late(&each);
	result = each.has_landed ? each.landed : perform(&each);
	sim_note("  end tag=%u leaf=%u %s %llu: %d", sub->io->tag, sub->leaf->place,
		io_kind_name(sub->kind), (unsigned long long)sub->offset, result);
	if (each.is_passed)
		pass_part_ended(&each, result);
	else if (each.has_commit && result == full)
		backend.ended(each.tag, each.result);
	else
		end_event(each.queue, sub, result);
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

void backend_land_some(void)
{
	unsigned i;

	for (i = 0; i < pending_count; i++) {
		struct pending *each = &pending[i];

		if (!each->sub || each->is_passed || each->is_hung || each->has_commit || each->has_landed)
			continue;
		each->landed = perform(each);
		each->has_landed = true;
	}
}

void backend_end_landed(void)
{
	unsigned i;

	for (i = 0; i < pending_count;)
		if (pending[i].has_landed) {
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
	hardship_step();
	end_guarded(TIMEOUT_MS / 2 * MS);
	if (clock_tick(backend_pending() == 0))
		return;
	if (queues_look(pending_count == 0) || queues_poll(pending_count == 0))
		return;
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

	if (sub->kind != IO_READ && sub->kind != IO_FLUSH && !each->has_landed && !backend.dead[sub->leaf->place]) {
		sub->flags &= ~IO_FUA;
		perform_some(each);
		sub->flags |= is_fua ? IO_FUA : 0;
	}
	if (is_late(each))
		end_event(each->queue, sub, -EIO); /* the engine keeps its memory as long as it has not heard of it */
}

void backend_land_late(void)
{
	unsigned i;

	for (i = 0; i < pending_count; i++)
		if (pending[i].sub)
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
