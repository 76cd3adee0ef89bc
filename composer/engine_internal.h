/* SPDX-License-Identifier: MIT */
/*
 * The engine's parts among themselves: engine.c (tags, start and commit), frame.c (plans), release.c
 * (what plans have until their request's end), sub_io.c (leaves), watch.c (those that hang), record.c (labels), work.c (what nodes do in the background), waiting.c (what was put off), engine_memory.c
 * (what is taken at the start), arena.c (how much one request can need), port.c (several queues).
 */
#ifndef COMPOSER_ENGINE_INTERNAL_H
#define COMPOSER_ENGINE_INTERNAL_H

#include "engine.h"
#include "hold.h"
#include "tree.h"

#include <assert.h>
#include <pthread.h>

#define ARENA_ALIGN 16

/* Whose request a frame answers: what its plan has room for depends on that. */
enum frame_rank {
	FRAME_REQUEST, /* one that came from above */
	FRAME_WORK, /* work()'s */
	FRAME_SELF, /* a self op of one of the former */
	FRAME_NESTED, /* a self op's self op */
};

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
	bool is_held; /* in io->held */
	uint8_t rank;
	uint32_t pending;
	struct hold_entry hold;
	struct frame *next_held; /* in io->held */
	struct frame *next_ready;
};

/* One tag's request. */
struct io {
	struct engine *engine;
	struct port *port; /* whose queue's it is */
	struct request request;
	void *data;
	unsigned tag; /* of that queue */
	unsigned sub_count; /* sub-I/Os added and not ended */
	bool dirty; /* in port->dirty */
	/*
	 * Frames that must hear of success: they have further waves, asked for resume(), saw an op
	 * fail, or wait for a hold. While there is none, a request may complete unseen by us.
	 */
	unsigned unsettled;
	struct frame *left; /* of its plan before: what holds, until the next plan has it */
	struct frame *held; /* frames with a hold, waiting or granted, or whose node is to be told */
	bool linked; /* its commit is on its way behind a sub-I/O */
	bool passed; /* it is the driver's; what is held is released once that has ended it */
	struct io *next_told, **told_link; /* in engine->told; NULL: it isn't */
	bool flushes; /* it was passed with a flush: counted in engine->flushing */
	bool gathered; /* it is carried out here, and has been counted as such */
	bool cleared; /* bytes of its buffer were zeroed here, or scratch is in use */
	bool fetched; /* its bytes are in its buffer, if it is a WRITE */
	bool must_fetch; /* its plan has more than what can be handed down: planned again with them */
	struct worker *worker; /* whose work() makes its requests; NULL: the kernel's */
	bool is_working; /* one of those is under way */
	int put_off; /* 0, or the error with which a plan has put it off */
	int result; /* while it is in port->answered */
	struct io *next_waiting; /* in engine->waiting or port->again */
	struct io *next_dirty, *next_answered; /* in port->dirty, in port->answered */
	struct sub_io *fresh, *fresh_last; /* added, not submitted */
	char *arena;
	size_t used, size;
	char *kept; /* room for `left` */
	size_t kept_size;
	char *scratch; /* by pages */
	uint32_t scratch_used, scratch_size;
};

/* A node that has work(), and the ios that are for it. */
struct worker {
	struct node *node;
	struct io *ios;
	unsigned count, running;
	bool is_wanted; /* it is to be asked before the engine is left */
	uint64_t again; /* or then */
};

struct io_list {
	struct io *first, **end;
};

/*
 * One of the queues that share the engine. Whoever is in it plans for all, and changes what nodes keep;
 * but an io's sub-I/Os, commit and pass() are for its own queue's ring, which is its own thread's. So
 * others leave them here, and wake that.
 */
struct port {
	void *context; /* the backend's */
	struct io *dirty; /* has something to be submitted */
	struct io *answered, **answered_end; /* is to be committed */
	struct io_list again; /* was put off, is to be begun again */
	bool is_woken; /* and hasn't come yet */
	bool is_idle; /* it would go if all would */
	bool is_gone; /* or not there yet: its context isn't used */
};

struct engine {
	struct engine_config config;
	struct engine_backend backend; /* config.backend's: the queue that it came with may go before others */
	struct port *ports, *port; /* `port`: whose thread is in the engine */
	unsigned port_count;
	unsigned users; /* engine_close() is still to be called by so many */
	bool wakes; /* some port is to be woken before the engine is unlocked */
	bool is_over; /* all are idle, and told so */
	pthread_mutex_t mutex;
	struct io *ios;
	char *arenas, *scratches;
	size_t memory;
	unsigned tag_count; /* of all queues */
	unsigned io_count; /* those of the tags, queue by queue, then the workers' */
	unsigned fan_out_max;
	uint64_t sub_ios_max;
	bool fetches_first; /* a WRITE is planned once (not type->maps_again): its bytes are there before … */
	bool asks_root; /* … unless the root calls it plain */
	struct hold_list *holds; /* by node->index */
	struct sub_io **last_subs; /* by leaf place: not submitted yet, takes neighbours */
	struct frame *ready, **ready_end; /* frames whose hold was granted */
	struct io *told; /* those that were passed and whose end some node wants to hear of */
	unsigned flushing; /* those that were passed with a flush, and may not have ended */
	unsigned own_flushes; /* sub-I/Os of ours that are flushes, or end with one, and have not ended */
	struct sub_io *postponed; /* those that wait for the driver's, by `next` */
	struct watch **watches; /* by leaf place, NULL for those without; NULL: there is none */
	struct sub_io *given_up, **given_up_end; /* to be ended, by next_watched */
	struct io_list waiting; /* put off */
	bool is_impatient; /* nothing is put off any more */
	bool is_suspended; /* no request is begun, those in `again` neither */
	unsigned depth; /* calls into the engine within each other */
	bool work_is_wanted; /* by some worker */
	bool is_live; /* work may be asked for */
	unsigned worker_count, working; /* ios of workers under way */
	struct worker *workers;
	bool is_timed; /* `now` is that of this entry */
	uint64_t now, timer_at; /* engine_now(); UINT64_MAX: the timer is not set */
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
	assert(io->used <= io->size);
	return memory;
}

/* Asks a node; its result goes to op_ended(frame, op, …). frame NULL: the request's own result. */
void node_start(struct io *io, struct node *node, const struct request *request,
	struct frame *frame, struct op *op);
void op_ended(struct io *io, struct frame *frame, struct op *op, int result);
void frame_go(struct frame *frame); /* its hold was granted */
/*
 * A request that is planned again keeps its holds: what was handed down may be done in part, whom it
 * kept back would not find things as the plan had left them, and nodes that count who is about would
 * count nobody. io_leave() moves what holds out of the next plan's way. There the frame made for the
 * same request of the same node takes its hold over (frame_follow(); false: there was none), and
 * once that has been mapped, frame_followed(), the node is told that the first plan has ended.
 * io_let_go() ends what nobody follows: when the request ends or is put off, or waits for a new hold,
 * as nobody waits while he holds what he doesn't use.
 */
void io_leave(struct io *io);
bool frame_follow(struct frame *frame);
void frame_followed(struct frame *frame);
void io_let_go(struct io *io);
void engine_reap_all(struct engine *engine); /* what the driver has ended holds nothing any more */

void frame_keep(struct frame *frame); /* until its request has ended */
void frame_release(struct frame *frame);
void io_passed(struct io *io);
void io_release(struct io *io); /* it was passed and has ended */
/* Releases the oldest of one node's holds whose requests have ended unseen: the list stays as long as what is in flight. */
void release_oldest(struct hold_list *list);
void release_told(struct engine *engine); /* tells nodes of all that has ended unseen */

void ports_open(struct engine *engine); /* port.c; engine_allocate() has made room for them */
void port_wake(struct engine *engine, struct port *port); /* there is something for it */
void port_make_dirty(struct io *io); /* it has something to be submitted, by its own queue */
void port_answer(struct io *io, int result); /* it is to be committed, likewise */
void port_commit(struct engine *engine); /* the oldest of those that this queue has */

void list_init(struct io_list *list); /* waiting.c */
bool io_wait(struct io *io); /* false: it has to be answered */
void waiting_go_on(struct engine *engine);
void waiting_hold_back(struct io *io); /* it is to be begun, once the engine is suspended no more */
struct io *waiting_next(struct port *port); /* one that is to be begun again; there is one */

void io_reset(struct io *io); /* forgets what was planned for it */
void io_ended(struct io *io, int result);
void io_work(struct io *io, const struct request *request);

void work_ask(struct engine *engine); /* those that want to be asked (work.c) */
void work_ended(struct io *io);
void work_wake(struct engine *engine, const struct node *node);

/* The node that the request is whole for, as far down as route() says, and its place there. */
struct node *node_routed(struct node *node, struct request *request);

void sub_io_add(struct io *io, const struct node *node, const struct request *request,
	struct frame *frame, struct op *op);
/* Hands down a request that is one leaf's as it stands, without a plan. False: there is to be one. */
bool io_pass_whole(struct io *io);
void sub_io_submit(struct io *io); /* all fresh ones */
void io_fetch(struct io *io); /* a WRITE's bytes are wanted, and then all is planned again */
/* Sends the flushes of ours that wait, once no other is in the driver's hands; engine_poll() asks for it. */
void sub_ios_flush(struct engine *engine);
int flush_judge(struct leaf *leaf, int result); /* what a flush has come to (engine.c) */
/* True: sent again, for the rest or for another try. False: *result is 0 or -errno, and final. */
bool sub_io_again(struct sub_io *sub, int *result);

int watches_open(struct engine *engine); /* -1: out of memory (watch.c) */
void watches_close(struct engine *engine);
void watch_submit(struct engine *engine, struct sub_io *sub);
void watches_look(struct engine *engine); /* whether a leaf hangs: time has passed */
void given_up_end(struct engine *engine); /* the oldest of engine->given_up */

/* The only way to the backend's submit(). */
static inline void sub_io_launch(struct engine *engine, struct sub_io *sub)
{
	if (engine->watches)
		watch_submit(engine, sub);
	else
		engine->config.backend->submit(engine->port->context, sub);
}

/* Every entry into the engine from outside runs between these two. */
static inline void engine_enter(struct engine *engine)
{
	if (engine->depth++ == 0)
		engine->is_timed = false;
}

/* What was handed down has ended. */
static inline bool io_has_ended(const struct io *io)
{
	return io->passed && !io->port->is_gone &&
		io->engine->config.backend->ended(io->port->context, io->tag);
}

/* The same until the outermost call leaves. 0 where nobody works in the background. */
static inline uint64_t engine_now(struct engine *engine)
{
	if (!engine->is_timed && engine->worker_count)
		engine->now = engine->config.backend->now(engine->port->context);
	engine->is_timed = true;
	return engine->now;
}

void engine_timer(struct engine *engine, uint64_t when); /* engine_tick() is wanted then (work.c) */
void engine_settle(struct engine *engine); /* what is to be done before the outermost call leaves */

/* Whether what was put off is to be begun again now, by this queue. */
static inline bool port_begins_again(const struct engine *engine, const struct port *port)
{
	return port->again.first && !engine->is_suspended;
}

static inline bool port_has_work(const struct engine *engine, const struct port *port)
{
	return port->dirty || port->answered || port_begins_again(engine, port);
}

static inline void engine_leave(struct engine *engine)
{
	if (engine->depth == 1 && (port_has_work(engine, engine->port) || engine->ready || engine->work_is_wanted ||
					  engine->given_up))
		engine_settle(engine);
	engine->depth--;
}

/* The label of the sub-I/O's leaf is to be written with what the tree knows now (record.c). */
void record_start(struct engine *engine, struct sub_io *sub);

/* What a frame's own plan has room for; `length` of its request's bytes, 0 if it has none. */
struct frame_need {
	uint32_t ops, scratch, selfs; /* the self ops are among the ops */
};
struct frame_need frame_need(const struct node *node, enum frame_rank rank, uint32_t length);

/* What frame_keep() needs of a frame beyond its plan: it, and its node's io_state behind it. */
static inline size_t frame_kept_size(const struct node *node)
{
	return arena_aligned(sizeof(struct frame)) + arena_aligned(node->type->io_state_size);
}

/* What the largest request to a node needs: bytes of arena and of scratch, and sub-I/Os (arena.c). */
struct arena_need {
	uint64_t bytes, scratch, sub_ios, kept; /* `kept`: what of `bytes` may hold something */
};
struct arena_need arena_need(const struct node *node, enum frame_rank rank, uint32_t max_io);


#endif
