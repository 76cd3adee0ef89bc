// SPDX-License-Identifier: MIT
/* A device's lives: start, requests, stop or crash, start again. */
#include "sim.h"

#include "lifetime.h"

#include <json-c/json_object.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SCRUB_EVERY 40 /* requests */
#define LEFT_EVERY 20u /* requests: how often the daemon is replaced while somebody waits */

struct life life;

static void choose_faults(void)
{
	bool is_calm = random_one_in(4);

	backend.faults = (struct faults){
		.error = is_calm ? 0 : 20 << random_below(7),
		.again = random_below(2) ? 30 : 0,
		.shorter = random_below(2) ? 6 : 0,
		.hung = random_below(2) ? life.document.has_timeout ? 12 : 40 : 0,
		.death = is_calm || random_below(2) ? 0 : 400,
		.full = life.is_hard && !is_calm ? 300 : 0,
		.stopped = life.is_hard ? 400 : 0,
	};
}

static void open_engine(void)
{
	struct err err = { 0 };
	struct engine_config config = {
		.tree = life.tree,
		.backend = life.may_pass ? &sim_passing_backend : &sim_backend,
		.context = queue_context(0),
		.queues = queues_open(tree_shares_engine(life.tree)),
		.depth = queue_depth(),
		.max_io = life.tree->device.max_io_size,
		.fan_out = life.tree->device.fan_out,
		.memory_max = UINT64_C(1) << 30, /* small chunks and cells need more than devices do */
	};
	unsigned i;

	if (life.document.has_timeout)
		config.slots = 1 + random_below(TAGS);
	backend.tree = life.tree;
	requests_open();
	for (i = 0; i < life.tree->leaf_count; i++)
		backend.images[i] =
			life.tree->leaves[i]->fd < 0 ? NULL : image_of_fd(life.tree->leaves[i]->fd);
	if (engine_open(&backend.engine, &config, &err) < 0)
		sim_fail("engine: %s", err.text);
	for (i = 1; i < config.queues; i++)
		engine_join(backend.engine, i, queue_context(i));
}

static bool begin_life(void)
{
	bool is_first = life.sectors == 0;
	bool permute = !is_first && random_one_in(3);
	unsigned i;

	backend_reset();
	lie_begin();
	if (!is_first) {
		meddle();
		grow_choose();
		store_between();
		split_meddle();
	}
	judge_keep_image();
	/* Where blank leaves stand, nobody can tell them from each other. */
	permute &= !memchr(life.is_blank, true, sizeof(life.is_blank));
	if (!start_device(permute)) {
		images_budget = FOREVER;
		fault_forget();
		totals.refused++;
		return false;
	}
	life.is_formatted = true;
	for (i = 0; i < life.tree->leaf_count; i++) /* or it could not be used: others of its leg are away */
		life.is_blank[i] &= life.tree->leaves[i]->fd < 0;
	totals.lives++;
	if (backend.has_lost && !life.is_guarded) {
		model_doubt(); /* files tell of a failed flush once: the next start can't know */
		life.snapshots = false; /* they would have what a power cut may take back */
	}
	backend.has_lost = false;
	life.faults_before = model_faults;
	life.may_pass = life.tree->device.fan_out != FAN_OUT_LINKED &&
			life.tree->device.fan_out != FAN_OUT_GATHERED && random_below(3);
	open_engine();
	if (!is_first)
		grow_started((unsigned)(life.tree->root->limits.size / SECTOR));
	split_judge();
	if (!is_first && life.sectors != life.tree->root->limits.size / SECTOR)
		sim_fail("the device had %u sectors and has %llu", life.sectors,
			(unsigned long long)life.tree->root->limits.size / SECTOR);
	if (is_first) {
		life.sectors = (unsigned)(life.tree->root->limits.size / SECTOR);
		model_open(life.sectors);
		judge_tell_void(0, life.sectors);
		flatten_tell_model();
		meddle_choose_guards();
	}
	meddle_keep_guarded();
	flatten_watch();
	judge_labels();
	past_started();
	choose_faults();
	queue_enter(0);
	engine_begin(backend.engine);
	queue_leave();
	requests_again();
	return true;
}

static void stop_failed(const struct err *err)
{
	bool is_cut = images_budget == 0;

	/* An image that could not write its metadata is a leg that can't be written. */
	bool has_failed_image = life.document.has_images && life.faults_before != model_faults;

	/* A leaf that has failed a flush fails those of unload() too; one that hangs is asked nothing. */
	if (!is_cut && !backend.has_lost && !backend_hung() && !fault_hits() && life.lies != LIES_ANY && !has_failed_image)
		sim_fail("stop: %s", err->text);
	sim_note(is_cut ? "power cut while stopping" : "stopped, but not cleanly: %s", err->text);
	totals.cuts += is_cut;
	if (fault_has_lost()) {
		model_doubt(); /* the next start can't know */
		life.snapshots = false;
	}
	if (is_cut)
		images_cut();
	model_crash(is_cut);
	life.was_stopped = false;
}

static uint64_t brought(void)
{
	const struct node *root = life.tree->root;
	struct json_object *status, *misses;
	uint64_t count = 0;

	if (!life.document.has_thin)
		return 0;
	status = json_object_new_object();
	root->type->status(root, status);
	if (json_object_object_get_ex(status, "metadata_misses", &misses))
		count = json_object_get_uint64(misses);
	json_object_put(status);
	return count;
}

static void quiesce(void)
{
	requests_read_all();
	judge_labels();
	if (random_below(2)) {
		sim_note("settle");
		requests_settle();
		judge_settled();
		requests_read_all();
		totals.settled++;
	}
	sim_note("stop");
	requests_stop();
}

/* What nobody needs to know the end of is still under way then: it lands while the daemon stops, or later. */
static void leave(void)
{
	sim_note("stop, with what waits left unanswered");
	requests_leave();
	if (random_below(2))
		backend_land_late();
	totals.left += requests_busy() > 0;
}

static void stop(bool leaves)
{
	struct err err = { 0 };
	bool has_failed;

	if (leaves)
		leave();
	else
		quiesce();
	judge_legs();
	past_judge();
	meddle_find_spares();
	model_upheavals += life.faults_before != model_faults; /* read errors are forgotten */
	totals.stops++;
	meddle_note_stop();
	images_budget = random_one_in(6) ? 1 + random_below(60) : FOREVER;
	fault_choose(false);
	has_failed = lifetime_stop(life.tree, &err) < 0;
	if (has_failed)
		stop_failed(&err);
	backend_land_late();
	if (has_failed)
		requests_forget();
	life.was_stopped &= !fault_hits(); /* or it may be without a leaf */
	fault_forget();
	images_budget = FOREVER;
	err_finish(&err);
}

static void end_life(bool may_crash, bool leaves)
{
	unsigned how = may_crash && !leaves ? random_below(3) : 2;
	const struct engine_stats *stats = engine_stats(backend.engine);

	life.was_stopped = how == 2;
	totals.resumed += stats->resumed;
	totals.held += stats->held;
	totals.put_off += stats->put_off;
	totals.merged += stats->merged;
	totals.records += stats->requests[IO_RECORD];
	if (how == 2) {
		stop(leaves || (may_crash && life.leaves && random_below(2)));
	} else {
		sim_note(how ? "power cut" : "daemon dies");
		if (random_below(2))
			requests_quiesce();
		totals.crashes += !how;
		totals.cuts += how;
		backend_crash(how);
		meddle_find_spares();
		model_crash(how);
		requests_forget();
	}
	totals.brought += brought();
	remove_find();
	queues_close();
	tree_destroy(life.tree);
	if (how == 2 && random_one_in(4)) {
		images_cut(); /* what was stopped is durable */
		model_crash(true);
		requests_forget();
	}
}

/* Another daemon is to take over just when somebody waits for room. */
static bool leaves_now(void)
{
	return life.leaves && backend.engine->waiting.first && random_one_in(LEFT_EVERY);
}

/* True: it is to be left, with what is unanswered. */
static bool live(void)
{
	unsigned requests = (1 + random_below(1u << (3 + random_below(7)))) * sim_longer;
	unsigned depth = 1 + random_below(TAGS), done;

	if (requests > sim_caps.requests)
		requests = sim_caps.requests;
	if (random_below(2))
		requests_read_all();
	for (done = 0; done < requests;) {
		if (requests_busy() < depth && random_below(3)) {
			request_start_random();
			if (life.scrubs && done % SCRUB_EVERY == 0)
				judge_scrub();
			flatten_ask(done);
			trim_ask(done);
			commit_ask(done);
			store_ask();
			past_ask();
			done++;
			if (leaves_now())
				return true;
		} else {
			backend_end_one();
			hand_meddle();
		}
	}
	return false;
}

/* By the seed's number alone, so that the others mean what they meant before any leaf lied. */
static void choose_lies(uint64_t seed)
{
	unsigned draw = (unsigned)((seed * UINT64_C(0xd1342543de82ef95) >> 32) % 90);

	life.lies = draw < 12 ? LIES_DATA : draw < 14 ? LIES_ANY : LIES_NONE;
	if (sim_caps.lies >= 0)
		life.lies = (enum lies)sim_caps.lies;
	if (life.lies == LIES_ANY && life.document.has_shadow)
		life.lies = LIES_DATA; /* it judges its table itself */
	if (life.document.has_images)
		life.lies = LIES_NONE; /* whose bytes a sector of a leaf holds only the image says */
	if (life.document.has_timeout)
		life.lies = LIES_NONE; /* nobody follows bytes through the slots of watch.c */
	life.has_metadata = life.document.has_thin || life.document.has_images || life.document.has_shadow ||
			    strstr(life.document.text, "\"mirror\"");
	totals.liars += life.lies != LIES_NONE;
	life.scrubs = (seed * UINT64_C(0xd1342543de82ef95) >> 40) % 4 == 0;
	life.flattens = (seed * UINT64_C(0xd1342543de82ef95) >> 44) % 4 > (life.commits ? 2u : 0u);
	life.trims = (seed * UINT64_C(0xd1342543de82ef95) >> 48) % 2 == 0;
	life.leaves = (seed * UINT64_C(0xd1342543de82ef95) >> 52) % 2 == 0;
	if (life.lies)
		sim_note("leaves lie about %s", life.lies == LIES_DATA ? "data" : "anything");
}

/* The same of a thin's room. */
static bool is_tight_seed(uint64_t seed)
{
	return (seed * UINT64_C(0x1d8e4e27c47d124f) >> 32) % 4 == 0;
}

static bool are_images_seed(uint64_t seed)
{
	return (seed * UINT64_C(0xa0761d6478bd642f) >> 33) % 16 == 0;
}

void seed_run(uint64_t seed)
{
	unsigned lives, i;
	char path[300];

	random_start(seed);
	life.sectors = 0;
	life.is_formatted = false;
	requests_forget();
	backend.faults = (struct faults){ 0 };
	backend.has_lost = false;
	grow_choose_seed(seed);
	life.snapshots = past_is_seed(seed);
	life.commits = commit_is_seed(seed) && !life.snapshots; /* those are based on what it changes */
	hand_choose_seed(seed);
	remove_choose_seed(seed);
	document_make(&life.document,
		&(struct wishes){
			.room = life.grows ? GROW_ROOM : 0,
			.is_tight = is_tight_seed(seed),
			.has_store = store_is_seed(seed) && !life.grows,
			.has_slow = (seed * UINT64_C(0xc2b2ae3d27d4eb4f) >> 35) % 4 == 0,
			.has_behind = (seed * UINT64_C(0xc2b2ae3d27d4eb4f) >> 35) % 8 == 0,
			.has_timeout = (seed * UINT64_C(0x9e6c63d0876a9a47) >> 33) % 4 == 0,
			.has_images = are_images_seed(seed) && !life.grows,
			.has_spares = (seed * UINT64_C(0x94d049bb133111eb) >> 33) % 3 == 0,
		});
	sim_note("%s", life.document.text);
	if (queues_choose(seed))
		sim_note("%u queues", TAGS / queue_depth());
	choose_lies(seed);
	life.snapshots &= life.document.has_thin && life.lies == LIES_NONE;
	life.has_faulty_starts = fault_is_seed(seed);
	life.may_replace = (seed * UINT64_C(0xbf58476d1ce4e5b9) >> 32) % 3 == 0;
	life.adds = false;
	memset(life.is_blank, 0, sizeof(life.is_blank));
	grow_prepare();
	flatten_prepare();
	hardship_begin(seed);
	split_begin(seed);
	lives = 1 + random_below(sim_caps.lives);
	for (i = 0; i < lives && begin_life(); i++) {
		bool leaves = live();

		end_life(true, leaves);
	}
	if (i == lives && begin_life())
		end_life(false, false);
	model_close();
	past_finish();
	split_end();
	images_forget();
	for (i = 0; i < life.document.leaf_count; i++) {
		if (life.is_hidden[i])
			hardship_lengthen(i);
		meddle_path(i, ".away", path);
		(void)unlink(path);
		meddle_path(i, "", path); /* also beside that: a blank one was added in its place */
		(void)unlink(path);
	}
	memset(life.is_hidden, 0, sizeof(life.is_hidden));
	memset(backend.images, 0, sizeof(backend.images));
	document_finish(&life.document);
	grow_finish();
	totals.seeds++;
}
