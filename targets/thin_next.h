/* SPDX-License-Identifier: MIT */
/*
 * thin's next generation of metadata: for changes that touch too much to be made in place, of which
 * a crash may leave nothing or all.
 *
 * thin_next.c              what it holds in memory, and how it follows what requests change
 * thin_next_counts.c       its counts
 * thin_next_room.c         clusters for it
 * thin_next_names.c        the names that go with a snapshot which is deleted
 * thin_next_revert.c       going back to one: its tables copied, and the names that go with the device's own
 * thin_snapshot.c          its way to the disk, and the switch; the crash story
 * thin_snapshot_command.c  the user's verbs
 *
 * It is as long as the metadata that is used: copies of all L2 tables of the device (of the snapshot, where
 * the device goes back to one), of all refcount
 * blocks, the L1 and the refcount table, and the snapshot table. Its pages ("items", numbered through
 * all of these) are dirty until they have been written as they will have to be at the switch, and
 * become dirty again as requests go on.
 */
#ifndef TARGETS_THIN_NEXT_H
#define TARGETS_THIN_NEXT_H

#include "thin.h"

#define THIN_SWITCH_TRIES 1000u
#define THIN_NEXT_WAVE 16u /* pages that one step writes, at most */
#define THIN_NEXT_ROOM 64u /* clusters that one step takes */

enum thin_next_step {
	NEXT_COUNTS, /* the counts are being copied, in memory */
	NEXT_NAMES, /* deleting: the snapshot's names are taken from them; going back: its L1 table is read */
	NEXT_ROOM, /* clusters are looked for */
	NEXT_COPY, /* going back: the snapshot's tables are copied, and named once more */
	NEXT_WALK, /* and what the device names by now, once less */
	NEXT_PAGES, /* dirty items are written */
	NEXT_FLUSH,
	NEXT_SWITCH,
};

enum thin_next_kind { NEXT_MAKES, NEXT_DELETES, NEXT_REVERTS };

enum thin_item { ITEM_MAP, ITEM_COUNTS, ITEM_REFCOUNTS, ITEM_L1, ITEM_LIST, ITEM_KINDS };

/* What must lie in a row: the last three kinds of items. */
#define THIN_RUNS (ITEM_KINDS - ITEM_REFCOUNTS)

struct thin_run {
	uint32_t clusters;
	uint64_t at; /* the first one; 0: not found yet */
};

struct thin_next {
	enum thin_next_step step;
	bool is_running; /* a request works at it */
	bool has_failed; /* a cluster has more names than its count can say … */
	bool is_narrow; /* … in memory, though it could on disk */
	bool is_bad; /* what was read of the snapshot isn't what was judged */
	enum thin_next_kind kind;
	struct {
		uint64_t l1_offset, l1_bytes, l1_read;
		uint8_t *l1; /* its L1 table, as far as it has been read */
		uint64_t index, at; /* which L2 table is being read, and from where on */
	} past; /* the snapshot that goes, or is gone back to */
	struct {
		struct thin_cache_next cache;
		uint64_t allocated; /* as the thin's */
		uint64_t walked; /* pages of the device's map before this one have lost their names */
	} map; /* going back: the device's */
	unsigned tries; /* switches that were put off, as too much was dirty again */
	uint64_t asked_at; /* ns: since when requests wait for the switch */
	struct thin_counts counts; /* as the thin's, with the names as they will be */
	uint64_t copied; /* clusters of them */
	uint64_t *tables; /* host offsets of the L2 tables' copies; 0: none yet */
	uint8_t *refcount_table, *l1, *list; /* whole clusters */
	uint64_t list_length;
	uint32_t snapshot_count;
	struct thin_run runs[THIN_RUNS];
	uint64_t searched, row; /* for a run: clusters that were looked at, and the free ones at their end */
	unsigned searches;
	uint64_t first[ITEM_KINDS + 1]; /* item of each kind */
	uint64_t *dirty, dirty_count, cursor; /* by bit; which one is looked at next */
	uint64_t *walked; /* pages of the map whose names have been counted, by bit */
	uint64_t *sums; /* by page of the map: of its copy */
};

/* thin_next.c */
/* takes list, if 0; past: the snapshot that is to go or gone back to, NULL: one is made */
int thin_next_make(struct thin *thin, uint8_t *list, uint64_t length, uint32_t count,
	enum thin_next_kind kind, const struct qcow2_snapshot *past);
void thin_next_free(struct thin_next *next);
void thin_next_drop(struct thin *thin); /* nothing names it: its clusters are given back */
void thin_next_stores(struct thin *thin, uint64_t cluster, const struct qcow2_entry *entry);
void thin_next_mark(struct thin_next *next, uint64_t item);
void thin_next_mark_all(const struct thin *thin, enum thin_item kind, uint64_t bytes, uint64_t length);
bool thin_next_has_block(const struct thin *thin, uint64_t block); /* its copy has a place */
uint64_t thin_next_host(const struct thin *thin, uint64_t item);
uint64_t thin_next_dirty(struct thin_next *next); /* one of them, UINT64_MAX: there is none */
void thin_next_bytes(struct thin *thin, uint64_t item, uint8_t *bytes); /* it is clean from here on */
void thin_next_name(const struct thin *thin, struct qcow2_header *header); /* what it will say */
void thin_next_adopt(struct thin *thin); /* the header names it */

/* thin_next_counts.c */
int thin_next_make_counts(const struct thin *thin, struct thin_next *next); /* -1: out of memory */
uint64_t thin_next_count_of(const struct thin *thin, uint64_t cluster); /* the next one */
void thin_next_count_set(struct thin *thin, uint64_t cluster, uint64_t count);
void thin_next_gain(struct thin *thin, uint64_t cluster); /* a name there */
void thin_next_counts(struct thin *thin, uint64_t cluster, uint64_t count); /* the present one is to be that */

/* thin_next_room.c */
void thin_next_room(struct thin *thin, struct plan *plan, struct thin_io *io);
void thin_next_room_resume(struct thin *thin, struct plan *plan, struct thin_io *io);
uint32_t thin_next_missing(const struct thin *thin); /* clusters for what has none, as far as one step goes */

/* thin_next_names.c */
int thin_next_remember(const struct thin *thin, struct thin_next *next, const struct qcow2_snapshot *snapshot);
bool thin_next_find_table(struct thin *thin, uint64_t *table); /* whose turn it is; false: none is left */
void thin_next_names(struct node *node, struct plan *plan, struct thin_io *io);
void thin_next_names_resume(struct node *node, struct plan *plan);
void thin_next_dropped(struct thin *thin, uint64_t cluster); /* a shared one has lost a name */
void thin_next_undropped(struct thin *thin, uint64_t cluster); /* and has it again */
void thin_next_check(struct thin *thin, const uint8_t *page); /* of the device: nothing that it names is gone */
bool thin_next_is_gone(const struct thin *thin, uint64_t cluster);
void thin_release_gone(struct thin *thin, uint64_t most); /* behind the switch */
void thin_gone_work(struct thin *thin, uint64_t now, uint64_t *again); /* the same, some at a time */

/* thin_next_revert.c */
bool thin_next_has_table(const struct thin *thin, uint64_t index); /* the next map */
void thin_next_fold(struct thin *thin, uint64_t first, uint64_t end); /* what these have lost into their counts */
void thin_next_shared(struct thin *thin, uint64_t cluster, int more); /* names */
void thin_next_copy(struct node *node, struct plan *plan, struct thin_io *io);
void thin_next_copy_resume(struct node *node, struct plan *plan, struct thin_io *io);
void thin_next_walk(struct thin *thin, struct plan *plan, struct thin_io *io);
void thin_next_restores(struct thin *thin, uint64_t cluster, const struct qcow2_entry *entry); /* as thin_next_stores() */

/* thin_snapshot.c */
bool thin_next_wants(struct thin *thin, uint64_t now, struct request *request); /* work() */
void thin_next_end(struct thin *thin, struct plan *plan, int result); /* of one step: all fails with it */
void thin_next_map(struct node *node, struct plan *plan, struct thin_io *io);
void thin_next_resume(struct node *node, struct plan *plan, struct thin_io *io);
void thin_switch_map(struct node *node, struct plan *plan, struct thin_io *io);
void thin_switch_resume(struct node *node, struct plan *plan, struct thin_io *io);

/* thin_snapshot_command.c */
int thin_snapshot_command(struct node *node, const char *verb, const struct json *arguments,
	struct json_object *answer, struct err *err);

/* thin_map.c: "its refcount is one" in a page's entries, as those counts have it. */
void thin_set_flags(const struct thin *thin, const struct thin_counts *counts, uint8_t *page);

/* thin_space.c: for each cluster that the entry's bytes touch; packed ones may lie in several. */
void thin_each_cluster(struct thin *thin, const struct qcow2_entry *entry,
	void (*change)(struct thin *thin, uint64_t cluster));

/* thin_cache.c */
void thin_cache_update(struct thin *thin, uint64_t page); /* in memory: before its bytes go to the disk */
uint64_t thin_cache_sum(const uint8_t *bytes, uint32_t length);

#endif
