/* SPDX-License-Identifier: MIT */
/*
 * The engine: carries out plans. One engine for each queue, in that queue's thread; or, where nodes keep
 * something between requests, one for all queues of the device: see engine_lock().
 *
 *   front-end ── engine_start() ──► frames (one per target asked) ──► sub-I/Os ──► backend.submit()
 *   front-end ◄── backend.commit() ◄── results, resume() ◄── sub-I/O's event ◄── backend
 *
 * It knows no target, no io_uring, no kernel: requests come from engine_start(), bytes are moved by
 * the backend (io_uring in the daemon, memory in the simulator). Nothing is allocated after
 * engine_open(): for each tag there is an arena that holds the frames, plans and sub-I/Os of the
 * largest request that the tree's `needs` allow.
 */
#ifndef COMPOSER_ENGINE_H
#define COMPOSER_ENGINE_H

#include "event.h"
#include "target.h"

#include <stdint.h>
#include <sys/uio.h>

struct engine;
struct frame;
struct io;
struct leaf;
struct tree;

enum fan_out { FAN_OUT_AUTO, FAN_OUT_LINKED, FAN_OUT_GATHERED, FAN_OUT_PASSTHROUGH };

/*
 * An op that has reached a leaf. The engine owns it; the backend has it from submit() until it
 * calls event.end() with the bytes moved (READ, WRITE; fewer than asked are fine), 0, or -errno.
 */
struct sub_io {
	struct event event;
	struct leaf *leaf;
	enum io_kind kind; /* not IO_CLEAR, not IO_RECORD */
	unsigned flags;
	uint64_t offset, length; /* what is still to be done; absolute in the file */
	struct iovec *vectors; /* READ, WRITE: the bytes still to be done */
	unsigned vector_count;
	bool linked; /* a commit follows that goes on only if this succeeds in full */

	/* The engine's own */
	struct io *io;
	struct frame *frame; /* whose op this is; NULL: the device's own request */
	struct op *op;
	struct sub_io *next; /* of those not submitted yet, or waiting for a record */
	struct sub_io *next_watched; /* of those that wait for a slot, or are given up (watch.c) */
	struct sub_io *merged; /* further ops that it serves, in order of offset */
	struct sub_io *merged_last;
	struct iovec vector; /* the bytes of this op alone … */
	uint32_t data_offset; /* … and where in the device request's they are, if they are its */
	unsigned retries;
};

struct engine_backend {
	/*
	 * Starts a sub-I/O. With sub->linked the next call is commit(…, linked), and both must
	 * reach the kernel as one chain: the event then ends only on failure or a short transfer.
	 * Never fails: what can't be started ends through the event, later.
	 */
	void (*submit)(void *context, struct sub_io *sub);
	/*
	 * The request's result: bytes (READ, WRITE), 0, or -errno. The tag's memory is still in use
	 * when this is called: the tag's next engine_start() comes after it has returned.
	 */
	void (*commit)(void *context, unsigned tag, int result, bool linked);
	/*
	 * Hands the whole request down to the driver, which carries the sub-I/Os (a list by `next`,
	 * each with its `merged` chain) out on the request's own pages and ends it when all have
	 * succeeded; nothing is told of that but ended(), and that not either where `linked` says
	 * that nobody needs to know. A WRITE_ZEROES with FUA is durable when it has ended. False: it
	 * can't, go on gathered. After a failure the front-end calls engine_restart(). NULL: the
	 * driver has no such thing.
	 *
	 * Where there is pass(), a WRITE starts without its bytes. To be carried out here it is
	 * passed with no sub-I/O, which never fails: it comes back with them, by engine_restart().
	 */
	bool (*pass)(void *context, unsigned tag, const struct sub_io *subs);
	/* Whether what was handed down has ended. Only with pass(). */
	bool (*ended)(void *context, unsigned tag);
	/* engine_poll() is wanted in a moment: somebody waits for what was handed down. */
	void (*poll)(void *context);
	/*
	 * Another queue has something for this one, whose thread is to call engine_look() soon: the only
	 * one that is called with the context of a queue whose thread isn't in the engine. NULL where
	 * there is one queue.
	 */
	void (*wake)(void *context);
	/* The time, monotonic, in ns. Without now() and timer() no node's work() is asked. */
	uint64_t (*now)(void *context);
	/* engine_tick() is wanted at that time or later; an earlier call of this may be forgotten. */
	void (*timer)(void *context, uint64_t when);
};

struct engine_config {
	struct tree *tree;
	struct node *root; /* who is asked; NULL: the tree's own */
	uint64_t memory_max; /* bytes for all requests together; 0: 256 MiB for each queue */
	const struct engine_backend *backend;
	void *context; /* handed to the backend */
	unsigned queues; /* that share it; 0: 1 */
	bool is_one_of_many; /* each queue of the device has an engine of its own */
	unsigned depth; /* tags 0 … depth-1 of each */
	uint32_t max_io; /* the longest READ or WRITE */
	enum fan_out fan_out;
	unsigned slots; /* of each leaf with a timeout (watch.c), 0: one for each tag, 64 at most */
	bool trace; /* one line per request and per op to stderr */
};

/* Counters since the start; written by the queue's thread, read by any, each on its own. */
struct engine_stats {
	uint64_t requests[IO_KINDS], bytes[IO_KINDS];
	uint64_t linked, gathered, passed; /* requests by the way they fanned out */
	uint64_t unlinked; /* linked ones that failed or fell short and went on gathered */
	uint64_t restarted; /* passed ones that failed and were begun again, gathered */
	uint64_t sub_ios, merged; /* sub-I/Os submitted; ops that were merged into another's */
	uint64_t held, resumed, errors;
	uint64_t selfs, works; /* self ops; requests of work() */
	uint64_t put_off; /* how often a request was */
};

/* 0, or -1 with messages: out of memory, or a tree whose requests need too much of it. */
int engine_open(struct engine **engine, const struct engine_config *config, struct err *err);
/* By each queue that has joined: the last one's frees all. One at a time, once no thread is in it. */
void engine_close(struct engine *engine);

/*
 * Several queues, each with its thread, ring and tags, may share an engine: then nodes meet their requests
 * one after the other, as with one queue, and holds keep them all apart. Each but 0, which engine_open() is
 * called for, joins before it uses it. All that follows here is to be called between engine_lock() for the
 * queue whose thread this is, and engine_unlock(): events' end() too. (With one queue neither does anything
 * but note that.) The backend is called with the context of that queue, and with tags of its own, in that
 * queue's thread only: what else is to be done for a request of another is left for its thread, which is woken.
 * So planning is one thread's at a time; what the kernel does for a request is not.
 */
void engine_join(struct engine *engine, unsigned queue, void *context);
void engine_lock(struct engine *engine, unsigned queue);
void engine_unlock(struct engine *engine);
/* What others have left for this queue is done. */
void engine_look(struct engine *engine);
/*
 * Both without the lock, by a queue that gets no requests any more and has answered all. Whether all are so, and
 * no work() is under way: until then it has to go on with its ring's events, where others' may be among them;
 * it is woken when that changes. engine_part() when its thread goes: its context isn't used any more, and none of
 * its requests are waited for.
 */
bool engine_is_over(struct engine *engine, unsigned queue);
void engine_part(struct engine *engine, unsigned queue);

/* Memory that engine_open() took, in bytes. */
size_t engine_memory(const struct engine *engine);

/*
 * A request has come. `data` has room for its length (READ, WRITE). The tag's last request must
 * have been committed. Ends through backend.commit(), perhaps before this returns.
 */
void engine_start(struct engine *engine, unsigned tag, const struct request *request, void *data);

/*
 * The driver has given back a request that was passed: something failed. It is begun again from its
 * plan, gathered, so that every sub-I/O's result is seen and resume() has its say. A WRITE's bytes
 * are in its data by now. Doing again what had succeeded is harmless. A flush that succeeds when tried
 * again proves nothing: if one was what failed, engine_flush_failed() is to be called before.
 */
void engine_restart(struct engine *engine, unsigned tag);

/* A flush of the leaf has failed, carried out by the driver: none is believed from here on. */
void engine_flush_failed(struct leaf *leaf);

/* Lets go on who waited for requests that were passed and have ended; see backend.poll. */
void engine_poll(struct engine *engine);

/*
 * From here on work() is asked: all load() hooks have run, and the labels say that the device is
 * live. In the queue's thread, once.
 */
void engine_begin(struct engine *engine);

/* Ends that: no more work is begun, nothing is put off or kept. May come without engine_begin() before it. */
void engine_quiesce(struct engine *engine);
/* Whether requests of work() are under way. */
bool engine_is_working(const struct engine *engine);

/*
 * Requests that a node has put off (plan_wait()) are begun again, and from here on none is: before
 * somebody waits for all of them to end.
 */
void engine_end_waiting(struct engine *engine);
/*
 * Before the engine is left with requests unanswered, that come again to whoever serves next: from here on none is
 * begun, neither those that come nor those that were put off. Of an engine that engine_begin() was called for.
 */
void engine_suspend(struct engine *engine);
/*
 * Whether nothing is under way any more that anybody needs to know the end of: requests that had been begun are answered,
 * and then no work is begun, and none under way. To be asked again until then. What a leaf or the driver may still have
 * has no node's state to do with, and lands before the next server's session begins (ubd_cmd.h, RECOVERY).
 */
bool engine_rests(struct engine *engine);
/* Either is taken back: what was kept is begun, and may be put off again. */
void engine_let_wait(struct engine *engine);
/* How many requests are put off, or kept. */
unsigned engine_waiting(const struct engine *engine);

/* The time that backend.timer() was told has come; too early or once too often is fine. */
void engine_tick(struct engine *engine);

/* The node's state was changed from outside (a command): its work() is asked, and that of what is below. */
void engine_wake(struct engine *engine, const struct node *node);

/*
 * A child of some node, limits.is_extensible, is found to be larger: from here on it has that size, and the node
 * above is told, and asked for work. False: not now.
 */
bool engine_grow(struct engine *engine, struct node *child, uint64_t size);

const struct engine_stats *engine_stats(const struct engine *engine);

/* The most sub-I/Os that one request can have in flight, and the deepest chain: for ring sizes. */
unsigned engine_fan_out_max(const struct engine *engine);
/* The most that all requests together can have, those of work() included. */
uint64_t engine_sub_ios_max(const struct engine *engine);

#endif
