// SPDX-License-Identifier: MIT
/* A device's lives: start, requests, stop or crash, start again. */
#include "sim.h"

#include "lifetime.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json_object.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SCRUB_EVERY 40 /* requests */

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
	};
}

/* As the daemon does, or as if it had died of it. */
static void undo_start(bool is_started)
{
	if (fault_hits() && random_below(2))
		lifetime_undo(life.tree, is_started);
	tree_destroy(life.tree);
}

/* 0, or -1 with messages and no tree. */
static int start_once(const char *text, const struct assemble_options *options, struct err *err)
{
	struct err notes = { 0 };
	bool is_started = false;
	char path[300];
	int result;

	(void)snprintf(path, sizeof(path), "%s/tree.json", sim_directory);
	life.tree = tree_parse(path, text, strlen(text), err);
	if (!life.tree)
		sim_fail("the document is refused: %s", err->text);
	shadow_place(life.tree);
	result = lifetime_prepare(life.tree, options, err, &notes);
	if (result == 0) {
		is_started = true;
		result = lifetime_start(life.tree, err, &notes);
		if (result == 0 && images_budget == 0) /* legs were left out, but it was the power */
			result = err_add(err, "the power went");
	}
	if (notes.text)
		sim_note("notes: %s", notes.text);
	err_finish(&notes);
	if (result < 0)
		undo_start(is_started);
	return result;
}

/* By its label: it is refused to be believed. */
static bool stands_by(unsigned place)
{
	struct label label = { 0 };
	char path[300], why[300];
	bool result = false;
	int fd;

	meddle_path(place, "", path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && label_read(fd, (uint64_t)lseek(fd, 0, SEEK_END), &label, why, sizeof(why)) ==
			LABEL_FOUND)
		result = label.peers[label.place].state == LABEL_PEER_SPARE;
	label_finish(&label);
	if (fd >= 0)
		close(fd);
	return result;
}

/*
 * Where nobody is left to say what a leg missed, a user would be asked. He knows: no leg is taken
 * away that is the last to have everything.
 */
static int start_with_a_word(const char *text, struct assemble_options options, struct err *err)
{
	char names[IMAGES_MAX][300];
	const char *prefer[IMAGES_MAX];
	unsigned place;

	sim_note("asked: %s", err->text);
	err_finish(err);
	totals.asked++;
	options.prefer = prefer;
	for (place = 0; place < life.document.leaf_count; place++)
		if (!life.is_hidden[place] && !life.is_blank[place] &&
			!life.document.is_raw[place] && !stands_by(place) && !split_is_alone(place)) {
			meddle_path(place, "", names[options.prefer_count]);
			prefer[options.prefer_count] = names[options.prefer_count];
			options.prefer_count++;
		}
	return start_once(text, &options, err);
}

/* `without_it`: the user knows of a leaf that fails, and that it may. */
static bool try_start(bool permute, bool without_it, bool is_first_try)
{
	bool is_demanded = is_first_try && meddle_misses_only_spares() && !life.adds && random_below(2);
	struct assemble_options options = {
		.degraded = (meddle_is_degraded() && !is_demanded) || without_it, .add = life.adds };
	char *text = grow_document(&options, permute);
	struct err err = { 0 };
	int result;

	split_choose(&options);
	result = start_once(text, &options, &err);
	if (result < 0 && !fault_hits() && err.text && strstr(err.text, "nobody is left to say"))
		result = start_with_a_word(text, options, &err);
	if (result < 0 && grow_is_refused(&err)) {
		sim_note("doesn't grow: %s", err.text);
		err_finish(&err);
		free(text);
		return try_start(permute, without_it, false);
	}
	totals.without += is_demanded && result == 0;
	if (result < 0 && !err.text)
		sim_fail("start fails and says nothing");
	if (result < 0 && images_budget != 0 && (life.lies == LIES_ANY || fault_hits()))
		sim_note("start is refused: %s", err.text);
	else if (result < 0 && images_budget != 0)
		sim_fail("start is refused: %s", err.text);
	free(text);
	err_finish(&err);
	return result == 0;
}

static void open_engine(void)
{
	struct err err = { 0 };
	struct engine_config config = {
		.tree = life.tree,
		.backend = life.may_pass ? &sim_passing_backend : &sim_backend,
		.depth = TAGS,
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
}

/* What has failed is whole again, or the user goes on without it. True: the latter. */
static bool start_failed(bool is_first_try)
{
	bool may_go_on = is_first_try && fault_may_stay() && random_below(2);

	totals.failed_starts++;
	life.was_stopped = false;
	sim_note("start fails by a leaf");
	if (life.is_formatted) {
		if (fault_has_lost()) {
			model_doubt(); /* the next start can't know */
			life.snapshots = false;
		}
		model_crash(false);
	} else {
		images_forget_gone(); /* what it made it has removed */
	}
	if (may_go_on)
		fault_again();
	else
		fault_choose(false);
	return may_go_on;
}

static void start_was_cut(void)
{
	sim_note("power cut while starting");
	life.was_stopped = false;
	totals.cuts++;
	images_cut();
	if (life.is_formatted)
		model_crash(true);
	images_budget = random_one_in(2) ? 1 + random_below(100) : FOREVER;
	fault_choose(false);
}

/* Again and again, as the power goes while it starts, or a leaf fails. False: a lie has been found out. */
static bool start(bool permute)
{
	bool without_it = false, is_first_try = true;

	images_budget = random_one_in(4) ? 1 + random_below(100) : FOREVER;
	fault_choose(true);
	while (!try_start(permute, without_it, is_first_try)) {
		without_it = false;
		if (images_budget == 0)
			start_was_cut();
		else if (fault_hits())
			without_it = start_failed(is_first_try);
		else
			return false;
		is_first_try = false;
	}
	images_budget = FOREVER;
	fault_forget();
	return true;
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
		split_meddle();
	}
	judge_keep_image();
	/* Where blank leaves stand, nobody can tell them from each other. */
	permute &= !memchr(life.is_blank, true, sizeof(life.is_blank));
	if (!start(permute)) {
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
	flatten_watch();
	judge_labels();
	past_started();
	choose_faults();
	engine_begin(backend.engine);
	return true;
}

static void stop_failed(const struct err *err)
{
	bool is_cut = images_budget == 0;

	/* A leaf that has failed a flush fails those of unload() too; one that hangs is asked nothing. */
	if (!is_cut && !backend.has_lost && !backend_hung() && !fault_hits() && life.lies != LIES_ANY)
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

static void end_life(bool may_crash)
{
	unsigned how = may_crash ? random_below(3) : 2;
	const struct engine_stats *stats = engine_stats(backend.engine);
	struct err err = { 0 };

	life.was_stopped = how == 2;
	totals.resumed += stats->resumed;
	totals.held += stats->held;
	totals.put_off += stats->put_off;
	totals.merged += stats->merged;
	totals.records += stats->requests[IO_RECORD];
	if (how == 2) {
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
		judge_legs();
		past_judge();
		meddle_find_spares();
		model_upheavals += life.faults_before != model_faults; /* read errors are forgotten */
		totals.stops++;
		meddle_note_stop();
		images_budget = random_one_in(6) ? 1 + random_below(60) : FOREVER;
		fault_choose(false);
		if (lifetime_stop(life.tree, &err) < 0)
			stop_failed(&err);
		backend_land_late();
		life.was_stopped &= !fault_hits(); /* or it may be without a leaf */
		fault_forget();
		images_budget = FOREVER;
		err_finish(&err);
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
	engine_close(backend.engine);
	tree_destroy(life.tree);
	if (how == 2 && random_one_in(4)) {
		images_cut(); /* what was stopped is durable */
		model_crash(true);
	}
}

static void live(void)
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
			past_ask();
			done++;
		} else {
			backend_end_one();
			if (life.document.has_timeout && random_one_in(60))
				meddle_take_back();
		}
	}
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
	if (life.document.has_timeout)
		life.lies = LIES_NONE; /* nobody follows bytes through the slots of watch.c */
	life.has_metadata = life.document.has_thin || life.document.has_shadow ||
			    strstr(life.document.text, "\"mirror\"");
	totals.liars += life.lies != LIES_NONE;
	life.scrubs = (seed * UINT64_C(0xd1342543de82ef95) >> 40) % 4 == 0;
	life.flattens = (seed * UINT64_C(0xd1342543de82ef95) >> 44) % 4 != 0;
	if (life.lies)
		sim_note("leaves lie about %s", life.lies == LIES_DATA ? "data" : "anything");
}

/* The same of a thin's room. */
static bool is_tight_seed(uint64_t seed)
{
	return (seed * UINT64_C(0x1d8e4e27c47d124f) >> 32) % 4 == 0;
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
	document_make(&life.document,
		&(struct wishes){
			.room = life.grows ? GROW_ROOM : 0,
			.is_tight = is_tight_seed(seed),
			.has_slow = (seed * UINT64_C(0xc2b2ae3d27d4eb4f) >> 35) % 4 == 0,
			.has_timeout = (seed * UINT64_C(0x9e6c63d0876a9a47) >> 33) % 4 == 0,
			.has_spares = (seed * UINT64_C(0x94d049bb133111eb) >> 33) % 3 == 0,
		});
	sim_note("%s", life.document.text);
	choose_lies(seed);
	life.snapshots &= life.document.has_thin && life.lies == LIES_NONE;
	life.has_faulty_starts = fault_is_seed(seed);
	life.may_replace = (seed * UINT64_C(0xbf58476d1ce4e5b9) >> 32) % 3 == 0;
	life.adds = false;
	memset(life.is_blank, 0, sizeof(life.is_blank));
	grow_prepare();
	flatten_prepare();
	split_begin(seed);
	lives = 1 + random_below(sim_caps.lives);
	for (i = 0; i < lives && begin_life(); i++) {
		live();
		end_life(true);
	}
	if (i == lives && begin_life())
		end_life(false);
	model_close();
	past_finish();
	split_end();
	images_forget();
	for (i = 0; i < life.document.leaf_count; i++) {
		meddle_path(i, life.is_hidden[i] ? ".away" : "", path);
		(void)unlink(path);
	}
	memset(life.is_hidden, 0, sizeof(life.is_hidden));
	memset(backend.images, 0, sizeof(backend.images));
	document_finish(&life.document);
	grow_finish();
	totals.seeds++;
}
