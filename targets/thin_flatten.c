// SPDX-License-Identifier: MIT
/*
 * thin's flatten: what the device reads from backing is copied into the image, in the background and
 * piece by piece, until the image needs no backing any more and its header names none.
 *
 *   look     the next grains without bytes of their own, from the cursor on; their range is held alone
 *   read     what backing has there, into scratch. Clusters of zeroes are left out: without backing
 *            they read so by themselves
 *   write    as any other write that allocates (thin_write.c): bytes, flush, entries
 *   header   when all of the device has been gone through: a flush, then the header's one sector that
 *            names the backing, then a flush
 *
 * Crash story: until the header's sector is written the image is one over its backing, of which more and
 * more grains have bytes of their own, the same ones. When it is written all of them are durable, with
 * their entries. Old or new, it reads the same, and has to: where writing it fails nobody knows which it is, and no
 * commit may make holes (`may_be_flat`). What broke off goes on when it is asked for again: what is
 * there by then is passed over.
 *
 * Nothing behind the cursor becomes a hole again: with backing, what is discarded gets an entry that says
 * zeroes. Snapshots have holes of their own, which would lose their backing: there must be none.
 *
 * Scratch: [0, 2 * fill) is thin_fill.c's; then the piece.
 */
#include "thin.h"

#include "notice.h"

#include <assert.h>
#include <errno.h>

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

bool thin_may_flatten(const struct node *node)
{
	return thin_of(node)->can_write && thin_has_backing(node);
}

void thin_flatten_needs(struct node *node)
{
	struct thin *thin = thin_of(node);
	struct needs *needs = &node->needs;

	needs->work_max++;
	needs->self_fixed += thin->cache.evicts; /* the map, to look at it */
	needs->work_ops = needs->ops_fixed + 2 + (thin_piece_max(node) >> thin->cluster_bits);
	needs->work_scratch = thin_piece_scratch(node);
}

bool thin_flatten_next(struct node *node, uint64_t now, struct request *request, uint64_t *again)
{
	request->flags = SELF_FLATTEN;
	return thin_job_next(&thin_of(node)->flatten, thin_piece_max(node), now, request, again);
}

/*
 * The header is changed by nobody who doesn't have the device's beginning alone; here by who has all of it,
 * as a read that was planned before may still be under way on the backing, and nobody needs that from then on.
 */
void thin_flatten_hold(const struct thin *thin, const struct request *request, struct range *range)
{
	*range = (struct range){ 0, thin_up(thin, thin->header.size) };
	if (request->length == 0)
		return;
	range->offset = thin_down(thin, request->offset);
	range->length = thin_up(thin, request->offset + request->length) - range->offset;
}

static void end(struct node *node, struct plan *plan, uint64_t cursor, int result)
{
	thin_job_end(node, &thin_of(node)->flatten, plan, cursor, result, "flatten_failed");
}

/* The first grains in a row without bytes of their own. False: there are none. */
static bool find_hole(const struct thin *thin, uint64_t offset, uint64_t limit, uint64_t *from, uint64_t *to)
{
	bool is_found = false;

	*from = *to = offset;
	while (offset < limit) {
		struct qcow2_entry entry = thin_lookup(thin, offset >> thin->cluster_bits);
		uint64_t base = thin_down(thin, offset), within = offset - base, next;

		next = base + thin_run_end(thin, &entry, within, smaller(limit - base, thin_cluster(thin)));
		if (qcow2_entry_kind(&entry, (unsigned)(within >> thin->grain_bits)) == QCOW2_HOLE) {
			*from = is_found ? *from : offset;
			*to = next;
			is_found = true;
		} else if (is_found) {
			break;
		}
		offset = next;
	}
	return is_found;
}

static void look(struct node *node, const struct request *request, struct plan *plan)
{
	struct thin *thin = thin_of(node);
	struct thin_io *io = plan->io_state;
	uint64_t limit = request->offset + request->length, from, to;

	if (!thin_is_there(thin, request->offset, request->length)) {
		thin_bring(thin, plan, request->offset, request->length);
		io->flatten = FLATTEN_LOOK;
		return;
	}
	if (!find_hole(thin, request->offset, limit, &from, &to)) {
		end(node, plan, limit, 0);
		return;
	}
	io->flatten = FLATTEN_READ;
	io->at = from;
	io->length = to - from;
	plan_scratch(plan, IO_READ, 0, THIN_BACKING, from, thin_piece_at(thin), (uint32_t)io->length);
	plan_ask(plan);
}

/*
 * Of what was read, [at, at + length), the first clusters in a row that aren't zeroes: what is to be
 * written. False: there are none.
 */
static bool find_bytes(const struct thin *thin, const struct plan *plan, struct thin_io *io)
{
	const uint8_t *bytes = (uint8_t *)plan->scratch + thin_piece_at(thin);
	uint64_t limit = io->at + io->length, offset, next;
	bool is_found = false;

	for (offset = io->at; offset < limit; offset = next) {
		next = smaller(thin_down(thin, offset) + thin_cluster(thin), limit);
		if (!thin_is_zero(bytes + (offset - io->at), next - offset)) {
			io->offset = is_found ? io->offset : offset;
			is_found = true;
		} else if (is_found) {
			break;
		}
	}
	io->length = offset - io->offset;
	return is_found;
}

/* The write as thin_write.c is to see it. */
static struct request write_of(const struct thin *thin, const struct plan *plan)
{
	const struct thin_io *io = plan->io_state;
	uint32_t skip = thin_piece_at(thin) + (uint32_t)(io->offset - io->at);

	return (struct request){
		.kind = IO_WRITE,
		.offset = io->offset,
		.length = io->length,
		.data = { DATA_SCRATCH, plan->scratch_offset + skip },
	};
}

static void has_read(struct node *node, struct plan *plan, int result)
{
	struct thin *thin = thin_of(node);
	struct thin_io *io = plan->io_state;
	uint64_t limit = io->at + io->length;
	struct request write;

	thin_job_paced(&thin->flatten, io->length, plan->now);
	if (result < 0 || !find_bytes(thin, plan, io)) {
		end(node, plan, limit, result);
		return;
	}
	io->flatten = FLATTEN_WRITE;
	write = write_of(thin, plan);
	plan_then(plan);
	thin_write(node, &write, plan);
}

/* Perhaps it has ended with this step. */
static void go_on(struct node *node, struct plan *plan)
{
	struct thin_io *io = plan->io_state;
	struct request write = write_of(thin_of(node), plan);

	thin_write_resume(node, &write, plan);
	if (plan->result == PLAN_RUNNING)
		return;
	if (plan->result == 0)
		thin_job_copied(&thin_of(node)->flatten, io->length);
	end(node, plan, io->offset + io->length, plan->result);
}

/* Of a copy in scratch: the header in memory says what the disk says for sure. */
static void write_header(struct node *node, struct plan *plan)
{
	struct thin *thin = thin_of(node);
	struct thin_io *io = plan->io_state;
	struct qcow2_header header = thin->header;

	memcpy(plan->scratch, thin->header_page, thin->page);
	if (header.snapshot_count || qcow2_header_flatten(plan->scratch, &header) < 0) {
		end(node, plan, 0, -EBUSY); /* something has changed it meanwhile */
		return;
	}
	plan_then(plan);
	plan_scratch(plan, IO_WRITE, 0, THIN_DATA, 0, 0, thin->page);
	plan_then(plan);
	plan_add(plan, THIN_DATA, (struct request){ .kind = IO_FLUSH });
	plan_ask(plan);
	io->flatten = FLATTEN_HEADER;
	thin->may_be_flat = true;
}

static void flattened(struct node *node, struct plan *plan)
{
	struct thin *thin = thin_of(node);
	int result = qcow2_header_flatten(thin->header_page, &thin->header);

	assert(result == 0); /* as it was with the copy */
	(void)result;
	thin->may_be_flat = false; /* it is */
	thin->flatten.state = JOB_DONE;
	notice_raise(node, "flattened", "copied", thin->flatten.copied);
	end(node, plan, thin->flatten.end, 0);
}

void thin_flatten_map(struct node *node, const struct request *request, struct plan *plan)
{
	struct thin *thin = thin_of(node);
	struct thin_io *io = plan->io_state;

	if (thin->failed) {
		end(node, plan, 0, -EIO);
	} else if (request->length) {
		look(node, request, plan);
	} else {
		thin_flush(thin, plan, io);
		plan_ask(plan);
		io->flatten = FLATTEN_FLUSH;
	}
}

void thin_flatten_resume(struct node *node, const struct request *request, struct plan *plan)
{
	struct thin_io *io = plan->io_state;
	int result = thin_failure(plan);

	if (io->flatten == FLATTEN_WRITE) {
		go_on(node, plan);
		return;
	}
	if (io->flatten == FLATTEN_FLUSH)
		thin_flushed(thin_of(node), plan, io, result);
	if (io->flatten == FLATTEN_READ)
		has_read(node, plan, result);
	else if (result < 0)
		end(node, plan, 0, result);
	else if (io->flatten == FLATTEN_LOOK)
		look(node, request, plan);
	else if (io->flatten == FLATTEN_FLUSH)
		write_header(node, plan);
	else
		flattened(node, plan);
}
