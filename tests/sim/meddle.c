// SPDX-License-Identifier: MIT
/* Who may fail, be taken away, replaced by an older copy, or rot, between two lives. */
#include "../../targets/mirror.h"
#include "sim.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static bool is_spare[IMAGES_MAX];
static bool stood_by[IMAGES_MAX]; /* as a spare, when the last life ended */
static bool has_restored; /* an older copy, since then */
static bool has_meddled; /* since that was found */
static uint64_t saved_life[IMAGES_MAX];
static bool was_written[IMAGES_MAX]; /* the last clean stop wrote both copies of its label */

/* Of each mirror at least one leg, and all that no mirror guards, never fail. */
static void guard(const struct node *node)
{
	unsigned i;

	if (node->leaf) {
		backend.guarded[node->leaf->place] = true;
	} else if (node->type->redundant) {
		i = random_below(node->child_count);
		while (node->children[i]->failed || node->children[i]->spare) /* in the first start */
			i = (i + 1) % node->child_count;
		guard(node->children[i]);
	} else {
		for (i = 0; i < node->child_count; i++)
			guard(node->children[i]);
	}
}

void meddle_choose_guards(void)
{
	unsigned mode = random_below(4), i;

	memset(backend.guarded, mode == 0, sizeof(backend.guarded));
	life.is_guarded = mode < 3;
	for (i = 0; i < life.tree->node_count; i++) /* the first start has lost a leg already */
		life.is_guarded &= !life.tree->nodes[i]->failed && !life.tree->nodes[i]->rebuilding;
	if (mode == 1 || mode == 2)
		guard(life.tree->root);
	model_is_redundant = false;
	for (i = 0; i < life.tree->node_count; i++)
		model_is_redundant |= life.tree->nodes[i]->type->redundant;
}

void meddle_path(unsigned place, const char *suffix, char path[300])
{
	(void)snprintf(path, 300, "%s/leaf%02u%s", sim_directory, place, suffix);
}

static void hide(unsigned place, bool away)
{
	char here[300], there[300];

	if (!away)
		hardship_lengthen(place);
	meddle_path(place, away ? "" : ".away", here);
	meddle_path(place, away ? ".away" : "", there);
	if (rename(here, there) < 0)
		sim_fail("%s: %s", here, strerror(errno));
	life.is_hidden[place] = away;
	has_meddled = true;
	totals.hidden += away;
	model_upheavals++; /* another leg is read */
	sim_note("leaf %u is %s", place, away ? "taken away" : "brought back");
	if (away)
		hardship_shorten(place);
}

/* It is lost for good, and there is a new one. */
static void replace(unsigned place)
{
	char path[300];
	int fd;

	hide(place, false);
	meddle_path(place, "", path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		sim_fail("%s: %s", path, strerror(errno));
	image_blank(image_of_fd(fd));
	close(fd);
	was_written[place] = false;
	life.is_blank[place] = life.adds = true;
	totals.replaced++;
	sim_note("leaf %u is a blank one", place);
}

/* Whether a node has all it needs: no leaf that missed something or isn't there. */
static bool is_whole(const struct node *node)
{
	unsigned i, whole = 0;

	if (node->failed || node->rebuilding || node->spare)
		return false;
	if (node->leaf)
		return node->leaf->fd >= 0 && !backend.dead[node->leaf->place];
	for (i = 0; i < node->child_count; i++)
		whole += is_whole(node->children[i]);
	return whole == node->child_count - node->spare_count;
}

bool meddle_has_guarded(const struct node *node)
{
	unsigned i;

	if (node->leaf)
		return backend.guarded[node->leaf->place];
	for (i = 0; i < node->child_count; i++)
		if (meddle_has_guarded(node->children[i]))
			return true;
	return false;
}

void meddle_keep_guarded(void)
{
	struct tree *tree = life.tree;
	unsigned i, j;

	if (!memchr(backend.guarded, false, tree->leaf_count))
		return; /* nobody ever fails */
	for (i = 0; i < tree->node_count; i++) {
		struct node *node = tree->nodes[i];
		struct mirror *mirror = node->state;

		for (j = 0; node->type->redundant && j < node->child_count; j++)
			if (meddle_has_guarded(node->children[j]))
				mirror->legs[j].behind_after = FOREVER;
	}
}

/*
 * Whether the leaf may be lost without harm: somewhere above there is another leg that is whole,
 * and what may be given up with it, since nobody can vouch for it any more, is no leg that never
 * fails.
 */
static bool find_spare(const struct leaf *leaf)
{
	const struct node *node, *leg = NULL; /* of the topmost mirror above */
	unsigned i, mirrors = 0;
	bool has_other = false;

	for (node = leaf->node; node->parent; node = node->parent) {
		if (!node->parent->type->redundant)
			continue;
		leg = node;
		mirrors++;
		for (i = 0; i < node->parent->child_count; i++)
			has_other |= i != node->place && is_whole(node->parent->children[i]);
	}
	return has_other && !backend.guarded[leaf->place] && !split_is_alone(leaf->place) && (mirrors == 1 || !meddle_has_guarded(leg));
}

bool meddle_is_spare(unsigned place)
{
	return is_spare[place] && !has_meddled;
}

void meddle_find_spares(void)
{
	unsigned place;

	has_meddled = has_restored = false;
	for (place = 0; place < life.tree->leaf_count; place++) {
		is_spare[place] = find_spare(life.tree->leaves[place]);
		stood_by[place] = leaf_peer_state(life.tree->leaves[place]) == LABEL_PEER_SPARE;
	}
}

bool meddle_misses_only_spares(void)
{
	unsigned place;

	for (place = 0; place < life.document.leaf_count; place++)
		if (life.is_hidden[place] && (!stood_by[place] || hardship_is_short(place)))
			return false;
	return life.was_stopped && !has_restored && meddle_is_degraded();
}

void meddle_note_stop(void)
{
	const struct node *node;
	unsigned place;

	hardship_note_stop();
	for (place = 0; place < life.tree->leaf_count; place++) {
		const struct leaf *leaf = life.tree->leaves[place];

		was_written[place] = leaf->fd >= 0 && leaf->labelled;
		for (node = leaf->node; node; node = node->parent)
			was_written[place] &= !node->failed;
	}
}

/*
 * One bit of one copy of a label: the other copy says the same after a clean stop, if that stop has
 * written them. A leaf that is not used keeps its rot: a second bit could hit the other copy.
 */
static void rot_label(void)
{
	unsigned place = random_below(life.document.leaf_count);
	struct image *image = backend.images[place];
	uint64_t at = random_below(2) * LABEL_COPY_STRIDE + random_below(2 * LABEL_BLOCK);
	char bit = (char)(1 << random_below(8));

	if (!image || life.is_hidden[place] || !life.was_stopped ||
		!was_written[place])
		return;
	was_written[place] = false;
	if (hardship_rots(place))
		return;
	image->view[at] ^= bit;
	image->durable[at] ^= bit;
	totals.rotten++;
	model_upheavals++;
	sim_note("leaf %u has a wrong bit at %llu", place, (unsigned long long)at);
}

/*
 * Between two lives: one leaf that no request depends on is copied, replaced by such a copy from
 * before the last start, or taken away; what was taken away is brought back.
 */
void meddle(void)
{
	unsigned place = random_below(life.document.leaf_count), i;
	struct image *image = backend.images[place];

	for (i = 0; i < life.document.leaf_count; i++)
		if (life.may_replace && life.is_hidden[i] && random_one_in(3))
			replace(i);
		else if (life.is_hidden[i] && random_one_in(2))
			hide(i, false);
	if (random_one_in(life.is_hard ? 3 : 8)) {
		rot_label();
		return;
	}
	if (!life.is_guarded || !is_spare[place] || life.is_hidden[place] || !image)
		return;
	switch (random_below(4)) {
	case 0:
		hide(place, true);
		break;
	case 1:
		if (!image->saved || saved_life[place] == totals.lives)
			break;
		sim_note("leaf %u is put back", place);
		totals.restored++;
		model_upheavals++;
		has_meddled = has_restored = true;
		image_restore(image);
		break;
	default:
		image_save(image);
		saved_life[place] = totals.lives;
	}
}

bool meddle_is_degraded(void)
{
	unsigned place;

	for (place = 0; place < life.document.leaf_count; place++)
		if (life.is_hidden[place])
			return true;
	return false;
}
