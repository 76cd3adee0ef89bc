// SPDX-License-Identifier: MIT
/*
 * Verbs on a live mirror. They change states; what follows from that is the background's work.
 *
 *	fail {"leg": ID}	the leg is given up, as if a write to it had failed
 *	add {"leg": ID}		a leg that failed since the start is taken in again, and brought up to date
 */
#include "mirror.h"

#include <json-c/json_object.h>
#include <string.h>

static const char *const state_words[] = {
	[LEG_IN_SYNC] = "in sync",
	[LEG_JOINING] = "being brought up to date",
	[LEG_REBUILDING] = "being brought up to date",
	[LEG_FAILED] = "failed",
};

/* The leg that the arguments name. -1 with a message. */
static int find_leg(const struct node *node, const struct json *arguments, struct err *err)
{
	const char *id = json_get_string(arguments, "leg", "");
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

	if (leg->state != LEG_FAILED)
		return err_add(err, "mirror %s: leg %s is %s; only a failed one can be added",
			node->id, child->id, state_words[leg->state]);
	if (!leg->was_used)
		return err_add(err,
			"mirror %s: leg %s was not there when the device was started; stop and create it "
			"with all its legs",
			node->id, child->id);
	leg->state = LEG_REBUILDING;
	leg->read_errors = leg->repaired = 0;
	__atomic_store_n(&child->rebuilding, true, __ATOMIC_RELAXED);
	__atomic_store_n(&child->failed, false, __ATOMIC_RELAXED);
	mirror->work.wants_super = true;
	mirror->work.pass++;
	mirror_find_todo(node);
	return 0;
}

int mirror_command(struct node *node, const char *verb, const struct json *arguments,
	struct json_object *answer, struct err *err)
{
	struct mirror *mirror = node->state;
	int place, result;

	if (strcmp(verb, "fail") != 0 && strcmp(verb, "add") != 0)
		return err_add(err, "mirror %s knows no \"%s\"; it knows fail and add", node->id, verb);
	place = find_leg(node, arguments, err);
	if (place < 0)
		return -1;
	result = !strcmp(verb, "fail") ? fail_leg(node, (unsigned)place, err)
				       : add_leg(node, (unsigned)place, err);
	if (result == 0)
		json_object_object_add(answer, "leg_state",
			json_object_new_string(state_words[mirror->legs[place].state]));
	return result;
}
