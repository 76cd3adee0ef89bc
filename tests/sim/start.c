// SPDX-License-Identifier: MIT
/* A device's start, tried again and again: as the power goes while it does, as a leaf fails in it. */
#include "sim.h"

#include "lifetime.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* What `examine` shows of the leaf there. False: no label. */
static bool read_label(unsigned place, struct label *label)
{
	char path[300], why[300];
	bool result = false;
	int fd;

	meddle_path(place, "", path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	result = label_read(fd, (uint64_t)lseek(fd, 0, SEEK_END), label, why, sizeof(why)) ==
		 LABEL_FOUND;
	close(fd);
	return result;
}

bool start_stands_by(unsigned place)
{
	struct label label = { 0 };
	bool result = read_label(place, &label) &&
		      label.peers[label.place].state == LABEL_PEER_SPARE;

	label_finish(&label);
	return result;
}

/* As a leg that is to be taken back is once more if the power went while it was. */
static bool is_given_up(unsigned place)
{
	struct label label = { 0 };
	bool result = read_label(place, &label) && label.flags & LABEL_GIVEN_UP;

	label_finish(&label);
	return result;
}

static bool may_be_preferred(unsigned place)
{
	return !life.is_hidden[place] && !life.is_blank[place] && !life.document.is_raw[place] &&
	       !start_stands_by(place) && !split_is_alone(place) && !is_given_up(place);
}

/*
 * Where nobody is left to say what a leg missed, a user would be asked. He knows: no leg is taken
 * away that is the last to have everything, and who was given up says so.
 */
static int start_with_a_word(const char *text, struct assemble_options options, struct err *err)
{
	char names[IMAGES_MAX][300];
	const char *prefer[IMAGES_MAX];
	unsigned place;

	sim_note("asked: %s", err->text);
	err_finish(err);
	totals.asked++;
	remove_forget();
	options.prefer = prefer;
	for (place = 0; place < life.document.leaf_count; place++)
		if (may_be_preferred(place)) {
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
	remove_choose(&options);
	result = start_once(text, &options, &err);
	if (result < 0 && !fault_hits() && err.text && strstr(err.text, "nobody is left to say"))
		result = start_with_a_word(text, options, &err);
	if (result < 0 && (grow_is_refused(&err) || remove_is_refused(&err))) {
		sim_note("doesn't grow, or removes nothing: %s", err.text);
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
	if (result == 0)
		remove_started(&options);
	free(text);
	err_finish(&err);
	return result == 0;
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
		requests_forget(); /* as the model does */
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
	requests_forget(); /* who waited for the disk is gone as well */
	images_budget = random_one_in(2) ? 1 + random_below(100) : FOREVER;
	fault_choose(false);
}

bool start_device(bool permute)
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
