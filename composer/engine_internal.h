/* SPDX-License-Identifier: MIT */
/*
 * The engine's parts among themselves: engine.c (tags, start and commit), frame.c (plans),
 * sub_io.c (leaves), record.c (labels), arena.c (how much one request can need).
 */
#ifndef COMPOSER_ENGINE_INTERNAL_H
#define COMPOSER_ENGINE_INTERNAL_H

#include "engine.h"
#include "hold.h"
#include "tree.h"

#include <assert.h>

#define ARENA_ALIGN 16

/* One target's plan being carried out. */
struct frame {
	struct node *node;
	struct frame *parent;
	struct op *parent_op;
	struct io *io;
	struct request request;
	struct plan plan;
	uint16_t started; /* ops that have been started */
	uint16_t wave;
	bool failed; /* an op failed since resume() was last asked */
	bool unsettled; /* counted in io->unsettled */
	uint32_t pending;
	struct hold_entry hold;
	struct frame *next_held; /* in io->held */
	struct frame *next_ready;
};

/* One tag's request. */
struct io {
	struct engine *engine;
	struct request request;
	void *data;
	unsigned tag;
	unsigned sub_count; /* sub-I/Os added and not ended */
	bool dirty; /* in engine->dirty */
	/*
	 * Frames that must hear of success: they have further waves, asked for resume(), saw an op
	 * fail, or wait for a hold. While there is none, a request may complete unseen by us.
	 */
	unsigned unsettled;
	struct frame *held; /* frames with a hold, waiting or granted */
	bool linked; /* its commit is on its way behind a sub-I/O */
	bool passed; /* it is the driver's; holds are released once that has ended it */
	bool gathered; /* it is carried out here, and has been counted as such */
	bool cleared; /* bytes of its buffer were zeroed here */
	bool fetched; /* its bytes are in its buffer, if it is a WRITE */
	struct io *next_dirty;
	struct sub_io *fresh, *fresh_last; /* added, not submitted */
	char *arena;
	size_t used;
};

struct engine {
	struct engine_config config;
	struct io *ios;
	char *arenas;
	size_t arena_size, memory;
	unsigned fan_out_max;
	struct hold_list *holds; /* by node->index */
	struct sub_io **last_subs; /* by leaf place: not submitted yet, takes neighbours */
	struct frame *ready, **ready_end; /* frames whose hold was granted */
	struct io *dirty;
	unsigned depth; /* calls into the engine within each other */
	struct engine_stats stats;
};

static inline void engine_count(uint64_t *counter, uint64_t more)
{
	__atomic_store_n(counter, *counter + more, __ATOMIC_RELAXED);
}

static inline size_t arena_aligned(size_t size)
{
	return (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
}

/* Memory from the tag's arena, not zeroed. */
static inline void *io_take(struct io *io, size_t size)
{
	void *memory = io->arena + io->used;

	io->used += arena_aligned(size);
	assert(io->used <= io->engine->arena_size);
	return memory;
}

/* Asks a node; its result goes to op_ended(frame, op, …). frame NULL: the request's own result. */
void node_start(struct io *io, struct node *node, const struct request *request,
	struct frame *frame, struct op *op);
void op_ended(struct io *io, struct frame *frame, struct op *op, int result);
void frame_go(struct frame *frame); /* its hold was granted */
void io_release(struct io *io); /* releases the holds of what was passed and has ended */

void io_ended(struct io *io, int result);

void sub_io_add(struct io *io, struct node *node, const struct request *request,
	struct frame *frame, struct op *op);
void sub_io_submit(struct io *io); /* all fresh ones */
/* True: sent again, for the rest or for another try. False: *result is 0 or -errno, and final. */
bool sub_io_again(struct sub_io *sub, int *result);

/* Every entry into the engine from outside runs between these two. */
void engine_enter(struct engine *engine);
void engine_leave(struct engine *engine);

/* The label of the sub-I/O's leaf is to be written with what the tree knows now (record.c). */
void record_start(struct engine *engine, struct sub_io *sub);

/* What the largest request of the tree needs: bytes of arena, and sub-I/Os (arena.c). */
struct arena_need {
	uint64_t bytes, sub_ios;
};
struct arena_need arena_need(const struct tree *tree, uint32_t max_io);

#endif
