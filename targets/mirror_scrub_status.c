// SPDX-License-Identifier: MIT
/* mirror: what a scrub says of itself in the status. Any thread, so that a number may be of a moment ago. */
#include "mirror.h"

#include <json-c/json_object.h>

static const char *const state_names[] = {
	[SCRUB_NONE] = "never",
	[SCRUB_RUNNING] = "running",
	[SCRUB_DONE] = "done",
	[SCRUB_STOPPED] = "stopped",
};

static void add_number(struct json_object *out, const char *key, uint64_t number)
{
	json_object_object_add(out, key, json_object_new_uint64(number));
}

static struct json_object *range_status(const struct node *node, const struct difference *range)
{
	struct json_object *out = json_object_new_object(), *legs = json_object_new_array();
	unsigned i;

	for (i = 0; i < node->child_count; i++)
		if (range->wrong & 1u << i)
			json_object_array_add(legs, json_object_new_string(node->children[i]->id));
	add_number(out, "offset", range->offset);
	add_number(out, "length", range->length);
	json_object_object_add(out, "legs", legs);
	json_object_object_add(out, "verdict",
		json_object_new_string(range->is_decided ? "wrong" : "undecided"));
	return out;
}

/* Bytes that differ in ranges that were too many to be listed. */
static uint64_t unlisted(const struct scrub *scrub, unsigned count)
{
	uint64_t listed = 0;
	unsigned i;

	for (i = 0; i < count; i++)
		listed += scrub->found[i].length;
	return scrub->differing > listed ? scrub->differing - listed : 0;
}

void mirror_scrub_progress(const struct node *node, struct json_object *out)
{
	const struct mirror *mirror = node->state;
	struct json_object *progress;

	if (mirror->scrub.state != SCRUB_RUNNING)
		return;
	progress = json_object_new_object();
	json_object_object_add(progress, "what", json_object_new_string("scrub"));
	add_number(progress, "done", __atomic_load_n(&mirror->scrub.done, __ATOMIC_RELAXED));
	add_number(progress, "total", mirror->size);
	add_number(progress, "rate", __atomic_load_n(&mirror->work.rate, __ATOMIC_RELAXED));
	json_object_object_add(out, "progress", progress);
}

void mirror_scrub_status(const struct node *node, struct json_object *out)
{
	const struct mirror *mirror = node->state;
	const struct scrub *scrub = &mirror->scrub;
	unsigned count = __atomic_load_n(&scrub->found_count, __ATOMIC_ACQUIRE), i;
	struct json_object *status, *ranges;

	if (scrub->state == SCRUB_NONE)
		return;
	status = json_object_new_object();
	ranges = json_object_new_array();
	json_object_object_add(status, "state", json_object_new_string(state_names[scrub->state]));
	add_number(status, "done", __atomic_load_n(&scrub->done, __ATOMIC_RELAXED));
	add_number(status, "total", mirror->size);
	add_number(status, "looked_again", scrub->looked_again);
	add_number(status, "skipped", scrub->skipped);
	add_number(status, "unreadable", scrub->unreadable);
	add_number(status, "differing", scrub->differing);
	add_number(status, "undecided", scrub->undecided);
	add_number(status, "unlisted", unlisted(scrub, count));
	add_number(status, "repaired", scrub->repaired);
	for (i = 0; i < count; i++)
		json_object_array_add(ranges, range_status(node, &scrub->found[i]));
	json_object_object_add(status, "ranges", ranges);
	json_object_object_add(out, "scrub", status);
}
