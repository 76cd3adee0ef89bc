/* SPDX-License-Identifier: MIT */
/*
 * The mirror's parts among themselves: mirror.c (requests), mirror_legs.c (which legs are used, and
 * the record when one no longer is), mirror_regions.c (what is known of each region, and pages that
 * say it durably), mirror_bitmap.c (the bytes of all that), mirror_load.c (from the legs into memory
 * and back), mirror_work.c (what is done in the background), mirror_copy.c (resync), mirror_scrub.c (legs
 * compared), mirror_slow.c (how long legs take), mirror_behind.c (writes that a slow leg
 * gets later), mirror_status.c (what is said of all that), mirror_spare.c (which legs stand by), mirror_replace.c (one leg in
 * another's place, while that serves), mirror_own.c (what a leg alone holds), mirror_command.c (verbs).
 *
 * Words: a leg is a child. A region is region_size bytes of the mirror's own range, with bits that
 * say what is known of it. A page is 4096 bytes of bitmap, written as one. The primary is the one
 * leg that is read wherever legs may differ; it changes only when it fails.
 */
#ifndef TARGETS_MIRROR_H
#define TARGETS_MIRROR_H

#include "mirror_bitmap.h"
#include "target.h"

#define COPY_BYTES (128u << 10) /* copied at once */
#define COPY_SLOTS 2u /* regions that are copied side by side */
#define WORK_MAX 2u /* requests of work() at once, of any kind */

enum leg_state {
	LEG_IN_SYNC,
	LEG_JOINING, /* up to date, its last flush and the record of it are under way: written and
			flushed as if in sync, but not read and not relied upon */
	LEG_LEAVING, /* the same on the other way: it has everything, the record that calls it stale is under way */
	LEG_REBUILDING, /* written, and copied to; stale by the labels */
	LEG_SPARE, /* stands by, or was replaced: not used either */
	LEG_FAILED, /* not used */
};

struct leg {
	enum leg_state state;
	uint32_t pending; /* reads in flight, counted under READ_LEAST_PENDING */
	uint64_t read_errors, repaired; /* relaxed: status reads them */
	uint64_t latency; /* ns: of the last probe; 0: there was none. Relaxed */
	uint8_t probes; /* in a row that contradict is_slow */
	uint8_t replaces; /* as the superblock is to say */
	bool is_slow; /* read last. Relaxed */
	bool is_behind; /* rebuilding, and slow: it may miss writes, as all labels durably call it stale. Relaxed */
	bool catches_up; /* it was behind, and joins when it has everything */
	uint64_t behind_after; /* time: it is not put behind again before */
	bool write_mostly;
	bool has_mirror; /* it is one, or stands on one */
	bool was_used; /* in this life: all that it misses is marked */
};

enum read_policy { READ_LEAST_PENDING, READ_ROUND_ROBIN, READ_FIRST };

/* A range that some leg could not read: it is to be written there from another. */
struct repair {
	uint64_t offset;
	uint32_t length;
	unsigned place; /* the leg */
};
#define REPAIRS_MAX 16u

struct copy_slot {
	bool is_busy, is_begun; /* a piece is under way; a region is being copied */
	unsigned region, pass;
	uint64_t done; /* bytes of the region */
};

/* mirror_work.c and mirror_copy.c: what goes on in the background. */
struct work {
	bool is_clearing, is_joining, is_recording, is_repairing; /* a request is under way */
	bool wants_super; /* a leg was taken in: before its copying the legs must know */
	uint64_t super_after; /* time: the last try has failed */
	unsigned super_pass; /* pass when that was begun: who is taken in later wants it once more */
	bool wants_pages; /* … and before that what it misses: it was a spare */
	bool wants_record, wants_clear;
	uint64_t next_clear; /* time */
	struct copy_slot slots[COPY_SLOTS];
	unsigned pass; /* goes up when legs are taken in: what was begun before is begun again */
	unsigned cursor; /* region */
	uint64_t next_copy; /* time: the rate's */
	uint64_t foreground; /* a request from above had come when the background looked then, … */
	unsigned requests, seen; /* … which it sees by how many there have been: they ask no clock */
	uint64_t rate_min, rate_max; /* bytes per second */
	bool is_urgent; /* more is to be copied than what only makes legs even: not only when idle */
	uint64_t total, rate; /* of the resync: regions; bytes per second. Relaxed */
	uint64_t rate_since, rate_bytes; /* … is counted in */
	uint64_t unreadable; /* pieces that no leg could read; relaxed */
	uint64_t pause_until; /* time */
	bool is_evening; /* it was told that legs in sync are made even after an unclean stop */
	unsigned bad_region, bad_tries; /* pieces of it that the primary couldn't read, in a row */
	struct repair repairs[REPAIRS_MAX];
	unsigned repair_count;
};

/* mirror_slow.c */
struct slow {
	uint64_t limit; /* ns; 0: no leg is ever called slow */
	bool is_busy, is_asleep; /* a probe is under way; none is wanted before the next request */
	unsigned place; /* the leg that is asked, or was last */
	unsigned requests; /* work.requests when the last probe began */
	unsigned idle; /* probes since there was a new one */
	uint64_t begun, next; /* time */
	uint64_t turn; /* probes so far */
};

/* mirror_behind.c */
struct behind {
	uint64_t window; /* bytes; 0: nothing is ever written behind */
	unsigned count; /* regions with is_behind. Relaxed */
	uint64_t missed; /* writes that legs got later, so far. Relaxed */
	unsigned writes, seen; /* writes so far; … when the background looked */
	unsigned writing; /* writes under way */
	uint64_t active; /* time: … and there were new ones, or some under way. 0: there never were */
};

enum scrub_state { SCRUB_NONE, SCRUB_RUNNING, SCRUB_DONE, SCRUB_STOPPED };

/* A range in which legs differ. */
struct difference {
	uint64_t offset, length;
	uint32_t wrong; /* legs, bit by place; if it is not decided, all that were read */
	bool is_decided;
};
#define DIFFERENCES_MAX 32u

/* mirror_scrub.c. Bytes, those of a range that differs once. Relaxed */
struct scrub {
	enum scrub_state state;
	bool is_busy; /* a piece is under way */
	bool repairs; /* what is decided is written to those that are wrong */
	unsigned believed; /* the leg that decides where the others can't; LEGS_MAX: none */
	uint64_t rate; /* bytes per second at most, beside the resync's bounds; 0: no bound of its own */
	uint64_t done; /* of the mirror's size */
	unsigned looks; /* at the next piece, so far */
	uint32_t seen; /* what the legs held at the last look: a checksum */
	uint64_t next; /* time: of the next piece, or look */
	uint64_t looked_again; /* pieces */
	uint64_t skipped, unreadable, differing, undecided, repaired;
	uint64_t repairing; /* of the piece under way */
	struct difference found[DIFFERENCES_MAX]; /* the first ones */
	unsigned found_count;
};

struct mirror {
	enum read_policy policy;
	uint32_t unrecorded; /* legs that have failed, bit by place, while no record is durable */
	unsigned turn, primary;
	struct leg legs[LEGS_MAX];
	uint64_t size; /* node->limits.size as of open(): the root's may be rounded afterwards */
	uint64_t region_size; /* power of two */
	unsigned region_shift, region_count, page_count;
	bool has_region_size; /* the document names it */
	struct region *regions; /* NULL before open() */
	unsigned todo_count, dirty_count, copied_count; /* regions; relaxed */
	struct superblock super; /* as on the legs in use */
	bool is_found; /* probe() has seen a superblock */
	bool is_loaded; /* the bits are those of the legs */
	struct work work;
	struct slow slow;
	struct behind behind;
	struct scrub scrub;
	bool *own; /* while mirror_own() is asked: by region. NULL: it isn't */
};

struct mirror_io {
	uint32_t tried; /* READ: legs asked so far */
	uint32_t reading; /* READ: 1 + the leg that this read is counted on, 0: none */
	uint32_t left_out; /* legs that failed this request: what they did of it counts no more, even if they
				are taken in again meanwhile */
	uint32_t recording; /* the unrecorded legs that our running record covers */
	uint32_t leaving; /* WORD_RECORD: legs that are leaving, of which it tells */
	uint16_t seen; /* ops judged by an earlier resume() */
	uint16_t from; /* ops before this one are nothing to judge legs by */
	uint8_t phase; /* of work */
	uint8_t source; /* copying: the leg read last */
};

/* The meaning of request.flags of IO_SELF; offset and length are the range that is held. */
#define WORD_PAGE 1u /* pages that follow each other are to be made durable */
#define WORD_SUPER 2u /* the superblock is */
#define WORD_CLEAR 3u /* work: regions that are quiet are to be said clean */
#define WORD_COPY 4u /* work: a piece from the primary to the others; + 16 * slot */
#define WORD_JOIN 5u /* work: legs that are up to date are taken in */
#define WORD_RECORD 6u /* work: which legs have failed */
#define WORD_REPAIR 7u /* work: a range that a leg couldn't read */
#define WORD_SCRUB 8u /* work: legs are compared */
#define WORD_PROBE 9u /* work: how long a leg takes */
#define WORD_MASK 15u
#define WORD_SLOT_SHIFT 4u

#define SELF_RANGES (UINT64_C(1) << 62) /* where self ops' ranges begin: page by page */

/* mirror_legs.c */
/* For open(): their states, and the primary. 0, or -1 with a message: none is in sync. */
int mirror_find_legs(struct node *node, struct err *err);
bool mirror_leg_is_used(const struct mirror *mirror, unsigned place); /* written at all */
unsigned mirror_legs_used(const struct node *node);
bool mirror_has_away(const struct node *node); /* marks are kept of what some leg misses */
/*
 * The leg is not used from now on, but has that state, unless it is the last in sync. True: it was in use, and that is to be
 * recorded.
 */
bool mirror_leave(struct node *node, unsigned place, enum leg_state state);
/* Marks the leg failed, unless it is the last in sync. True: it was, and that is to be recorded. */
bool mirror_fail(struct node *node, unsigned place);
/* Plans, on every leg in use, the record of which legs have failed. */
void mirror_record(struct node *node, struct plan *plan);
/* After ops that every leg should have done: each that failed fails its leg. True if one did that.
 * *result is what the legs that are left have answered. */
bool mirror_fail_ops(struct node *node, struct plan *plan, int *result);
/*
 * The same, and while that leaves something unrecorded a round of records follows. True: one was planned. False: *result is what
 * the legs that are left have answered.
 */
bool mirror_judge(struct node *node, struct plan *plan, int *result);

/* Those that were not used since the start: a live mirror can't take them in. */
void mirror_left_out_status(const struct node *node, struct json_object *out);

/* mirror_spare.c */
/* The leg is brought up to date from now on, and written as the others. */
void mirror_take_in(struct node *node, unsigned place);
/* The first that stands by; the node's child count: there is none. */
unsigned mirror_standing_by(const struct node *node);
/* A spare is taken in for each leg that has failed. For work(): before it looks at anything else. */
void mirror_take_spares(struct node *node);
/* The leg is used in the place of another, which is a spare from then on; that is still to be recorded. */
void mirror_exchange(struct node *node, unsigned spare, unsigned other);
/* What the superblock is to say besides `tracked`. */
void mirror_super_fill(struct node *node);
/* WORD_SUPER, for legs that were taken in. */
void mirror_super_map(struct node *node, struct plan *plan);
void mirror_super_resume(struct node *node, struct plan *plan);
void mirror_spare_status(const struct node *node, struct json_object *out);

/* mirror_replace.c */
/* For open(): replacements go on that were under way. */
void mirror_find_replaced(struct node *node);
/* A spare that stands by begins to take the place of a leg in sync. */
void mirror_replace(struct node *node, unsigned place, unsigned spare);
/* For work(): before spares are taken for legs that have failed, as one of a replacement's may have, … */
void mirror_stop_replacing(struct node *node);
/* … and after that: who has everything by now takes the other's place. */
void mirror_end_replacing(struct node *node);
/* A leg that is to take another's place, any or that one's; the node's child count: there is none. */
unsigned mirror_replacement(const struct node *node);
unsigned mirror_replacement_of(const struct node *node, unsigned place);
/* The other one stays as it is. */
void mirror_give_up_replacing(struct node *node, unsigned spare);
void mirror_replace_status(const struct node *node, struct json_object *out);

/* mirror_regions.c */
/* For open(), once the size is known: the regions, of which nothing is known. 0, or -1 with messages. */
int mirror_find_regions(struct node *node, struct err *err);
enum hold mirror_hold(const struct node *node, const struct request *request, struct range *range);
/* Notes a write, and plans what must be durable before its first byte is sent. */
void mirror_mark(struct node *node, const struct request *request, struct plan *plan);
void mirror_unmark(struct node *node, const struct request *request); /* it has ended */
/* Whether only the primary may be read there. */
bool mirror_is_single(const struct node *node, uint64_t offset, uint64_t length);
/* A write has failed, on the last leg in sync perhaps, and legs in use may differ: copy them anew. */
void mirror_doubt(struct node *node, const struct request *request);
/* What is to be copied, by the bits and the legs' states. */
void mirror_find_todo(struct node *node);
/* Tells that the leg, which is there and not in sync, is brought up to date from now on. */
void mirror_tell_resync(const struct node *node, unsigned place);
/* There is nobody left to copy to: what was to be copied is what legs that are away miss. */
void mirror_drop_todo(struct mirror *mirror);
/*
 * Some leg may miss anything: all that was ever written is to be copied, by the mirror or by that leg alone, if
 * its own bits are given (else NULL); the rest is another's leavings.
 */
void mirror_mark_all_changed(struct mirror *mirror, const struct region *own);
/* Counts anew what the regions' bits say, after they were set past mirror_set_bits(). */
void mirror_count(struct mirror *mirror);
void mirror_set_bits(struct mirror *mirror, unsigned region, uint8_t set, uint8_t clear);
void mirror_plan_pages(struct plan *plan, unsigned first, unsigned last);
void mirror_page_map(struct node *node, const struct request *request, struct plan *plan);
void mirror_page_resume(struct node *node, const struct request *request, struct plan *plan);
/* The same bytes, from scratch, durably on each leg in use that is not behind. */
void mirror_write_everywhere(
	struct node *node, struct plan *plan, uint64_t offset, uint32_t length);
/* What is known to be on all legs in use is taken into the bits that the next page says. */
void mirror_settle(const struct node *node, struct region *region);

/* mirror_work.c */
bool mirror_work(struct node *node, uint64_t now, struct request *request, uint64_t *again);
void mirror_work_map(struct node *node, const struct request *request, struct plan *plan);
void mirror_work_resume(struct node *node, const struct request *request, struct plan *plan);
/* The leg couldn't read it, another could. */
void mirror_note_repair(struct mirror *mirror, unsigned place, uint64_t offset, uint64_t length);

/* mirror_copy.c */
bool mirror_copy_next(struct node *node, uint64_t now, struct request *request, uint64_t *again);
void mirror_copy_map(struct node *node, const struct request *request, struct plan *plan);
void mirror_copy_resume(struct node *node, const struct request *request, struct plan *plan);
/* That many bytes are copied or compared now: *next is when the next ones may be. limit 0: none but
 * the resync's. */
void mirror_spend(
	struct mirror *mirror, uint64_t *next, uint64_t now, uint64_t bytes, uint64_t limit);
/* No region is being copied. */
bool mirror_copy_is_idle(const struct mirror *mirror);
void mirror_repair_map(struct node *node, struct plan *plan);
void mirror_repair_resume(struct node *node, const struct request *request, struct plan *plan);

/* mirror_slow.c */
bool mirror_leg_is_slow(const struct mirror *mirror, unsigned place);
bool mirror_slow_next(struct node *node, uint64_t now, struct request *request, uint64_t *again);
void mirror_slow_map(struct node *node, struct plan *plan);
void mirror_slow_resume(struct node *node, struct plan *plan);
void mirror_slow_status(const struct node *node, struct json_object *out);

/* mirror_behind.c */
int mirror_behind_parse(struct node *node, struct err *err);
/* The leg may miss writes: all labels durably call it stale. */
bool mirror_leg_is_behind(const struct mirror *mirror, unsigned place);
/* The leg is, or is to be, taken in as soon as nothing is left to copy. */
bool mirror_leg_joins(const struct mirror *mirror, unsigned place);
/* For a write that is marked: true, legs that are behind don't get it, and its regions are copied to them later. */
bool mirror_put_behind(struct node *node, const struct request *request);
/* The region is only behind, and rests until it has been quiet for a while. */
bool mirror_rests(const struct mirror *mirror, unsigned region, uint64_t now);
/* For work(): legs are to be put behind, and catch up. */
void mirror_behind_work(struct node *node, uint64_t now, uint64_t *again);
/* WORD_RECORD: legs that it tells of, and its end, after which they are behind if all labels say so. */
uint32_t mirror_leaving(const struct node *node);
void mirror_left(struct node *node, uint32_t leaving, int result, uint64_t now);
void mirror_behind_status(const struct node *node, struct json_object *out);

/* mirror_scrub.c */
bool mirror_scrub_next(struct node *node, uint64_t now, struct request *request, uint64_t *again);
void mirror_scrub_map(struct node *node, const struct request *request, struct plan *plan);
void mirror_scrub_resume(struct node *node, const struct request *request, struct plan *plan);
struct scrub_wish {
	bool repairs;
	unsigned believed; /* a leg's place or LEGS_MAX */
	uint64_t rate; /* 0: the resync's */
};
/* 0, or -1 with a message. */
int mirror_scrub_begin(struct node *node, const struct scrub_wish *wish, struct err *err);
int mirror_scrub_stop(struct node *node, struct err *err);
/* mirror_scrub_status.c: the result, and while it runs how far it is. */
void mirror_scrub_status(const struct node *node, struct json_object *out);
void mirror_scrub_progress(const struct node *node, struct json_object *out);

/* mirror_status.c */
void mirror_work_status(const struct node *node, struct json_object *out);

/* mirror_load.c */
int mirror_probe(struct node *node, struct err *err);
int mirror_load(struct node *node, struct err *err);
int mirror_unload(struct node *node, struct err *err);

/* The superblock of a leg. False: it can't be read, or is none of this tree's. */
bool mirror_read_super(struct node *node, unsigned place, struct superblock *super);

/* mirror_own.c */
/* The bits of all regions as the leg itself says them; what it has no whole sector for has all. False: it
 * has no bitmap of this mirror. */
bool mirror_read_bits(struct node *node, unsigned place, struct region *regions);
int mirror_own(struct node *node, unsigned place, uint64_t *offset, void *memory, uint32_t *length,
	struct err *err);

/* mirror_command.c */
int mirror_command(struct node *node, const char *verb, const struct json *arguments,
	struct json_object *answer, struct err *err);

/* Since the last start, that is. */
static inline bool mirror_has_grown(const struct mirror *mirror)
{
	return mirror->is_found && mirror->super.size < mirror->size;
}

#endif
