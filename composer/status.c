// SPDX-License-Identifier: MIT
/* The status of a live device as JSON. It knows nodes and counters, no type's own members. */
#include "status.h"

#include <json-c/json_object.h>
#include <string.h>

static void add_text(struct json_object *out, const char *key, const char *text)
{
	json_object_object_add(out, key, json_object_new_string(text));
}

static void add_number(struct json_object *out, const char *key, uint64_t number)
{
	json_object_object_add(out, key, json_object_new_uint64(number));
}

static void add_boolean(struct json_object *out, const char *key, bool value)
{
	json_object_object_add(out, key, json_object_new_boolean(value));
}

static uint64_t counter(const uint64_t *value)
{
	return __atomic_load_n(value, __ATOMIC_RELAXED);
}

/* The members that every node has; names of limits are those of the document and of sysfs. */
static void add_limits(struct json_object *out, const struct limits *limits)
{
	add_number(out, "size", limits->size);
	add_number(out, "logical_block_size", limits->logical_block_size);
	add_number(out, "physical_block_size", limits->physical_block_size);
	add_number(out, "io_min", limits->io_min);
	add_number(out, "io_opt", limits->io_opt);
	add_number(out, "discard_granularity", limits->discard_granularity);
	add_number(out, "zeroes_granularity", limits->zeroes_granularity);
	add_boolean(out, "rotational", limits->rotational);
	add_boolean(out, "read_only", limits->read_only);
}

/* What create would do with a leaf that is probed and assembled. */
static const char *leaf_action(const struct leaf *leaf)
{
	if (leaf->is_removed)
		return "removed";
	if (leaf->problem)
		return "missing";
	if (leaf->node->failed)
		return "left_out";
	if (!leaf->labelled)
		return leaf->exists ? "raw" : "make_raw";
	if (!leaf->exists)
		return "make";
	return leaf->todo >= LEAF_FORMAT ? "format" : "recognised";
}

static void add_leaf(struct json_object *out, const struct leaf *leaf, bool is_live)
{
	add_text(out, "path", leaf->path ? leaf->path : "");
	add_boolean(out, "label", leaf->labelled);
	if (leaf->labelled)
		add_number(out, "generation", counter(&leaf->label.generation));
	add_number(out, "data_offset", leaf->data_offset);
	if (!is_live) {
		add_text(out, "action", leaf_action(leaf));
		return;
	}
	add_number(out, "sub_ios", counter(&leaf->sub_ios));
	add_number(out, "errors", counter(&leaf->errors));
	if (leaf->timeout_ms) {
		add_boolean(out, "hung", leaf_is_hung(leaf));
		add_number(out, "late", leaf_late(leaf));
	}
}

static struct json_object *node_make(const struct node *node, bool is_live)
{
	struct json_object *out = json_object_new_object();
	struct json_object *children;
	unsigned i;

	add_text(out, "id", node->id);
	add_text(out, "type", node->type->name);
	add_number(out, "size", node->limits.size);
	add_boolean(out, "failed", __atomic_load_n(&node->failed, __ATOMIC_RELAXED));
	if (__atomic_load_n(&node->spare, __ATOMIC_RELAXED))
		add_boolean(out, "spare", true);
	if (node->removed)
		add_boolean(out, "removed", true);
	add_boolean(out, "unclean", node->unclean);
	add_number(out, "unused", node->unused);
	if (node->leaf)
		add_leaf(out, node->leaf, is_live);
	if (node->type->status)
		node->type->status(node, out);
	if (node->child_count == 0)
		return out;
	children = json_object_new_array();
	for (i = 0; i < node->child_count; i++)
		json_object_array_add(children, node_make(node->children[i], is_live));
	json_object_object_add(out, "children", children);
	return out;
}

static struct json_object *by_kind(const uint64_t *counters)
{
	static const enum io_kind kinds[] = { IO_READ, IO_WRITE, IO_WRITE_ZEROES, IO_DISCARD,
		IO_FLUSH }; /* the others never come from the kernel */
	struct json_object *out = json_object_new_object();
	unsigned i;

	for (i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		char key[32], *dash;

		snprintf(key, sizeof(key), "%s", io_kind_name(kinds[i]));
		dash = strchr(key, '-');
		if (dash)
			*dash = '_'; /* as all keys are written */
		add_number(out, key, counters[kinds[i]]);
	}
	return out;
}

static struct json_object *counters_make(const struct engine_stats *stats)
{
	struct json_object *out = json_object_new_object();

	json_object_object_add(out, "requests", by_kind(stats->requests));
	json_object_object_add(out, "bytes", by_kind(stats->bytes));
	add_number(out, "linked", stats->linked);
	add_number(out, "gathered", stats->gathered);
	add_number(out, "passed", stats->passed);
	add_number(out, "unlinked", stats->unlinked);
	add_number(out, "restarted", stats->restarted);
	add_number(out, "sub_ios", stats->sub_ios);
	add_number(out, "merged", stats->merged);
	add_number(out, "held", stats->held);
	add_number(out, "resumed", stats->resumed);
	add_number(out, "self_ops", stats->selfs);
	add_number(out, "works", stats->works);
	add_number(out, "errors", stats->errors);
	return out;
}

static uint64_t uptime_ms(const struct timespec *started)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now); /* can't fail with this clock */
	return (uint64_t)((now.tv_sec - started->tv_sec) * 1000 +
			  (now.tv_nsec - started->tv_nsec) / 1000000);
}

static bool is_degraded(const struct tree *tree)
{
	unsigned i;

	for (i = 0; i < tree->node_count; i++)
		if (__atomic_load_n(&tree->nodes[i]->failed, __ATOMIC_RELAXED) &&
			!__atomic_load_n(&tree->nodes[i]->spare, __ATOMIC_RELAXED))
			return true;
	return false;
}

static void add_facts(
	struct json_object *out, const struct tree *tree, const struct status_facts *facts)
{
	add_number(out, "id", facts->id);
	add_text(out, "path", facts->path);
	add_text(out, "driver", facts->driver);
	add_text(out, "state", is_degraded(tree) ? "degraded" : "running");
	add_number(out, "pid", (uint64_t)facts->pid);
	add_number(out, "uptime_ms", uptime_ms(&facts->started));
	add_number(out, "memory", facts->memory);
	json_object_object_add(out, "counters", counters_make(&facts->stats));
}

struct json_object *status_make(const struct tree *tree, const struct status_facts *facts)
{
	struct json_object *out = json_object_new_object();

	add_text(out, "name", tree->name);
	if (facts)
		add_facts(out, tree, facts);
	else
		add_text(out, "driver", driver_name(tree->device.driver));
	add_limits(out, &tree->root->limits);
	add_number(out, "queues", tree->device.queues);
	add_number(out, "queue_depth", tree->device.queue_depth);
	add_number(out, "max_io_size", tree->device.max_io_size);
	add_text(out, "fan_out", fan_out_name(tree->device.fan_out));
	json_object_object_add(out, "root", node_make(tree->root, facts != NULL));
	return out;
}
