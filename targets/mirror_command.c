// SPDX-License-Identifier: MIT
/*
 * Verbs on a live mirror. They change states; what follows from that is the background's work.
 *
 *	fail {"leg": ID}	the leg is given up, as if a write to it had failed
 *	add {"leg": ID}		a leg that failed since the start is taken in again, and brought up to date;
 *				or stands by, if a spare has taken its place
 *	remove {"leg": ID}	a leg that isn't used won't be any more in this life, so that the next one can leave it out
 *	replace {"leg": ID, "with": ID}
 *				a spare, the first that stands by if none is named, is brought up to date and then
 *				takes the place of a leg in sync (mirror_replace.c)
 *	scrub {"repair": BOOL, "believe": ID, "rate": SIZE}
 *				all legs are compared; where it is decided who is right, the others are
 *				written if that is asked for
 *	stop-scrub {}
 */
#include "mirror.h"

#include <json-c/json_object.h>
#include <string.h>

static const char *const state_words[] = {
	[LEG_IN_SYNC] = "in sync",
	[LEG_JOINING] = "being brought up to date",
	[LEG_LEAVING] = "being put behind",
	[LEG_REBUILDING] = "being brought up to date",
	[LEG_SPARE] = "standing by",
	[LEG_FAILED] = "failed",
};

static const char *state_word(const struct mirror *mirror, unsigned place)
{
	const struct leg *leg = &mirror->legs[place];

	if (leg->state == LEG_SPARE && leg->replaces == LEG_REPLACED)
		return "replaced";
	return state_words[leg->state];
}

/* The leg that the arguments name under that key. -1 with a message. */
static int find_leg(
	const struct node *node, const struct json *arguments, const char *key, struct err *err)
{
	const struct json *name = json_get(arguments, key);
	const char *id = name && json_kind(name) == JSON_STRING ? json_string(name) : "";
	unsigned i;

	for (i = 0; i < node->child_count; i++)
		if (!strcmp(node->children[i]->id, id))
			return (int)i;
	return err_add(err, "mirror %s: \"%s\" is none of its legs", node->id, id);
}

static int fail_leg(struct node *node, unsigned place, struct err *err)
{
	struct mirror *mirror = node->state;
	enum leg_state state = mirror->legs[place].state;
	const char *id = node->children[place]->id;

	if (state == LEG_FAILED)
		return err_add(err, "mirror %s: leg %s has failed already", node->id, id);
	if (mirror_fail(node, place))
		mirror->work.wants_record = true;
	else if (mirror_leg_is_used(mirror, place))
		return err_add(err, "mirror %s: leg %s is the only one in sync, and can't be failed",
			node->id, id);
	return 0;
}

static int add_leg(struct node *node, unsigned place, struct err *err)
{
	struct mirror *mirror = node->state;
	struct leg *leg = &mirror->legs[place];
	struct node *child = node->children[place];

	if (leg->state != LEG_FAILED &&
		!(leg->state == LEG_SPARE && leg->replaces == LEG_REPLACED))
		return err_add(err,
			"mirror %s: leg %s is %s; only one that has failed, or was replaced, can be added",
			node->id, child->id, state_word(mirror, place));
	if (!leg->was_used)
		return err_add(err,
			"mirror %s: leg %s was not used when the device was started; stop and create it "
			"with all its legs",
			node->id, child->id);
	if (!child_flushes(child))
		return err_add(err,
			"mirror %s: leg %s has failed a flush, and none of it is believed any more: it comes "
			"back when the device is started again",
			node->id, child->id);
	if (!child_rejoins(child))
		return err_add(err,
			"mirror %s: leg %s hangs: what it had under way has not ended yet; it can be added "
			"when that has",
			node->id, child->id);
	if (!child->spare) {
		mirror_take_in(node, place);
		return 0;
	}
	leg->state = LEG_SPARE; /* its place was taken: it stands by */
	mirror->work.wants_super |= leg->replaces == LEG_REPLACED; /* so that it still does after a restart */
	leg->replaces = 0;
	__atomic_store_n(&child->failed, false, __ATOMIC_RELAXED);
	return 0;
}

/* A spare among them is not taken in from now on, which might happen before the next daemon is there. */
static int remove_leg(struct node *node, unsigned place, struct err *err)
{
	struct mirror *mirror = node->state;
	struct leg *leg = &mirror->legs[place];

	if (mirror_leg_is_used(mirror, place))
		return err_add(err,
			"mirror %s: leg %s is %s; only one that has failed, or stands by, can be removed: `fail` it first",
			node->id, node->children[place]->id, state_word(mirror, place));
	leg->state = LEG_FAILED;
	leg->was_used = false;
	__atomic_store_n(&node->children[place]->failed, true, __ATOMIC_RELAXED);
	return 0;
}

static int change_leg(struct node *node, const char *verb, const struct json *arguments,
	struct json_object *answer, struct err *err)
{
	struct mirror *mirror = node->state;
	int place = find_leg(node, arguments, "leg", err), result;

	if (place < 0)
		return -1;
	mirror_stop_replacing(node); /* who failed just now may have to stand by: the background has not seen it yet */
	result = !strcmp(verb, "add")	   ? add_leg(node, (unsigned)place, err)
		 : !strcmp(verb, "remove") ? remove_leg(node, (unsigned)place, err)
					   : fail_leg(node, (unsigned)place, err);
	if (result == 0)
		json_object_object_add(answer, "leg_state",
			json_object_new_string(state_word(mirror, (unsigned)place)));
	return result;
}

/* The leg that is to take another's place. -1 with a message. */
static int find_replacement(
	const struct node *node, const struct json *arguments, struct err *err)
{
	const struct mirror *mirror = node->state;
	unsigned first = mirror_standing_by(node);
	int named;

	if (!node->spare_count)
		return err_add(err,
			"mirror %s: its document has no \"spares\": one of them takes the place of a leg that is "
			"replaced",
			node->id);
	if (!json_get(arguments, "with")) {
		if (first == node->child_count)
			return err_add(err, "mirror %s: none of its %u spares stands by", node->id,
				node->spare_count);
		return (int)first;
	}
	named = find_leg(node, arguments, "with", err);
	if (named >= 0 && (mirror->legs[named].state != LEG_SPARE || mirror->legs[named].replaces))
		return err_add(err,
			"mirror %s: leg %s is %s; only a spare that stands by can take a leg's place",
			node->id, node->children[named]->id, state_word(mirror, (unsigned)named));
	return named;
}

static int replace_leg(struct node *node, const struct json *arguments,
	struct json_object *answer, struct err *err)
{
	const struct mirror *mirror = node->state;
	int place = find_leg(node, arguments, "leg", err), spare;
	const struct node *leg;
	unsigned by;

	if (place < 0)
		return -1;
	leg = node->children[place];
	if (mirror->legs[place].state != LEG_IN_SYNC)
		return err_add(err, "mirror %s: leg %s is %s; only one in sync can be replaced",
			node->id, leg->id, state_word(mirror, (unsigned)place));
	by = mirror_replacement_of(node, (unsigned)place);
	if (by < node->child_count)
		return err_add(err, "mirror %s: leg %s is being replaced by %s already", node->id,
			leg->id, node->children[by]->id);
	spare = find_replacement(node, arguments, err);
	if (spare < 0)
		return -1;
	mirror_replace(node, (unsigned)place, (unsigned)spare);
	json_object_object_add(
		answer, "by", json_object_new_string(node->children[spare]->id));
	return 0;
}

static int begin_scrub(struct node *node, const struct json *arguments, struct err *err)
{
	const struct json *repair = json_get(arguments, "repair"), *rate = json_get(arguments, "rate");
	struct scrub_wish wish = { .believed = LEGS_MAX };
	int believed;

	if (repair && json_kind(repair) != JSON_BOOLEAN)
		return err_add(err, "mirror %s: scrub's \"repair\" is true or false", node->id);
	wish.repairs = repair && json_boolean(repair);
	if (rate && (json_kind(rate) != JSON_STRING ||
			    !json_parse_size(json_string(rate), &wish.rate) || wish.rate == 0))
		return err_add(err,
			"mirror %s: scrub's \"rate\" is bytes per second and a text, as \"10MiB\"",
			node->id);
	if (json_get(arguments, "believe")) {
		believed = find_leg(node, arguments, "believe", err);
		if (believed < 0)
			return -1;
		wish.believed = (unsigned)believed;
	}
	return mirror_scrub_begin(node, &wish, err);
}

int mirror_command(struct node *node, const char *verb, const struct json *arguments,
	struct json_object *answer, struct err *err)
{
	if (!strcmp(verb, "fail") || !strcmp(verb, "add") || !strcmp(verb, "remove"))
		return change_leg(node, verb, arguments, answer, err);
	if (!strcmp(verb, "replace"))
		return replace_leg(node, arguments, answer, err);
	if (!strcmp(verb, "scrub"))
		return begin_scrub(node, arguments, err);
	if (!strcmp(verb, "stop-scrub"))
		return mirror_scrub_stop(node, err);
	return err_add(err, "mirror %s knows no \"%s\"; it knows fail, add, remove, replace, scrub and stop-scrub", node->id,
		verb);
}
