/* SPDX-License-Identifier: MIT */
/*
 * thin's parts among themselves: a qcow2 image on child `data`, over an optional child `backing`.
 *
 * thin.c          the type: keys, limits, hold(), and who answers what
 * thin_map.c      the map in memory: looking up, and what each grain is
 * thin_cache.c    which pages of it are in memory: a bound, and whose place is taken
 * thin_bring.c    reading those that are not
 * thin_read.c     READ, and clusters that are compressed
 * thin_write.c    WRITE: in place, or by allocating
 * thin_fill.c     what stands around a small first write: from backing, old cluster, or zeroes
 * thin_space.c    which host clusters are free, and making them ours
 * thin_counts.c   what each of them is counted, in memory, and the sets of those at one station; thin_bits.c: others
 * thin_room.c     how much is left of them, telling so, and waiting for more
 * thin_tables.c   new L2 tables
 * thin_commit.c   making new mappings durable-safe: the one place that writes L2 entries
 * thin_unmap.c    WRITE_ZEROES and DISCARD
 * thin_punch.c    giving back to the child what they free
 * thin_trim.c     giving back to the child what else is free
 * thin_data_file.c  a third child for the guest's bytes: an image with an external data file
 * thin_flatten.c  all that is in backing into the image; thin_flatten_command.c: its verbs
 * thin_merge.c    the user's commit: all that is in the image into backing; thin_merge_command.c: its verbs
 * thin_job.c      what those two share
 * thin_open.c     probe(): reading an image; thin_count.c and thin_judge.c believe nothing of it
 * thin_memory.c   memory for its tables
 * thin_grow.c     a longer refcount table, where an image's counts too little
 * thin_resize.c   a larger device of an image
 * thin_make.c     a new image, in memory
 * thin_create.c   load() and unload(): writing it, and what a clean stop leaves
 * thin_report.c   status, and the map as others may read it
 * thin_snapshot.c snapshots, made, deleted and gone back to while the device is live; thin_next.h: what that takes
 *
 * Of their own: thin_bits.h, thin_counts.h, thin_cache.h, thin_job.h, thin_flatten.h, thin_merge.h, thin_trim.h, and thin_open.h for what
 * is done while nothing is served.
 *
 * The crash story, for all of them. On disk these hold at every moment, whatever part of the
 * writes since the last flush a power cut leaves:
 * - a cluster that an entry names has a refcount of at least the entries that name it: clusters
 *   are counted, and the count flushed, before they are used at all (the reserve, thin_space.c);
 * - an entry names a cluster only when what the device should read there has been flushed
 *   (thin_commit.c flushes, then writes entries, for all writes that wait, in one go);
 * - an L1 entry names a table only when that has been flushed (thin_tables.c);
 * - a cluster that lost its entry is used again only when the entry's end has been flushed.
 * So a crash leaks clusters that were counted and not used, and nothing else; the next start finds
 * them by counting, and has its reserve again. A write is acknowledged when its entry has been
 * written: a daemon's death loses nothing. A flush of the device is one flush of the child.
 */
#ifndef TARGETS_THIN_H
#define TARGETS_THIN_H

#include "qcow2.h"
#include "target.h"
#include "thin_bits.h"
#include "thin_cache.h"
#include "thin_counts.h"
#include "thin_flatten.h"
#include "thin_merge.h"
#include "thin_trim.h"

#define THIN_DATA 0u /* the image's place, and role */
#define THIN_BACKING 1u /* roles; a backing that is there has that place, too */
#define THIN_DATA_FILE 2u

#define THIN_PAGE_MAX 4096u
#define THIN_FILL_MAX (64u << 10)
#define THIN_MEMORY_MAX (UINT64_C(1) << 30) /* of counts, the map's cache, and for each page of the map: */
#define THIN_PAGE_COST 20u
#define THIN_GROWTH_MEMORY_MAX (UINT64_C(128) << 20) /* of refcounts as on disk, where the child may grow to have them */
#define THIN_RESERVE_PAGES 4u /* refcount pages that one round of reserving writes */
#define THIN_RESERVE_ROUNDS 8u /* at least; small clusters take more */
#define THIN_RESERVE_EXTRA 64u /* clusters beyond what is asked for */
#define THIN_COMMIT_EXTRA 16u /* L2 pages of other requests that one commit takes along, at most */
#define THIN_UNMAP_PAGES 16u /* L2 pages that one DISCARD or WRITE_ZEROES covers, at most */

/* What a self op is for: request.flags. plan->asker is the struct thin_io of who wants it. */
enum thin_self {
	SELF_RESERVE = 1,
	SELF_TABLES,
	SELF_COMMIT,
	SELF_PUNCH,
	SELF_GO_ON,
	SELF_BRING,
	SELF_FLATTEN, /* [offset, offset + length) of the device; length 0: the header */
	SELF_NEXT, /* a step of the next generation of metadata */
	SELF_SWITCH, /* to that */
	SELF_TRIM, /* a step of it, in SELF_RESERVE's hold */
	SELF_MERGE, /* [offset, offset + length) of the device; length 0: all is through */
};

#define THIN_HOLD_SELF (UINT64_C(1) << 62) /* where self ops hold their kind: beyond any device */
#define THIN_HOLD_LANE (THIN_HOLD_SELF + 64) /* … and SELF_BRING its lane: it may wait for no other */

enum thin_step {
	STEP_NONE,
	STEP_PASSED, /* written in place; a flush is to follow */
	STEP_BROUGHT, /* pages of the map that were not in memory have been read */
	STEP_RESERVED,
	STEP_TABLES,
	STEP_UNPACKED, /* a compressed cluster's bytes are in scratch */
	STEP_FILLED,
	STEP_WRITTEN,
	STEP_COMMITTED,
	STEP_FLUSHED,
	STEP_PAGES, /* self ops: pages have been written */
	STEP_READ_BACK, /* COMMIT: they could not be, and have been read */
	STEP_BLOCK, /* RESERVE: a new refcount block has been written */
	STEP_LISTED, /* RESERVE: and named by the refcount table */
	STEP_AWAITED, /* RESERVE: time has passed; what was being punched may be there */
	STEP_PUNCHED, /* TRIM: the child has taken it, or not */
};

/* A request that allocates or unmaps, or a self op. */
struct thin_io {
	enum thin_step step;
	struct plan *plan; /* its own; the commit looks at its data ops */
	struct thin_io *next; /* of those that wait for a commit, or are in it */
	uint64_t offset, length; /* the clusters' range that it is about, as asked */
	uint64_t begin, end; /* what is written, with what stands around */
	uint64_t seen; /* flush: thin->committed when it began */
	uint64_t at; /* READ: where it goes on; RESERVE: its new block */
	uint32_t wants, claim; /* clusters that it needs; those promised to it */
	uint16_t checked; /* ops whose results have been looked at */
	uint16_t first; /* its first data op: one for each cluster, in order */
	bool unmaps, keeps; /* entries become zeroes or holes; hosts are kept */
	bool bares; /* holes, also over a backing */
	bool waits; /* in thin->waiting */
	bool has_hosts; /* its data ops' clusters are its own to give back */
	bool is_done; /* the commit has been, with this result: */
	bool captures; /* its flush makes what was dropped free */
	int result;
	unsigned round, page_count;
	uint64_t pages[THIN_RESERVE_PAGES]; /* RESERVE: by index of all refcount pages */
	bool tail; /* compressed: the tail's turn */
	enum thin_flatten_step flatten; /* FLATTEN: beside `step`, which its write has */
	enum thin_merge_step merge; /* MERGE: as that */
	uint64_t begun; /* MERGE: ns */
};

struct thin {
	struct qcow2_header header;
	uint8_t header_page[THIN_PAGE_MAX];
	bool is_blank; /* load() is to make the image */
	bool can_write, is_dirty;
	bool has_compressed;
	uint8_t *unpacker; /* memory for unpacking one of them; NULL without */
	unsigned data_place; /* of the child that guest data is on: THIN_DATA, or the data file's */
	bool is_raw; /* … whose bytes are the device's (thin_data_file.c): all of it is mapped once load() has been */
	bool punches_data; /* what is discarded is given back to the data file */
	bool failed; /* what the map is on disk isn't known: every request fails */
	bool has_lost; /* a flush has failed: of what was written before none proves anything */
	unsigned cluster_bits, entry_bits, table_bits; /* log2: cluster, entry, entries of a table */
	unsigned grain_bits;
	uint32_t page, fill; /* bytes: of tables, written at once; of scratch for filling */
	uint64_t present; /* bytes of the child that exist */

	uint8_t *l1; /* whole pages, as on disk */
	uint8_t **pages; /* L2 pages, in the order of the device, as on disk; NULL: not in memory */
	uint64_t page_count;
	unsigned page_bits; /* log2: entries of a page */
	struct thin_cache cache;
	uint64_t *table_hosts; /* 0: none yet, and its pages are the one of zeroes */
	uint64_t *table_news; /* where a table that is being made will be */
	uint64_t table_count;

	uint64_t clusters; /* host clusters that may be used */
	uint64_t clusters_max; /* … when the child has grown: all that memory is for */
	uint8_t *refcount_table; /* whole pages, as on disk; with room for grow.table */
	struct {
		uint32_t table; /* clusters of the refcount table that load() is to make; 0: none */
		uint64_t clusters; /* host clusters that may be used then */
		uint64_t at; /* where it will be, by cluster */
	} grow;
	struct {
		bool is_planned; /* load() is to write the header's new size; in memory it is there */
		uint32_t l1_size; /* the L1 entries that the image has until then */
	} resize;
	struct thin_counts counts; /* memory for all clusters, also those that no block on disk counts */
	uint64_t memory; /* bytes that counts, map and lists take, of the next generation too while that is made */
	uint64_t block_count;
	uint64_t *stale; /* refcount pages that differ from the disk's, by bit */
	struct thin_set reserve, picked, taken, dropped, flushing, freed, punching; /* thin_space.c tells of them */
	bool is_flushing; /* `flushing` is somebody's */
	bool punches; /* what is freed is given back to the child */
	uint64_t reclaimed, punched; /* clusters, since the start: made free; given back below */
	bool shares; /* there are snapshots, or packed bytes: what shared clusters lose is counted ("less") */
	bool names_twice; /* the device's own entries share clusters: packed bytes do, or an odd image's */
	bool is_exhausted; /* no cluster is left whose count is 0 */
	uint64_t cursor; /* where free clusters are looked for */
	uint32_t claimed; /* of the reserve, promised */

	struct thin_io *waiting, *batch; /* for a commit; in the running one */
	uint64_t *marks, *pinned; /* L2 pages of the running commit, by bit: to be looked at; in memory */
	bool is_writing; /* it is writing entries */
	uint32_t unmappers; /* requests that unmap, waiting or running */
	uint64_t committed, flushed; /* commits that have ended; those known to be durable */
	uint64_t allocated; /* host clusters that guest data has */
	uint64_t used, leaked; /* whose count isn't 0; that were counted too often when the image was opened */
	bool is_mended; /* in memory, as tree->repairs asks: load() is to write that */
	uint64_t low_water_mark; /* bytes; 0: nobody wants to be told */
	bool is_low, is_full, queues; /* and has been; who needs room and finds none waits for it */
	uint64_t timeout; /* ns; UINT64_MAX: for ever */
	uint32_t waiting_count; /* requests that wait */
	uint64_t room_missed; /* bytes that were left when the last of them found too little */
	uint64_t full_at, tried_at; /* since when they wait; when they were last begun again; 0: not yet */
	bool has_given_up; /* the timeout has passed, and nobody has found room since */
	uint64_t window_at, window_room; /* since when the rate is measured, and from what; 0: not yet */
	uint64_t rate; /* bytes a second by which the room has shrunk, in the last window */
	struct thin_job flatten;
	bool may_be_flat; /* a flatten failed when it wrote that: the disk's header may name no backing */
	struct thin_merge merge;
	struct thin_trim trim;
	uint32_t pages_max, tables_max, rounds_max; /* one request's */
	uint32_t unmap_pages, commit_extra; /* as THIN_UNMAP_PAGES and THIN_COMMIT_EXTRA, or fewer */
	uint64_t first_commits, no_space;

	struct {
		uint8_t *bytes; /* the snapshot table, as on disk */
		size_t length;
	} snapshots;
	struct thin_bits gone; /* only a snapshot that is deleted has named them: free behind the switch */
	struct thin_next *next; /* the next generation of metadata, while it is being made (thin_next.h) */
	struct {
		int result; /* of the last one */
		uint64_t pause; /* ns for which requests waited for it, at most */
		uint64_t pause_ops; /* ops of its own that they waited for then */
	} made;
};

static inline struct thin *thin_of(const struct node *node)
{
	return node->state;
}

/* NULL: the document names none. */
static inline struct node *thin_backing(const struct node *node)
{
	struct node *child = node->child_count > THIN_BACKING ? node->children[THIN_BACKING] : NULL;

	return child && child->role == THIN_BACKING ? child : NULL;
}

/* What the image has no bytes for is backing's. */
static inline bool thin_has_backing(const struct node *node)
{
	return thin_backing(node) && !thin_of(node)->header.is_flattened;
}

/* Guest data is in a data file: what entries name is none of the image's clusters. */
static inline bool thin_is_external(const struct thin *thin)
{
	return thin->data_place != THIN_DATA;
}

/* Its image has been looked at: not where a leg that isn't there, or can't be used, has it. */
static inline bool thin_is_known(const struct thin *thin)
{
	return thin->header.cluster_bits != 0;
}

static inline uint64_t thin_cluster(const struct thin *thin)
{
	return UINT64_C(1) << thin->cluster_bits;
}

static inline uint64_t thin_down(const struct thin *thin, uint64_t offset)
{
	return offset & ~(thin_cluster(thin) - 1);
}

static inline uint64_t thin_up(const struct thin *thin, uint64_t offset)
{
	return thin_down(thin, offset + thin_cluster(thin) - 1);
}

/* thin_map.c: guest clusters by number. Their pages are in memory. */
uint8_t *thin_entry(const struct thin *thin, uint64_t cluster); /* its bytes in memory */
struct qcow2_entry thin_lookup(const struct thin *thin, uint64_t cluster);
void thin_store(struct thin *thin, uint64_t cluster, const struct qcow2_entry *entry);
bool thin_is_own(const struct thin *thin, const struct qcow2_entry *entry); /* may be written in place */
bool thin_is_mapped(const struct thin *thin, uint64_t offset, uint64_t length); /* all of it */
uint64_t thin_page_of(const struct thin *thin, uint64_t cluster); /* among all L2 pages */
bool thin_table_is_ready(const struct thin *thin, uint64_t index); /* there, and ours alone */
uint64_t thin_page_host(const struct thin *thin, uint64_t page); /* where it is on the child */
void thin_page_plan(struct thin *thin, struct plan *plan, uint64_t page, uint32_t skip, bool writes);

/* The pages for [offset, offset + length) of the device are in memory. */
static inline bool thin_is_there(const struct thin *thin, uint64_t offset, uint64_t length)
{
	unsigned bits = thin->cluster_bits + thin->page_bits;
	uint64_t page = offset >> bits, last = (offset + length - 1) >> bits;

	for (; page <= last; page++)
		if (!thin->pages[page])
			return false;
	return true;
}

/* thin_bring.c */
void thin_bring(struct thin *thin, struct plan *plan, uint64_t offset, uint64_t length);
void thin_bring_map(struct node *node, const struct request *request, struct plan *plan);
void thin_bring_resume(struct node *node, const struct request *request, struct plan *plan);

/* thin_memory.c, thin_space.c */
void thin_memory_tell(struct thin *thin); /* it takes more, or less */
uint64_t thin_count_of(const struct thin *thin, uint64_t cluster);
void thin_count_set(struct thin *thin, uint64_t cluster, uint64_t count);
void thin_count_differs(struct thin *thin, uint64_t cluster); /* from the disk's */
bool thin_claim(struct thin *thin, struct thin_io *io, uint32_t count);
uint64_t thin_take(struct thin *thin, struct thin_io *io); /* a claimed one's host offset */
void thin_name(struct thin *thin, uint64_t host); /* something names it now */
void thin_give_back(struct thin *thin, uint64_t host); /* if nothing ever named it */
void thin_unclaim(struct thin *thin, struct thin_io *io);
void thin_drop(struct thin *thin, const struct qcow2_entry *entry); /* what it named */
void thin_undrop(struct thin *thin, const struct qcow2_entry *entry);
/* What it names may be had back: it was dropped and not yet captured, or others name it too. */
bool thin_was_dropped(const struct thin *thin, const struct qcow2_entry *entry);
void thin_flush(struct thin *thin, struct plan *plan, struct thin_io *io); /* plans one */
void thin_flushed(struct thin *thin, struct plan *plan, struct thin_io *io, int result); /* it has ended */
void thin_reserve_map(struct node *node, struct plan *plan, struct thin_io *io, struct thin_io *parent);
void thin_reserve_resume(
	struct node *node, struct plan *plan, struct thin_io *io, struct thin_io *parent);

/* thin_tables.c */
void thin_tables_map(struct node *node, struct plan *plan, struct thin_io *io, struct thin_io *parent);
void thin_tables_resume(
	struct node *node, struct plan *plan, struct thin_io *io, struct thin_io *parent);

/* thin_commit.c */
void thin_commit_wait(struct thin *thin, struct thin_io *io);
void thin_commit_map(struct node *node, struct plan *plan, struct thin_io *io, struct thin_io *parent);
void thin_commit_resume(
	struct node *node, struct plan *plan, struct thin_io *io, struct thin_io *parent);

/* thin_read.c */
void thin_read(struct node *node, const struct request *request, struct plan *plan);
void thin_read_resume(struct node *node, const struct request *request, struct plan *plan);
uint64_t thin_run_end(const struct thin *thin, const struct qcow2_entry *entry, uint64_t within,
	uint64_t end); /* where another kind begins, both within the cluster */
void thin_read_packed(struct node *node, struct plan *plan, const struct qcow2_entry *entry);
int thin_unpack(struct node *node, struct plan *plan, const struct qcow2_entry *entry, uint32_t *at);
uint32_t thin_packed_scratch(const struct node *node);

/* thin_data_file.c */
struct node *thin_data_file(const struct node *node); /* NULL: the document names none */
/* Whether an entry, of the L2 table at `host` that begins at the device's offset `guest`, may be. False with a message. */
bool thin_data_file_has(const struct node *node, const struct qcow2_entry *entry, uint64_t guest, uint64_t index,
	uint64_t host, struct err *err);
#define THIN_NOWHERE UINT64_MAX /* a table behind the device's end */
int thin_data_file_probe(struct node *node, struct err *err); /* the header is there. 0, or -1 with messages */
int thin_data_file_check(const struct node *node, struct err *err); /* the tables are counted. Likewise */
int thin_data_file_make(struct node *node, struct err *err); /* of a new image's header */
void thin_data_file_open(struct node *node); /* limits */
int thin_data_file_load(struct node *node); /* 0 or -errno */
void thin_data_file_zero(struct thin *thin, const struct request *request, struct plan *plan); /* of a raw one */
void thin_data_file_punch(struct node *node, struct plan *plan, struct thin_io *io);

/* thin_fill.c: plans reading and writing what stands before and behind the request. */
void thin_fill(struct node *node, struct plan *plan, struct thin_io *io);
uint32_t thin_fill_ops(const struct thin *thin);
uint32_t thin_fill_reads(const struct thin *thin); /* of them, those of backing */

/* thin_write.c */
void thin_write(struct node *node, const struct request *request, struct plan *plan);
void thin_write_resume(struct node *node, const struct request *request, struct plan *plan);
void thin_tell(struct plan *plan, int result); /* ends it, if it failed */
int thin_failure(const struct plan *plan); /* the first of its ops', 0 if none */
int thin_failure_from(const struct plan *plan, unsigned first);

/* thin_unmap.c */
bool thin_can_unmap(const struct node *node, const struct request *request);
void thin_unmap(struct node *node, const struct request *request, struct plan *plan);
void thin_unmap_resume(struct node *node, const struct request *request, struct plan *plan);
/* [io->begin, io->end), clusters that the asker holds and is counted for, show backing; resumed until it has ended. */
void thin_unmap_bare(struct node *node, struct plan *plan, struct thin_io *io);
void thin_unmap_bare_resume(struct node *node, struct plan *plan);

/* thin_room.c */
uint64_t thin_room(const struct thin *thin); /* bytes that may still be allocated */
void thin_room_watch(struct node *node, struct plan *plan); /* it has changed */
bool thin_grew(struct node *node, unsigned place); /* the child has: there is more of it */
void thin_room_forget(struct thin *thin, uint64_t now, uint64_t *again); /* an old rate, then */
void thin_room_end(struct node *node, struct plan *plan, int result); /* of a request: perhaps it waits */
void thin_room_found(struct node *node); /* a request that took some has ended well */
bool thin_room_tries(struct thin *thin, uint64_t now, uint64_t *again); /* who waits is to try */
void thin_room_go_on(struct thin *thin, struct plan *plan);

/* thin_punch.c */
bool thin_work(struct node *node, uint64_t now, struct request *request, uint64_t *again);
void thin_punch_map(struct node *node, const struct request *request, struct plan *plan);
void thin_punch_resume(struct node *node, struct plan *plan);
uint64_t thin_punch_max(const struct node *node); /* clusters of one run */
void thin_punched(struct thin *thin, int result); /* what was being punched is reserve again */

/* thin_report.c */
void thin_status(const struct node *node, struct json_object *out);
int thin_command(struct node *node, const char *verb, const struct json *arguments,
	struct json_object *answer, struct err *err);

#endif
