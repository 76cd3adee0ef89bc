// SPDX-License-Identifier: MIT
/*
 * Records: writing a leaf's label while the device is live, so that it says which leaves missed a
 * write. One write per leaf at a time; ops that come meanwhile share the next one, whose content is
 * what the tree knows when it begins. It knows labels, and no target.
 *
 * Both copies of the label are written, one after the other, before an op ends: what a leaf alone
 * knows, that another one is stale, must not be lost with one rotten copy. A crash during a write
 * leaves the other copy, one generation older, whole. After a failed write the generation is taken
 * back, so that the next try goes to the same, possibly torn, copy and the whole one is not touched.
 */
#include "engine_internal.h"

#include <errno.h>
#include <time.h>

/*
 * What others may say of a leaf: a generation that is being written could be lost in a crash, and
 * the leaf would then look like an older copy of itself.
 */
static uint64_t durable_generation(const struct leaf *leaf)
{
	return leaf->label.generation - (leaf->record.writing ? 1 : 0);
}

/*
 * How often the leaf has been brought up to date, also if its own label doesn't say so yet: who called
 * it stale before knows less than who knows of this.
 */
static uint32_t joins(const struct leaf *leaf)
{
	const struct label_peer *own = &leaf->label.peers[leaf->place];

	return own->joins + (own->state != LABEL_PEER_IN_SYNC && !node_is_stale(leaf->node));
}

/* Called before the leaf's own write is under way. */
static void label_refresh(struct label *label, const struct tree *tree)
{
	unsigned place;

	for (place = 0; place < tree->leaf_count; place++) {
		struct label_peer *peer = &label->peers[place];
		struct leaf *leaf = tree->leaves[place];
		enum label_peer_state state = leaf_peer_state(leaf);

		if (leaf->label.peers) /* else it isn't there */
			peer->joins = joins(leaf);
		peer->removed = leaf->is_removed;
		if (state != LABEL_PEER_IN_SYNC) {
			peer->state = state;
		} else if (leaf->labelled) {
			leaf->is_old_copy = false; /* it has been brought up to date */
			peer->state = state;
			peer->generation = durable_generation(leaf);
		}
	}
}

static void record_written(struct event *event, int result);

/* The copy whose turn it is. */
static void copy_write(struct engine *engine, struct leaf *leaf)
{
	struct sub_io *sub = leaf->record.writing;

	leaf->label.generation++;
	leaf->label.updated = (uint64_t)time(NULL);
	sub->event.end = record_written;
	sub->kind = IO_WRITE;
	sub->flags = IO_FUA;
	sub->offset = label_offset(leaf->label.generation);
	sub->length = label_encode(&leaf->label, leaf->label_memory);
	sub->vector = (struct iovec){ leaf->label_memory, sub->length };
	sub->vectors = &sub->vector;
	sub->vector_count = 1;
	sub->retries = 0;
	leaf->record.copies++;
	sub_io_launch(engine, sub);
}

static void record_write(struct engine *engine, struct leaf *leaf)
{
	label_refresh(&leaf->label, engine->config.tree);
	leaf->record.writing = leaf->record.waiting;
	leaf->record.waiting = NULL;
	leaf->record.copies = 0;
	copy_write(engine, leaf);
}

static void record_written(struct event *event, int result)
{
	struct sub_io *sub = container_of(event, struct sub_io, event);
	struct engine *engine = sub->io->engine;
	struct leaf *leaf = sub->leaf;
	struct sub_io *next;

	engine_enter(engine);
	if (sub_io_again(sub, &result)) {
		; /* what was left of it is on its way */
	} else if (result == 0 && leaf->record.copies < LABEL_COPIES) {
		copy_write(engine, leaf);
	} else {
		if (result < 0) {
			leaf->label.generation--;
			engine_count(&leaf->errors, 1);
		}
		leaf->record.writing = NULL;
		if (leaf->record.waiting)
			record_write(engine, leaf);
		for (; sub; sub = next) {
			next = sub->next;
			sub->io->sub_count--;
			op_ended(sub->io, sub->frame, sub->op, result);
		}
	}
	engine_leave(engine);
}

void record_start(struct engine *engine, struct sub_io *sub)
{
	struct leaf *leaf = sub->leaf;

	if (!leaf->labelled) { /* assembly refuses it below a redundant node: nobody should ask */
		sub->io->sub_count--;
		op_ended(sub->io, sub->frame, sub->op, -EOPNOTSUPP);
		return;
	}
	sub->next = leaf->record.waiting;
	leaf->record.waiting = sub;
	if (!leaf->record.writing)
		record_write(engine, leaf);
}
