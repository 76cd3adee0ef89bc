/* SPDX-License-Identifier: MIT */
/*
 * What a target is: the code of one node type. This header is all that a file in targets/ needs.
 *
 * A target never does I/O. Asked about a request, its map() writes a plan (plan.h); the engine
 * carries it out. To add one: targets/NAME.c with a `struct target_type`, one line in
 * targets/table.c, its `$defs` in schemas/, a test and an example.
 *
 * Life of a node: parse() for its own keys, then its children's; probe() and open() once the
 * children are open and their limits known; load() when labels say that the device is live, the
 * children's first; map(), resume(), hold(), work() and command() while it is; unload() when all
 * requests have ended, the parent's first; close(). What comes before and after the live time runs
 * in the main thread, may allocate and add to err; probe(), load() and unload() reach the children
 * by child_io.h. route(), map(), resume(), hold() and work() run in a queue's thread: no allocation, lock,
 * system call, log line or clock in them. With several queues they run in several threads at once,
 * so they may only read the node; unless `stateful` is set: then in one after the other (engine.h).
 *
 * A target that keeps state on its children (a table, a bitmap) needs, beyond a plan of ops:
 * - scratch, self ops: plan.h. A request that the engine can't hand down to the driver is planned
 *   once; map() may note in the node's state that it was asked. With `maps_again` a WRITE may be
 *   planned a second time, once its bytes are there; of the first plan nothing but ended() follows;
 * - work: requests that the node makes in the background, see work() below;
 * - probe(), load(), unload(): the state's way from the children into memory and back. A crash
 *   simply never calls unload(). A node that has failed, or stands below one, has none of the three
 *   called, and may not have loaded what it unloads: a leg may fail in between.
 */
#ifndef COMPOSER_TARGET_H
#define COMPOSER_TARGET_H

#include "err.h"
#include "json.h"
#include "plan.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct json_object; /* json-c's: status is built with it */
struct leaf;
struct tree;

/*
 * What a node promises about itself and asks of who uses it. open() of a leaf reads it off the file
 * or disk; open() of a target derives it from its children's. Bytes.
 */
struct limits {
	uint64_t size;
	uint32_t logical_block_size; /* power of two, 512 to 4096: requests are multiples of it */
	uint32_t physical_block_size; /* what is written at once without a read */
	uint32_t io_min, io_opt; /* best request sizes; io_opt 0: no opinion */
	uint32_t discard_granularity; /* 0: no discard */
	uint32_t zeroes_granularity; /* 0: no write-zeroes */
	bool rotational, read_only;
	uint64_t unmap_max; /* the longest DISCARD or WRITE_ZEROES; 0: no bound */
	/*
	 * A file that carries no label below a type with roles: `present` bytes are there, and where
	 * it may grow, what lies behind comes into being when it is written, up to size.
	 */
	bool is_growing;
	uint64_t present;
	bool is_extensible; /* it may become larger while it is served: then the node above is told by grew() */
};

/*
 * The most that one request may ask of the node's plan. A request that comes from above has room for
 * ops_fixed + length / ops_per ops (ops_per 0: ops_fixed) and self_fixed self ops. Scratch is in
 * bytes, multiples of 4096. Memory is taken for all requests in flight together, so that scratch
 * costs queue_depth times as much: keep to what one request really needs.
 */
struct needs {
	uint32_t ops_fixed, ops_per, scratch;
	uint32_t self_fixed; /* self ops of one request, in all its life */
	uint32_t self_ops, self_scratch; /* one self op's own plan */
	uint32_t self_nested; /* self ops of one self op; those may make none */
	uint32_t work_max; /* requests of work() under way at once; 0: none */
	uint32_t work_ops, work_scratch; /* one of them; at least self_ops, self_scratch. They may
					    make self_fixed self ops */
	/*
	 * For types with roles, so that a chain of backings stays within bounds. Not 0 if a request's
	 * ops on other children than the first are READs that cross no multiple of others_within, a
	 * power of two: at most others_each of a READ that crosses none itself, and of all else
	 * others_fixed and others_each for each whole others_within of length - 1. work() has at most
	 * others_fixed of any kind and one more, a self op none.
	 */
	uint32_t others_within, others_each, others_fixed;
};

struct node {
	const struct target_type *type;
	const char *id; /* unique in the tree */
	const struct json *json; /* where it was read, for messages */
	struct tree *tree;
	struct node *parent;
	struct node **children;
	unsigned child_count;
	unsigned place; /* index among the parent's children */
	unsigned role; /* … and among its type's roles, if it has any: those that are left out have no place */
	unsigned index; /* index in the tree, in document order */
	struct limits limits; /* set by open() */
	struct needs needs; /* set by open() */
	void *state; /* the type's state_size bytes, zeroed */
	struct leaf *leaf; /* leaves only */
	/*
	 * This node missed a write that its parent acknowledged. A redundant parent sets it, plans
	 * IO_RECORD on the others, and never reads it again. Read back from the labels at open.
	 */
	bool failed;
	/*
	 * This node is stale, and there: its parent writes to it as to the others, brings it up to
	 * date in the background, and doesn't read it meanwhile. Labels call it stale until the
	 * parent has cleared this and planned IO_RECORD. Set before open(), or by the parent.
	 */
	bool rebuilding;
	bool removed; /* a leg that has failed, and is left out by the user's wish. Set before open() */
	bool rebuild_all; /* … and what it missed can't be known: all of it is to be copied */
	bool is_taken_back; /* a leg that was given up, whose bytes are saved before they are overwritten */
	/*
	 * This node is a redundant parent's spare: stale, and not written either. Of the children just
	 * spare_count are: when the parent takes one in for a leg that has failed, that leg becomes the
	 * spare in its place, though one that can't be used. Set before open(), or by the parent.
	 */
	bool spare;
	unsigned spare_count; /* the document's "spares" among the children, which stand at their end */
	bool fresh; /* all leaves below are formatted by this start. Set before open() */
	bool zeroed; /* … and read as zeroes, as this run has made them */
	uint64_t birth; /* a number for the making of the tree: what names another is a past life's */
	bool unclean; /* the last stop was no clean one, or this node has not seen it. Set before
			 open() */
	bool repairs; /* probe() and load() put right, too, what a create leaves alone */
	bool grows; /* this start may make it larger: as its children and its document allow. Else it
		       keeps the size that it has on them. Set before probe() */
	bool loaded; /* load() has succeeded, unload() is still to come */
	bool served; /* its plans have more than ops: the engine's, from needs */
	uint64_t
		unused; /* bytes that the children have and this node doesn't use; open() sets it */
};

/* As a redundant node's leg: it has all that was acknowledged. */
static inline bool node_is_in_sync(const struct node *node)
{
	return !node->failed && !node->rebuilding && !node->spare;
}

/* It, or a node above it, has failed, stands by, or is still to be brought up to date: labels call it stale. */
static inline bool node_is_stale(const struct node *node)
{
	for (; node; node = node->parent)
		if (!node_is_in_sync(node))
			return true;
	return false;
}

/*
 * A redundant parent's, from its load() once that has made durable what this child misses, all of it, in marks that a
 * later start finds: rebuild_all is over, and labels that come call the leaves below stale, and no longer older copies.
 * What is put back after that is one anew. Leaves below redundant nodes of the child's own keep what they are called.
 */
void child_tracked(struct node *child);

enum hold {
	HOLD_NONE,
	HOLD_SHARED, /* kept back only by an exclusive hold that overlaps */
	HOLD_EXCLUSIVE, /* alone among the holds that overlap */
};

struct range {
	uint64_t offset, length;
};

struct target_type {
	const char *name; /* the JSON "type" */
	size_t state_size, io_state_size;
	bool leaf; /* moves bytes itself: no children, no map() */
	bool stateful; /* map() and resume() write to the node, or it has hold(), self ops or work() */
	bool timed; /* plan->now is wanted in every request's plan, not in self ops and work alone */
	bool maps_again; /* map() may be asked twice about a WRITE: else it is never handed down */
	bool redundant; /* goes on without some of its children: has suffices() */
	bool appends; /* its children stand one behind the other: only the last can become larger */
	/*
	 * NULL: its children are the document's "children". Else unlike ones, each under its own key
	 * and in this order, ended by NULL: the first, which the node writes its own format to, and
	 * others, each of which may be left out, and which it only reads unless `written` has their
	 * bit. A file or disk right below carries no label unless the document says so; that of the
	 * first grows.
	 */
	const char *const *roles;
	unsigned written; /* by bit, of the roles behind the first: it is written as that is */

	/* Reads the node's own keys; the schema has checked their shape. 0, or -1 with messages. */
	int (*parse)(struct node *node, struct err *err);
	/*
	 * Looks at the children before open(), for a node whose size or needs are written there: may
	 * child_read(), sees zeroes in leaves that are still to be made or formatted, and keeps what
	 * it finds in the node's state. Also for `check` and `explain`. 0, or -1 with messages.
	 * Optional.
	 */
	int (*probe)(struct node *node, struct err *err);
	/* Sets limits and needs from the children's. 0, or -1 with messages. */
	int (*open)(struct node *node, struct err *err);
	/*
	 * Reads, and may write, what the node keeps on its children. Limits and needs stay as they
	 * are. A leaf that was formatted just now may hold anything: what probe() has seen counts.
	 * 0, or -1 with messages; then the start is undone. Optional.
	 */
	int (*load)(struct node *node, struct err *err);
	/*
	 * Writes what a clean stop leaves on the children. -1 with messages: the labels go on saying
	 * that the stop was unclean. Optional.
	 */
	int (*unload)(struct node *node, struct err *err);
	/* Frees what parse() and open() made besides node->state; also after a failed open().
	 * Optional. */
	void (*close)(struct node *node);
	/*
	 * Of a leg of a redundant node that went on alone, and is about to be overwritten: the next of
	 * the node's bytes that may be the leg's alone, at or behind *offset, which becomes where they
	 * are; 0 begins. `memory` has room for twice *length, which becomes how many there are in
	 * it, 0 at the end. Between open() and load(); may child_read(). 0, or -1 with messages: they
	 * can't be read. Optional.
	 */
	int (*own)(struct node *node, unsigned place, uint64_t *offset, void *memory,
		uint32_t *length, struct err *err);
	/* Adds members to the node's status object. Any thread, live or not. Optional. */
	void (*status)(const struct node *node, struct json_object *out);
	/* What must not change between two creates, as text: "chunk_size=65536". Optional. */
	void (*geometry)(const struct node *node, FILE *out);
	/* Which range the request needs alone or shared, until it ends. Optional. */
	enum hold (*hold)(
		const struct node *node, const struct request *request, struct range *range);
	/*
	 * Whether the plan of this WRITE, which has come just now, will be ops with its own bytes and
	 * nothing else, without a trace in the node's state: it may be made before the bytes are
	 * there, and a second time. Asked of the root alone, before hold(). NULL: of a type with
	 * scratch, self ops or work() no WRITE is so. Optional.
	 */
	bool (*is_plain)(const struct node *node, const struct request *request);
	/*
	 * Where the request goes as it stands, if it is one child's alone: the child, and its place
	 * there in *offset, which may be the request's own and else stays as it is. NULL: map() is to
	 * be asked, as for all without a range. What this says is
	 * what map() would plan; it is only cheaper. For types that move requests and do nothing
	 * else: no hold(), no resume(). Optional.
	 */
	struct node *(*route)(
		const struct node *node, const struct request *request, uint64_t *offset);
	/* The plan for a request. Range, block size and kind have been checked against limits. */
	void (*map)(struct node *node, const struct request *request, struct plan *plan);
	/* What next, after a failed op or plan_ask(). Adds ops, calls plan_end(), or leaves it.
	 * Optional. */
	void (*resume)(struct node *node, const struct request *request, struct plan *plan);
	/*
	 * After plan_tell(): the request has ended, or is given up to be planned anew: then with a hold
	 * only once the same request has been mapped anew, if it is. Once for each such map(); without a
	 * hold always before the next map() of this node, else before the next work(). For counting, and
	 * nothing else: how it ended is not told, and of the plan there may be no more than its io_state.
	 * Optional.
	 */
	void (*ended)(struct node *node, const struct request *request, struct plan *plan);
	/*
	 * What the node wants done in the background: true, and the request that is to be started on
	 * this node now; false, and the time (as `now`) to ask again in *again: UINT64_MAX, which it
	 * is beforehand: not before a wake. Asked at the start, whenever one of its requests has
	 * ended, after plan_wake() and command() (also of a node above), and at that time; again and again until it says
	 * false or needs.work_max are under way. The request is IO_SELF with words of the target's
	 * own, or of any kind that map() knows, with data { DATA_SCRATCH, 0 … }, which is
	 * plan->scratch. How it ends is seen by resume() alone. Not asked any more once the device
	 * is stopped; what is under way ends before that goes on. Types with work() are
	 * stateful. Optional.
	 */
	bool (*work)(struct node *node, uint64_t now, struct request *request, uint64_t *again);
	/*
	 * Whether the node can go on with that child alone, as things are. In the queue's thread. For
	 * redundant types, NULL for others.
	 */
	bool (*suffices)(const struct node *node, unsigned place);
	/*
	 * A verb of the user's for this node while it is live; members go to answer. Runs in the
	 * queue's thread, between requests, and must not block or take long: it changes the node's
	 * state and leaves the rest to work(). 0, or -1 with messages. Optional.
	 */
	int (*command)(struct node *node, const char *verb, const struct json *arguments,
		struct json_object *answer, struct err *err);
	/*
	 * A child whose limits.is_extensible is set has become larger while the node is live: its limits.size
	 * says so. The node's own limits stay as they are. As command(), and as quick. False: not now,
	 * it goes on with the size that it knew, and is told again later. Optional.
	 */
	bool (*grew)(struct node *node, unsigned place);
};

/* All node types, ended by NULL (targets/table.c). */
extern const struct target_type *const target_types[];

/*
 * Starts node->limits from its children: largest block sizes, discard and write-zeroes only where
 * all have it, read-only where one is. Sizes are left to the caller. Failed children don't count.
 */
void limits_join(struct node *node);

/* The longest request with bytes that may come to the node. */
uint32_t limits_max_io(const struct node *node);

/* The open() of a type that has a "size" and no children, and plans one op at most. */
int limits_open_sized(struct node *node, struct err *err);

/*
 * A child that failed is to be used again: what hung below it is asked again. False: there is I/O that
 * was given up and has not ended; then it has to stay failed. In the queue's thread (watch.c).
 */
bool child_rejoins(struct node *child);

/*
 * Whether a flush of the child can succeed: not once a leaf has failed one that it can't do without. It stays so
 * until the device is started anew. Any thread (engine.c).
 */
bool child_flushes(const struct node *child);

/* One op of the request's kind on every child: FLUSH, and whatever has no range. */
void plan_all(struct plan *plan, const struct node *node, const struct request *request);

#endif
