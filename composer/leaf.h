/* SPDX-License-Identifier: MIT */
/*
 * A leaf: a backing file or disk, from its keys in the document to an open file.
 *
 * leaf.c reads keys and brings all leaves up together, leaf_open.c finds, opens and makes one,
 * leaf_limits.c learns what it can do, leaf_stack.c what stands on what, leaf_busy.c who has it,
 * leaf_lock.c keeps off QEMU's images.
 * What a leaf holds is identify.c's matter, who it is label.c's, whether it fits assemble.c's;
 * bytes are moved by backing_file.c. Main thread only, except for the counters and `record`, which
 * belong to the queue's thread while live.
 */
#ifndef COMPOSER_LEAF_H
#define COMPOSER_LEAF_H

#include "label.h"
#include "target.h"

#include <sys/types.h>

struct sub_io;

/* The write of the label while live (record.c). */
struct leaf_record {
	struct sub_io *waiting; /* IO_RECORD ops that the next write will answer */
	struct sub_io *writing; /* those that the running write answers; the first one carries it */
	unsigned copies; /* of the label that it has begun to write */
};

/* What assembly has decided about the label, for assemble_start() to do. */
enum leaf_todo {
	LEAF_KEEP, /* it says what is so */
	LEAF_GIVE_UP, /* it is to say that the user has decided against it */
	LEAF_REFRESH, /* its texts or both copies are to be written anew */
	LEAF_FORMAT, /* it is to be made */
	LEAF_WIPE_FORMAT, /* likewise, over what was there */
};

struct leaf {
	struct node *node;
	unsigned place; /* index among the tree's leaves, in document order */
	unsigned listed; /* the place in the document; assembly may bring it to another */
	char *path; /* as the document says it, made absolute */
	bool is_block; /* a disk, not a regular file */
	bool direct; /* O_DIRECT */
	bool labelled; /* carries a label of ours */
	bool is_bare; /* another format's file: no label, as a type with roles stands right above */
	bool is_backing; /* stands, at any depth, in a role that is read and never laid out anew */
	bool is_committed_to; /* … and that the document wants to be written: by nobody else, then */
	bool exists; /* was there before us */
	bool not_given; /* assembled from leaves, and this one is not among them */
	bool made; /* by this run; or was empty, and has got its size from this run */
	char *problem; /* degraded: why it isn't open; owned */
	int fd; /* -1: not open */
	dev_t device; /* is_block: the disk; else the file system that the file is on */
	ino_t inode; /* regular files */
	uint64_t bytes; /* the whole file or disk */
	uint64_t wanted; /* the document's size; 0: none given */
	uint64_t data_offset; /* where the node's bytes begin */
	struct label label;
	enum leaf_todo todo;
	void *label_memory; /* LABEL_UPDATE_MAX bytes, aligned for O_DIRECT; labelled leaves only */
	struct leaf_record record;
	bool is_told_last; /* its label, by a start: the crash story is assemble_alone.c's */
	bool is_removed; /* by the user: labels say so, and it isn't open */
	bool is_busy; /* `problem` says who has it */
	bool is_old_copy; /* stale, and older than it was: labels are to say so until it is up to date */
	uint64_t timeout_ms; /* that a sub-I/O may take (watch.c); 0: any time. Set by the tree */
	bool is_hung; /* one took longer: no I/O reaches it any more. Relaxed … */
	unsigned late; /* … and those of that time that have not ended yet */
	bool flush_failed; /* no flush is believed any more; relaxed, by all queues' threads */
	uint64_t sub_ios, errors; /* relaxed counters */
};

enum leaf_access {
	LEAF_PROBE, /* read only, nothing is made; a missing file has the size that it would get */
	LEAF_SERVE, /* for a device: read-write, locked against other daemons, missing files are
		       made */
	LEAF_PROBE_DEGRADED, /* as PROBE, but what isn't there or fails only gets a `problem` … */
	LEAF_SERVE_DEGRADED, /* … as SERVE, likewise; assemble() decides. Nothing is made */
};

struct tree;

/*
 * Opens all leaves and learns their limits: node->limits is filled, its size being what is there
 * for the node's bytes. 0, or -1 with messages for each that fails; then nothing that it made is
 * left.
 */
int leaves_open(struct tree *tree, enum leaf_access access, struct err *err);
/* A dead daemon's files close a little after its session with the driver; its I/O on a slow leaf is before that. */
#define LEAVES_PATIENCE_MS 3000
#define LEAVES_EXIT_MS 30000
/* Waits until nobody else has any of the closed leaves that were not removed, or the time is up. Blocks. */
void leaves_await(const struct tree *tree, unsigned timeout_ms);

/* Closes all; with `undo` the files that this run has made are removed. May be called again. */
void leaves_close(struct tree *tree, bool undo);

/* For probed leaves: whether they could be served now. 0, or -1 with who has them. */
int leaves_check_free(const struct tree *tree, struct err *err);

/* Gives an open file more bytes, durably. 0, or -1 with a message. */
int leaf_lengthen(struct leaf *leaf, uint64_t bytes, struct err *err);

/* An open disk's size as it is by now; 0: it is no disk, or doesn't say. Doesn't block. Any thread. */
uint64_t leaf_bytes_now(const struct leaf *leaf);

/* Closes one and undoes its making: a leg that is not used. Keeps its path. */
void leaf_drop(struct leaf *leaf);

/* Blocking calls may never return. */
static inline bool leaf_is_hung(const struct leaf *leaf)
{
	return __atomic_load_n(&leaf->is_hung, __ATOMIC_RELAXED);
}

static inline unsigned leaf_late(const struct leaf *leaf)
{
	return __atomic_load_n(&leaf->late, __ATOMIC_RELAXED);
}

/* Adds "file d0: message (document:7, /root/path)". Returns -1. */
int leaf_err(const struct leaf *leaf, struct err *err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
