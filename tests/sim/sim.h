/* SPDX-License-Identifier: MIT */
/*
 * The simulator: the real engine, targets, labels and assembly over leaves whose every fault is
 * ours. One seed decides everything; `sim --help` says how to run it.
 *
 * random.c   the one source of chance
 * image.c    leaves: what reads return, what a power cut would leave; takes leaf_io.c's place
 * document.c random trees as documents
 * shadow.c   a target that uses all that the engine offers
 * store.c    what a thin stands on, when it becomes larger
 * model.c    which values each sector may hold, by what was asked and answered
 * backend.c  sub-I/Os under way: any order, short, failing, hung, linked, handed down
 * clock.c    the engine's time
 * flatten.c  a thin's backing, which it takes in, or writes into
 * trim.c     and what is free in it, which it gives back
 * grow.c     devices that become larger between two lives
 * request.c  the kernel's side: requests and their bytes
 * judge.c    what must be true of legs and labels
 * fault.c    a leaf that fails while the device is started or stopped
 * past.c     snapshots of a thin
 * lie.c      leaves that lie, and what they lied about
 * hardship.c leaves that are full, that shrink, whose bitmap rots; a daemon that is stopped for a while
 * meddle.c   legs taken away, older copies put back, rot
 * hand.c     verbs of the user's on legs of a live device
 * start.c    how a run of a device begins
 * life.c     and goes on, to a stop or crash
 * queues.c   whose thread is in the engine
 * main.c     seeds, totals, the report of a failure
 */
#ifndef SIM_H
#define SIM_H

#include "assemble.h"
#include "engine_internal.h"
#include "tree.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define SECTOR 512u
#define IMAGES_MAX 32
#define TAGS 16
#define QUEUES_MAX 4
#define FOREVER UINT64_MAX
#define TIMEOUT_MS 8000u /* of mirrors that have one: twice as long as time may jump, and more */

struct totals {
	uint64_t seeds, lives, operations, sub_ios, crashes, cuts, stops;
	uint64_t restored, hidden, rotten, asked, failed_requests, linked, passed, restarted, resumed,
		records, held, merged, put_off, full, works, ticks, settled, scrubbed,
		looked_again;
	uint64_t lost, misdirected, flipped, rotted, lied_flushes, lied_reads, refused, liars;
	uint64_t start_faults, failed_starts, growths, grown, replaced, slow, behind, taken,
		without, hung, late, taken_back, too_late;
	uint64_t snapshots, pasts, pasts_gone, pasts_back; /* made; looked at again; deleted; gone back to */
	uint64_t left, left_waiting; /* stops that left requests unanswered; with some that wait for room among them */
	uint64_t again; /* requests that came again after such a one */
	uint64_t stores, stores_awaited; /* became larger; while somebody waited for room */
	uint64_t failed_by_hand, added, replacing, let_go, to_be_removed, removed, stayed_out;
	uint64_t brought; /* pages of a thin's map, read again */
	uint64_t of_queues, woken; /* trees with several; how often one was */
	uint64_t data_files; /* thins that have one */
	uint64_t images; /* trees with thins as legs */
	uint64_t flattened; /* thins that took in all of their backing */
	uint64_t commits, committed; /* of thins into their backings, to the end; bytes */
	uint64_t trimmed; /* bytes that thins gave back when they were asked to */
	uint64_t filled, shortened, bitmaps, stopped; /* hardship.c */
	uint64_t splits, split_mirrors, overlays, overlays_below, overlays_of_spares;
};
extern struct totals totals;

/* What a run may have at most: --shrink tries small ones. */
struct caps {
	unsigned leaves, lives, requests;
	int lies; /* enum lies for all seeds; -1: each seed decides */
};
extern struct caps sim_caps;

/* Ends the program with a report: the seed's command, the last events, what is under way. */
void sim_fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
/* Remembers an event for that report, and prints it under --trace. */
void sim_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
extern bool sim_is_traced;
extern bool sim_has_faulty_starts; /* in all seeds */

/* random.c */
void random_start(uint64_t seed);
uint32_t random_below(uint32_t limit); /* 0 … limit - 1 */
bool random_one_in(uint32_t n); /* 0: never */

/* image.c */
struct unflushed;
struct image {
	uint64_t inode;
	char *view; /* the file itself, mapped: what is read */
	char *durable; /* what a power cut leaves at least */
	char *saved; /* a copy that may be put back; NULL: none */
	bool *touched; /* by page of 4096: it was written once */
	size_t bytes;
	struct unflushed *first, *last;
	uint64_t writes; /* so far */
	unsigned char *marks; /* lie.c's, by sector; NULL: this leaf never lies */
};
struct image *image_of_fd(int fd);
unsigned image_number(const struct image *image); /* in the order in which they came up */
struct image *image_of_view(const char *view); /* NULL: the address is none's */
void image_doubt(struct image *image); /* tells lie.c what a flush should have made durable */
void image_write(struct image *image, uint64_t offset, const void *data, uint64_t length);
void image_zero(struct image *image, uint64_t offset, uint64_t length);
void image_persist(struct image *image, uint64_t offset, uint64_t length); /* FUA */
void image_flush(struct image *image, uint64_t writes); /* those that came up to then */
void image_lose_flush(struct image *image); /* a failed flush: no later one covers what is there */
void image_save(struct image *image);
void image_restore(struct image *image); /* somebody puts the old copy back */
void image_blank(struct image *image); /* another disk is there */
void images_cut(void); /* the power goes */
void images_forget(void); /* the files are gone */
void image_forget(int fd); /* that one is */
void images_forget_gone(void); /* those of which that is true */
/* Main-thread writes and flushes that still work; then all fail. FOREVER: no end. */
extern uint64_t images_budget;

/* document.c */
struct document {
	char *text; /* leaf paths are "leafNN" */
	unsigned leaf_count;
	uint32_t sizes[IMAGES_MAX];
	bool is_raw[IMAGES_MAX]; /* without a label: its path is its identity */
	bool can_grow[IMAGES_MAX];
	bool has_thin, has_tight_cache;
	bool is_tight; /* the thin has less room than it could use, and "when_full": "queue" */
	bool has_store; /* … and what it stands on becomes larger */
	bool has_shadow;
	bool has_images; /* thins that are legs */
	bool has_slow; /* mirrors read legs last that are slow, */
	bool has_behind; /* and write them behind */
	bool has_spares; /* mirrors have them */
	bool has_timeout; /* mirrors go on without legs that hang */
	bool is_bare; /* while it is made: the next leaf stands right below a thin */
	bool has_data_file; /* a thin's: its bytes are in a leaf of their own */
	unsigned backing_place, backing_sectors; /* a thin's backing that is a file; 0: there is none */
	uint32_t room; /* further bytes of each leaf */
	uint32_t hidden; /* bytes that what is below the thin is short of at first (store.c); 0: it stays as it is */
};
/* What a seed's document is to have; `room`: further bytes of each leaf. */
struct wishes {
	uint32_t room;
	bool has_store; /* what a tight thin stands on becomes larger */
	bool is_tight, has_slow, has_behind, has_timeout, has_spares;
	bool has_images; /* thins as legs, and nothing else */
};
void document_make(struct document *document, const struct wishes *wishes);
/* The document with the paths of labelled leaves of one size exchanged. The caller frees it. */
char *document_permuted(const struct document *document, bool permute);
void document_finish(struct document *document);

/* shadow.c */
void shadow_print_begin(FILE *out); /* its child comes next */
void shadow_print_end(FILE *out);
void shadow_place(struct tree *tree); /* puts it, and store.c's, where the document wants them */

/* store.c */
extern const struct target_type store_target;
bool store_is_seed(uint64_t seed);
uint32_t store_hides(uint32_t device); /* bytes at first, of a device of so many */
void store_print_begin(FILE *out); /* its child comes next, then shadow_print_end() */
void store_between(void); /* two lives */
void store_ask(void); /* while it is live: perhaps it grows */

/* model.c */
void model_open(unsigned sectors);
void model_extend(unsigned sectors); /* it has so many now; the new ones hold zeroes */
void model_close(void);
uint64_t model_time(void); /* each call is later than the one before */
uint64_t model_write_begins(unsigned first, unsigned count, uint64_t value); /* its time */
void model_write_ends(unsigned first, unsigned count, uint64_t begun, bool is_ok, bool is_durable);
void model_flush_ends(uint64_t begun, bool is_ok);
void model_read_ends(
	unsigned first, unsigned count, const char *data, uint64_t begun, uint64_t begun_upheavals);
void model_crash(bool is_cut);
void model_set_void(unsigned sector); /* a zero target stands there */
void model_set_first(unsigned sector, uint64_t value); /* what it holds before anybody writes */
void model_set_oldest(uint64_t begun); /* of the requests in flight */
void model_agree(void); /* all legs hold the same: a fault changes no answer any more */
void model_loosen(unsigned first, unsigned count); /* legs may differ there: one has refused what another did */
/* The values of a sector that another leg may have; 0: all have the same. */
unsigned model_others(unsigned sector, uint64_t *values, unsigned max);
void model_set_other(unsigned sector, uint64_t value); /* another leg may have that, beside what is there now */
void model_fault(void); /* a leaf has failed something */
void model_doubt(
	void); /* a flush failed in the life that ends: none proves anything of its writes */
extern uint64_t model_faults; /* how often */
extern uint64_t model_upheavals; /* the same, and each end of a request while one may have effect */
extern bool model_is_redundant; /* there is a mirror in the tree */
void sector_fill(char *sector, uint64_t value, unsigned number);

/* backend.c */
struct faults { /* one in so many; 0: never */
	uint32_t error, again, shorter, hung, death, full, stopped;
};
struct backend {
	struct tree *tree;
	struct engine *engine;
	struct image *images[IMAGES_MAX]; /* by leaf place */
	bool guarded[IMAGES_MAX]; /* this leaf never fails */
	bool dead[IMAGES_MAX];
	struct faults faults;
	bool has_lost; /* a flush has failed */
	void (*ended)(unsigned tag, int result); /* a request, with its bytes in its buffer */
	void (*passed)(unsigned tag, int result); /* one that was the driver's, on its own pages */
	void (*fetch)(unsigned tag); /* brings a WRITE's bytes to its buffer */
	void *(*page_of)(unsigned tag, void *at); /* of an address in its buffer */
};
extern struct backend backend;
extern const struct engine_backend sim_backend, sim_passing_backend;
unsigned backend_pending(void); /* what the engine has given up doesn't count */
unsigned backend_hung(void); /* leaves that the engine has given up */
void backend_end_one(void); /* any of those that aren't hung */
void backend_release_hung(void);
/* A stop has left I/O under way that was given up: it lands, or not, before the next start. */
void backend_land_late(void);
/* All of those that aren't hung or linked are done, and the engine hears of it by the second. */
void backend_land_some(void);
void backend_end_landed(void);
void backend_note_time(void); /* the engine is about to hear of it */
void backend_crash(bool is_cut); /* what is under way lands, in part, or not */
void backend_print(FILE *out); /* what is under way, with its plans */
void backend_reset(void);

/* queues.c */
bool queues_choose(uint64_t seed); /* how many. True: several */
unsigned queues_open(bool is_shared); /* for a new engine. How many */
void queues_close(void); /* that engine */
unsigned queue_depth(void);
unsigned queue_of(const void *context); /* which one's it is */
void *queue_context(unsigned queue);
unsigned queue_of_tag(unsigned tag);
void queue_enter(unsigned queue); /* its thread is in the engine until queue_leave() */
void queue_leave(void);
void queue_wake_node(const struct node *node); /* engine_wake() */
void queue_wakes(void *context); /* an engine_backend's wake() and poll() */
void queue_polls(void *context);
unsigned queues_pending(void); /* how many things are to be done in a moment */
bool queues_poll(bool is_idle); /* perhaps one of them. True: it was done */
bool queues_look(bool is_idle);

/* clock.c */
uint64_t clock_time(void *context); /* an engine_backend's now() and timer() */
void clock_timer(void *context, uint64_t when);
bool clock_tick(bool is_idle); /* an event; true: it was the timer's */
void clock_reset(void);
bool clock_is_wanted(void); /* the engine has asked for a time */
void clock_skip(void); /* to that */
void clock_pass(uint64_t ms); /* and nobody hears of it */

/* request.c */
void requests_open(void); /* tells the backend where requests end */
void requests_forget(void); /* a crash */
unsigned requests_busy(void);
bool requests_own(const void *at); /* it is a request's bytes */
void request_start(enum io_kind kind, unsigned flags, unsigned first, unsigned count);
void request_start_random(void);
void requests_quiesce(void); /* ends all; checks that nothing is left over */
void requests_stop(void); /* the same, and the work that nodes do by themselves ends too */
/* Those that had been begun end, and that work; those that wait for room, or come meanwhile, stay unanswered. */
void requests_leave(void);
void requests_again(void); /* they come to the next life's engine */
void requests_read_all(void); /* twice, without faults */
void requests_settle(void); /* until the background has nothing to do; without faults */

/* judge.c */
void judge_tell_void(unsigned first, unsigned end); /* the model, of sectors of a zero target */
const char *judge_sector(struct node *node, uint64_t offset); /* what it holds, below the engine */
void judge_watch(void); /* after each event: whether other legs are read from now on */
void judge_legs(void); /* those in sync hold the same */
void judge_settled(void); /* nothing is left to be brought up to date, or said clean */
void judge_labels(void);
void judge_scrub(void); /* has every mirror compare its legs from now on: they never differ */
void judge_keep_image(void); /* for another judge: between two lives */

/* fault.c */
enum fault_kind { FAULT_READ = 1, FAULT_WRITE = 2, FAULT_FLUSH = 4 };
bool fault_is_seed(uint64_t seed);
/* A start or stop begins: who fails in it, if anybody. `is_first_try`: nothing failed since the last life. */
void fault_choose(bool is_first_try);
bool fault_may_stay(void); /* no harm in going on without that leaf */
void fault_again(void); /* the next start begins, and the same leaf fails in it */
void fault_forget(void); /* it has ended: nobody fails any more */
unsigned fault_hits(void); /* how often it has been met since */
bool fault_has_lost(void); /* with a flush, what it should have made durable */
/* The main thread asks for this. True: it fails; a WRITE (with its bytes) is done in part. */
bool fault_strikes(struct image *image, enum fault_kind kind, uint64_t offset, const void *data,
	uint64_t length);

/* lie.c: the marks of a leaf's sectors and of memory are only kept in seeds in which leaves lie. */
enum lies { LIES_NONE, LIES_DATA, LIES_ANY };
enum lie_kind { LIE_NONE, LIE_LOST, LIE_FLIPPED, LIE_MISDIRECTED };
struct lie {
	enum lie_kind kind;
	uint64_t offset; /* where it goes in truth */
};
void lie_begin(void); /* a life: nothing of memory is known, and who lies is chosen */
void lie_prepare(struct image *image);
/* What becomes of the sub-I/O, of which `length` bytes are to be done. */
struct lie lie_about(
	struct image *image, const struct sub_io *sub, uint64_t length, bool is_passed);
void lie_told(struct image *image, const struct lie *lie, uint64_t length); /* it has been done so */
bool lie_main(struct image *image, uint64_t offset, uint64_t length); /* this write isn't done */
void lie_rot(void); /* now and then */
void lie_read(const struct image *image, uint64_t offset, const void *to, uint64_t length);
void lie_written(struct image *image, uint64_t offset, const void *from, uint64_t length); /* NULL: by nobody */
void lie_zeroed(struct image *image, const struct sub_io *sub, uint64_t length);
void lie_return(struct image *image); /* other bytes of its past are there now */
void lie_doubt(struct image *image, uint64_t offset, uint64_t length); /* may be lost in a power cut */
bool lie_at(const char *view); /* the leaf's sector there was lied about */
bool lie_in(const void *at); /* the sector in memory comes from where a leaf had lied */
void lie_clear(const void *at, uint64_t length);
void lie_copy(const void *to, const void *from, uint64_t length);

/* past.c */
bool past_is_seed(uint64_t seed);
void past_ask(void); /* now and then */
bool past_were_asked(void); /* in any of the seed's lives */
void past_watch(void); /* after each event: whether there is one */
void past_started(void); /* the device */
void past_agree(void); /* what they hold is the same on all legs */
void past_judge(void); /* they are what they were */
void past_finish(void);

/* meddle.c */
void meddle_choose_guards(void);
/* Legs that never fail are never put behind: for as long others are no copy of theirs, and those may fail. */
void meddle_keep_guarded(void);
/* While the tree stands: which leaves can be lost without harm, and whose labels the stop writes. */
void meddle_find_spares(void);
bool meddle_is_spare(unsigned place);
void meddle_note_stop(void);
void meddle(void);
bool meddle_is_degraded(void);
/* Leaves are missing, and all labels know that none of them is needed: a start goes on without being told. */
bool meddle_misses_only_spares(void);
bool meddle_has_guarded(const struct node *node); /* leaves that never fail */
void meddle_path(unsigned place, const char *suffix, char path[300]);

/* hardship.c */
void hardship_begin(uint64_t seed);
void hardship_forget(void); /* no leaf is full any more */
bool hardship_is_full(const struct sub_io *sub); /* it has no room for that */
void hardship_step(void); /* an event */
void hardship_note_stop(void); /* while the tree stands: whose bitmaps can rot */
bool hardship_rots(unsigned place); /* it has been stopped cleanly; true: the leaf's bitmap has a wrong bit */
void hardship_shorten(unsigned place); /* the leaf is hidden now, and perhaps something shorter is there */
bool hardship_is_short(unsigned place); /* which is told, be it a spare */
void hardship_lengthen(unsigned place); /* before it comes back */

/* hand.c */
void hand_choose_seed(uint64_t seed);
void hand_meddle(void); /* while it is live: now and then */

/* remove.c */
void remove_choose_seed(uint64_t seed);
bool remove_is_seed(void);
void remove_find(void); /* while the tree stands, at a life's end: what the next start may leave out */
void remove_choose(struct assemble_options *options); /* for the next try */
bool remove_is_refused(const struct err *err); /* as it may be; the next try is without */
void remove_started(const struct assemble_options *options);
void remove_forget(void); /* who said so may be given up */

/* grow.c */
#define GROW_ROOM (128u << 10) /* that each leaf's file has beyond what the document says at first */
void grow_choose_seed(uint64_t seed); /* sets life.grows */
void grow_prepare(void); /* before the first life: the leaves' files, with room */
void grow_choose(void); /* before another one: perhaps it begins with a larger document */
/* The document of the next try to start, to be freed; options are added to. */
char *grow_document(struct assemble_options *options, bool permute);
bool grow_is_refused(const struct err *err); /* as it may be; the next try is without */
/* It has started with that many sectors. */
void grow_started(unsigned sectors);
void grow_finish(void);

/* flatten.c */
void flatten_prepare(void); /* before the first life: the backing's file */
void flatten_read_backing(unsigned sector, char *bytes); /* what a hole is; zeroes as soon as it is done */
void flatten_tell_model(void); /* what it holds; the device has been started for the first time */
void flatten_watch(void); /* perhaps it is done */
void flatten_ask(unsigned requests); /* now and then, in seeds that do; after so many requests */

bool commit_is_seed(uint64_t seed);
void commit_ask(unsigned requests); /* as flatten_ask() */

/* trim.c */
void trim_ask(unsigned requests); /* as flatten_ask() */

/* split.c */
void split_begin(uint64_t seed);
void split_end(void);
void split_meddle(void); /* a leg may go on alone, between two lives */
bool split_is_alone(unsigned place); /* and is given up, until it is taken back */
void split_choose(struct assemble_options *options); /* for the next start */
void split_judge(void); /* the device has been started, and nothing was copied yet */

/* saved.c */
const char *saved_directory(void); /* for the next start: what earlier ones have saved is moved out of it */
bool saved_paths(unsigned number, char overlay[600], char map[600]); /* of those; false: there are no more */
void saved_remove(void);

/* start.c */
bool start_stands_by(unsigned place); /* by the label of the leaf there: it is refused to be believed */
bool start_device(bool permute); /* in the end it has started; false: a lie has been found out */

/* life.c */
struct life {
	struct tree *tree;
	struct document document;
	unsigned sectors; /* of the device; 0: it has never been started */
	bool is_formatted;
	enum lies lies;
	bool has_faulty_starts;
	bool may_replace; /* leaves that are away may be lost for good, and blank ones take their place */
	bool adds; /* that has happened: starts are told so */
	bool is_blank[IMAGES_MAX]; /* by place: since the last start */
	bool grows; /* it may become larger */
	bool has_metadata; /* a node keeps some on its children */
	uint64_t faults_before; /* model_faults when this life began */
	bool is_guarded; /* of each mirror a leg never fails: neither does any request */
	bool was_stopped; /* cleanly */
	bool may_pass; /* requests may be handed down */
	bool flattens; /* a thin with a backing is told to take that in */
	bool trims; /* a thin is told to give back what is free */
	bool commits; /* a thin's backing is opened for writing, and it is told to commit */
	bool snapshots; /* are made of its thin now and then */
	bool is_hard; /* hardship.c's seed */
	bool leaves; /* stops may leave requests to the next life */
	bool scrubs; /* mirrors are told to compare their legs now and then */
	bool is_hidden[IMAGES_MAX]; /* leaves that are away */
};
extern struct life life;
void seed_run(uint64_t seed);

extern const char *sim_directory;
extern const char *sim_images; /* where images go that a crash has left; NULL: nowhere */
extern unsigned sim_longer; /* each life has so many times the requests */

#endif
