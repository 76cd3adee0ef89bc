/* SPDX-License-Identifier: MIT */
/*
 * What a target is: the code of one node type. This header is all that a file in targets/ needs.
 *
 * A target never does I/O. Asked about a request, its map() writes a plan (plan.h); the engine
 * carries it out. To add one: targets/NAME.c with a `struct target_type`, one line in
 * targets/table.c, its `$defs` in schemas/, a test and an example.
 *
 * Life of a node: parse() for its own keys, then its children's; open() once the children are open
 * and their limits known; map(), resume() and hold() while the device is live; close(). parse() and
 * open() run in the main thread, may allocate and add to err. map(), resume() and hold() run in a
 * queue's thread: no allocation, lock, system call, log line or clock in them. With several queues
 * they run in several threads at once, so they may only read the node, unless `single_queue` is
 * set.
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
};

/* The most that one request may ask of the node's plan: fixed + length / per ops (per 0: fixed). */
struct needs {
	uint32_t ops_fixed, ops_per;
};

struct node {
	const struct target_type *type;
	const char *id; /* unique in the tree */
	const struct json *json; /* where it was read, for messages */
	struct node *parent;
	struct node **children;
	unsigned child_count;
	unsigned place; /* index among the parent's children */
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
	bool unclean; /* the last stop was no clean one: redundant legs may differ. Set before
			 open() */
	uint64_t
		unused; /* bytes that the children have and this node doesn't use; open() sets it */
};

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
	bool single_queue; /* map() and resume() write to the node: one queue only */
	bool redundant; /* goes on without some of its children */

	/* Reads the node's own keys; the schema has checked their shape. 0, or -1 with messages. */
	int (*parse)(struct node *node, struct err *err);
	/* Sets limits and needs from the children's. 0, or -1 with messages. */
	int (*open)(struct node *node, struct err *err);
	/* Frees what parse() and open() made besides node->state; also after a failed open().
	 * Optional. */
	void (*close)(struct node *node);
	/* Adds members to the node's status object. Any thread, live or not. Optional. */
	void (*status)(const struct node *node, struct json_object *out);
	/* What must not change between two creates, as text: "chunk_size=65536". Optional. */
	void (*geometry)(const struct node *node, FILE *out);
	/* Which range the request needs alone or shared, until it ends. Optional. */
	enum hold (*hold)(
		const struct node *node, const struct request *request, struct range *range);
	/* The plan for a request. Range, block size and kind have been checked against limits. */
	void (*map)(struct node *node, const struct request *request, struct plan *plan);
	/* What next, after a failed op or plan_ask(). Adds ops, calls plan_end(), or leaves it.
	 * Optional. */
	void (*resume)(struct node *node, const struct request *request, struct plan *plan);
};

/* All node types, ended by NULL (targets/table.c). */
extern const struct target_type *const target_types[];

/*
 * Starts node->limits from its children: largest block sizes, discard and write-zeroes only where
 * all have it, read-only where one is. Sizes are left to the caller. Failed children don't count.
 */
void limits_join(struct node *node);

/* The open() of a type that has a "size" and no children, and plans one op at most. */
int limits_open_sized(struct node *node, struct err *err);

/* One op of the request's kind on every child: FLUSH, and whatever has no range. */
void plan_all(struct plan *plan, const struct node *node, const struct request *request);

#endif
