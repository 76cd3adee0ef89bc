/* SPDX-License-Identifier: MIT */
/*
 * The tree: a document in memory as nodes, and the settings of its device.
 *
 * tree_read() takes a document apart (no file of the tree is touched), leaves_open() (leaf.h) opens
 * the leaves, tree_open() then asks the targets for their limits from the leaves upwards. Main
 * thread only. The tree owns its nodes, leaves and the document; all live until tree_destroy().
 */
#ifndef COMPOSER_TREE_H
#define COMPOSER_TREE_H

#include "engine.h"
#include "leaf.h"
#include "target.h"

#define TREE_DEPTH_MAX 32
#define TREE_NODES_MAX 4096
#define TREE_LEAVES_MAX 1024
#define DEVICE_QUEUES_MAX 64

enum driver { DRIVER_AUTO, DRIVER_UBD, DRIVER_UBLK };

/* What becomes of the disk when its daemon dies, and of the requests that this one had. */
enum recovery {
	RECOVERY_NONE, /* it goes, they fail */
	RECOVERY_REISSUE, /* it waits for the next daemon, which gets them again */
	RECOVERY_FAIL, /* it waits, they fail */
};

struct device {
	enum driver driver;
	enum fan_out fan_out;
	unsigned queues, queue_depth;
	uint32_t logical_block_size; /* 0: as the tree needs */
	uint32_t max_io_size;
	bool read_only;
	enum recovery recovery;
	unsigned recovery_timeout; /* seconds; with RECOVERY_NONE it means nothing */
	const char *hook; /* the document's; NULL: none */
};

struct tree {
	char *file; /* the document's name, for messages */
	char *directory; /* what relative paths are relative to; ends with no slash */
	const char *name;
	struct json *document;
	struct device device;
	struct node *root;
	struct node **nodes; /* by index */
	unsigned node_count;
	struct leaf **leaves; /* by place */
	unsigned leaf_count;
	const char *overlays; /* the directory for what legs that are taken back alone hold; NULL: none is */
	enum child_io_phase { CHILD_IO_NONE, CHILD_IO_PROBE, CHILD_IO_FULL } child_io; /* which of
								 child_io.h's may be called */
};

/* Reads, checks against the schema and takes apart. NULL with messages, all that can be told. */
struct tree *tree_read(const char *path, struct err *err);
/* The same for a document in memory; path names it and gives the directory. */
struct tree *tree_parse(const char *path, const char *text, size_t length, struct err *err);
/* The same for the document that the label of a leaf carries: "label of LEAF" in messages. */
struct tree *tree_parse_label(const char *leaf, const char *text, struct err *err);
/*
 * A leaf's timeout is that of the nearest mirror above that has one: above the node that it stands in for now,
 * as assembly brings leaves to their places. For tree_open(). True: some leaf has one.
 */
bool tree_set_timeouts(struct tree *tree);
/* For tree_parse(): messages where the document wants what can't be with them. */
void tree_check_timeouts(struct tree *tree, struct err *err);
/* Closes nodes, closes leaves, frees all. NULL is fine. */
void tree_destroy(struct tree *tree);

/* Limits, from the leaves upwards. Leaves must be open or probed. 0, or -1 with messages. */
int tree_open(struct tree *tree, struct err *err);

/* Some node keeps something between requests: all queues of the device are one engine's. */
bool tree_shares_engine(const struct tree *tree);

/*
 * The nodes' load() hooks, children's first, up to the first that fails; and unload() for all that
 * have loaded, parents' first, whatever some of them say. 0, or -1 with messages.
 */
int tree_load(struct tree *tree, struct err *err);
int tree_unload(struct tree *tree, struct err *err);
/* Whether all that have something to load have. */
bool tree_is_loaded(const struct tree *tree);

/* Whether it, or a node above it, has failed: nothing on it counts. */
bool node_has_failed(const struct node *node);
/* What labels are to say of it. */
enum label_peer_state leaf_peer_state(const struct leaf *leaf);

/*
 * What must not change between two creates, as text, for the labels and for comparing:
 * "stripe(chunk_size=65536)[leaf,leaf]". The caller frees it. NULL: out of memory.
 */
char *tree_geometry(const struct tree *tree);

const char *driver_name(enum driver driver);
const char *fan_out_name(enum fan_out fan_out);

#endif
