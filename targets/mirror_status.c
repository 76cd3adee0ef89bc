// SPDX-License-Identifier: MIT
/* mirror: what it says of its legs, and of its background, in the status. Any thread, so that a number may be of a moment ago. */
#include "mirror.h"

#include <json-c/json_object.h>

static const char *const state_names[] = {
	[LEG_IN_SYNC] = "in_sync",
	[LEG_JOINING] = "rebuilding",
	[LEG_LEAVING] = "behind", /* labels may call it so already */
	[LEG_REBUILDING] = "rebuilding",
	[LEG_SPARE] = "spare",
	[LEG_FAILED] = "failed",
};

static const char *state_name(const struct mirror *mirror, unsigned place)
{
	const struct leg *leg = &mirror->legs[place];

	if (mirror_leg_is_slow(mirror, place))
		return "slow";
	if (__atomic_load_n(&leg->is_behind, __ATOMIC_RELAXED))
		return "behind";
	if (leg->state == LEG_SPARE && leg->replaces == LEG_REPLACED)
		return "replaced";
	return state_names[leg->state];
}

static void add_number(struct json_object *out, const char *key, uint64_t number)
{
	json_object_object_add(out, key, json_object_new_uint64(number));
}

void mirror_work_status(const struct node *node, struct json_object *out)
{
	const struct mirror *mirror = node->state;
	const struct work *work = &mirror->work;
	struct json_object *states = json_object_new_array(), *progress;
	uint64_t size = mirror->region_size;
	bool is_behind = false; /* what is to be copied is that, which comes and goes */
	unsigned i, todo = __atomic_load_n(&mirror->todo_count, __ATOMIC_RELAXED);

	for (i = 0; i < node->child_count; i++) {
		json_object_array_add(states, json_object_new_string(state_name(mirror, i)));
		is_behind |= __atomic_load_n(&mirror->legs[i].is_behind, __ATOMIC_RELAXED);
	}
	json_object_object_add(out, "leg_states", states);
	mirror_slow_status(node, out);
	mirror_behind_status(node, out);
	add_number(out, "region_size", size);
	add_number(out, "regions", mirror->region_count);
	add_number(out, "regions_dirty", __atomic_load_n(&mirror->dirty_count, __ATOMIC_RELAXED));
	add_number(out, "regions_to_copy", todo);
	add_number(out, "unreadable", work->unreadable);
	mirror_scrub_status(node, out);
	if (todo == 0 || is_behind || mirror_legs_used(node) < 2) {
		mirror_scrub_progress(node, out);
		return;
	}
	progress = json_object_new_object();
	json_object_object_add(progress, "what", json_object_new_string("resync"));
	add_number(progress, "done", work->total > todo ? (work->total - todo) * size : 0);
	add_number(progress, "total", work->total * size);
	add_number(progress, "rate", work->rate);
	json_object_object_add(out, "progress", progress);
}
