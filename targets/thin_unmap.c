// SPDX-License-Identifier: MIT
/*
 * thin's WRITE_ZEROES and DISCARD: whole clusters lose their bytes by their entries alone.
 *
 * The host clusters are used again only when a flush that began after the entries' end has
 * succeeded (thin_space.c): no crash brings an entry back over another's bytes. DISCARD leaves out
 * what is no whole cluster. WRITE_ZEROES of that is refused with EOPNOTSUPP: the kernel then writes
 * zeroes. With a data file that reads as the device both are its own (thin_data_file.c).
 */
#include "thin.h"

#include <errno.h>

/* A hole reads as zeroes where there is no backing; else an entry must say it: not in version 2. */
static bool can_say_zero(const struct node *node)
{
	return !thin_has_backing(node) || thin_of(node)->header.version >= 3;
}

/* The whole clusters of the range; the device's last one may be cut short. */
static bool find_range(const struct node *node, const struct request *request, struct thin_io *io)
{
	const struct thin *thin = thin_of(node);
	uint64_t end = request->offset + request->length;

	io->begin = thin_up(thin, request->offset);
	io->end = end == node->limits.size ? thin_up(thin, end) : thin_down(thin, end);
	if (io->begin >= io->end)
		return false;
	if (thin_page_of(thin, (io->end - 1) >> thin->cluster_bits) -
			thin_page_of(thin, io->begin >> thin->cluster_bits) <
		thin->pages_max)
		return true;
	return false; /* longer than limits.unmap_max: nobody sends that */
}

/* Only what is mapped, or would show backing, needs an entry: then its table must be there. */
static bool needs_tables(const struct node *node, struct thin_io *io)
{
	const struct thin *thin = thin_of(node);
	uint64_t table = io->begin >> thin->cluster_bits >> thin->table_bits;
	uint64_t last = (io->end - 1) >> thin->cluster_bits >> thin->table_bits;

	io->wants = 0;
	for (; table <= last; table++)
		if (!thin_table_is_ready(thin, table) &&
			(thin->table_hosts[table] || thin_has_backing(node)))
			io->wants++;
	return io->wants > 0;
}

bool thin_can_unmap(const struct node *node, const struct request *request)
{
	const struct thin *thin = thin_of(node);
	uint64_t end = request->offset + request->length;
	bool is_whole = thin_down(thin, request->offset) == request->offset &&
		(thin_down(thin, end) == end || end == node->limits.size);

	return can_say_zero(node) && (request->kind == IO_DISCARD || is_whole);
}

static void commit(struct thin *thin, struct plan *plan, struct thin_io *io)
{
	thin_commit_wait(thin, io);
	plan_self(plan, 0, 0, SELF_COMMIT);
	plan_ask(plan);
	io->step = STEP_COMMITTED;
}

/* One that waits for room comes by hold() again. */
static void end(struct node *node, struct plan *plan, struct thin_io *io, int result)
{
	struct thin *thin = thin_of(node);

	thin_unclaim(thin, io);
	thin->unmappers--;
	thin_room_end(node, plan, result);
}

static void start(struct node *node, struct plan *plan, struct thin_io *io)
{
	struct thin *thin = thin_of(node);

	if (thin->failed) {
		end(node, plan, io, -EIO);
		return;
	}
	if (!needs_tables(node, io)) {
		commit(thin, plan, io);
		return;
	}
	/* With or without a SELF_RESERVE before them: the step is the same, and the claim is known. */
	if (!thin_claim(thin, io, io->wants)) {
		plan_self(plan, 0, 0, SELF_RESERVE);
		io->step = STEP_RESERVED;
	} else {
		plan_self(plan, 0, 0, SELF_TABLES);
		io->step = STEP_TABLES;
	}
	plan_ask(plan);
}

void thin_unmap(struct node *node, const struct request *request, struct plan *plan)
{
	struct thin_io *io = plan->io_state;
	bool is_discard = request->kind == IO_DISCARD;

	if (thin_of(node)->is_raw) {
		thin_data_file_zero(thin_of(node), request, plan);
		return;
	}
	io->plan = plan;
	io->unmaps = true;
	io->keeps = !is_discard && request->flags & IO_NOUNMAP;
	if (!thin_can_unmap(node, request) || !find_range(node, request, io)) {
		end(node, plan, io, is_discard ? 0 : -EOPNOTSUPP);
		return;
	}
	io->offset = io->begin;
	io->length = io->end - io->begin;
	start(node, plan, io);
}

void thin_unmap_resume(struct node *node, const struct request *request, struct plan *plan)
{
	struct thin *thin = thin_of(node);
	struct thin_io *io = plan->io_state;
	int result = thin_failure(plan);

	if (thin->is_raw)
		return; /* the first error is the result */
	if (io->step == STEP_FLUSHED)
		thin_flushed(thin, plan, io, result);
	if (io->step == STEP_PUNCHED) { /* it was an offer */
		thin->punches_data &= result != -EOPNOTSUPP;
		result = 0;
	}
	if (io->step == STEP_FLUSHED && result == 0 && thin->punches_data && !io->keeps) {
		thin_data_file_punch(node, plan, io);
		return;
	}
	if (result < 0 || io->step >= STEP_FLUSHED) {
		end(node, plan, io, result);
		return;
	}
	switch (io->step) {
	case STEP_RESERVED:
		plan_self(plan, 0, 0, SELF_TABLES);
		plan_ask(plan);
		io->step = STEP_TABLES;
		break;
	case STEP_TABLES:
		commit(thin, plan, io);
		break;
	default:
		if (!(request->flags & IO_FUA) && (!thin->punches_data || io->keeps)) {
			end(node, plan, io, 0);
			break;
		}
		thin_flush(thin, plan, io);
		plan_ask(plan);
		io->step = STEP_FLUSHED;
	}
}

void thin_unmap_bare(struct node *node, struct plan *plan, struct thin_io *io)
{
	io->unmaps = io->bares = true;
	start(node, plan, io);
}

void thin_unmap_bare_resume(struct node *node, struct plan *plan)
{
	const struct request request = { .kind = IO_DISCARD };

	thin_unmap_resume(node, &request, plan);
}
