// SPDX-License-Identifier: MIT
/* The status of a device as people read it: a header, and the tree as a drawing. */
#include "status.h"

#include <inttypes.h>
#include <langinfo.h>
#include <string.h>

#define PREFIX_MAX (TREE_DEPTH_MAX * 8)

struct lines {
	const char *branch, *last, *through, *blank;
};

static const struct lines utf8_lines = { "├─ ", "└─ ", "│  ", "   " };
static const struct lines ascii_lines = { "|- ", "`- ", "|  ", "   " };

const char *size_text(uint64_t bytes, char text[SIZE_TEXT_MAX])
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	unsigned unit = 0;
	uint64_t tenths;

	while (bytes >> (unit * 10) >= 1024)
		unit++;
	if (unit == 0 || bytes % (UINT64_C(1) << (unit * 10)) == 0) {
		snprintf(text, SIZE_TEXT_MAX, "%" PRIu64 " %s", bytes >> (unit * 10), units[unit]);
		return text;
	}
	tenths = (bytes >> ((unit - 1) * 10)) * 10 /
		 1024; /* rounded down: never more than there is */
	snprintf(text, SIZE_TEXT_MAX, "%" PRIu64 ".%u %s", tenths / 10, (unsigned)(tenths % 10),
		units[unit]);
	return text;
}

const char *status_state(const struct json *status)
{
	return json_get_string(status, "state", "?");
}

static void print_plan_head(const struct json *status, FILE *out)
{
	char size[SIZE_TEXT_MAX];
	uint64_t queues = json_get_unsigned(status, "queues", 0);
	uint64_t best = json_get_unsigned(status, "io_opt", 0);

	fprintf(out, "%s  %s%s\n", json_get_string(status, "name", "?"),
		size_text(json_get_unsigned(status, "size", 0), size),
		json_get_boolean(status, "read_only", false) ? "  read-only" : "");
	fprintf(out,
		"  %" PRIu64 " bytes in blocks of %" PRIu64 " (physical %" PRIu64
		"), best I/O from %" PRIu64,
		json_get_unsigned(status, "size", 0),
		json_get_unsigned(status, "logical_block_size", 0),
		json_get_unsigned(status, "physical_block_size", 0),
		json_get_unsigned(status, "io_min", 0));
	if (best)
		fprintf(out, " to %" PRIu64, best);
	fprintf(out, "\n");
	fprintf(out, "  driver %s, %" PRIu64 " queue%s of %" PRIu64 ", fan-out %s%s%s\n\n",
		json_get_string(status, "driver", "?"), queues, queues == 1 ? "" : "s",
		json_get_unsigned(status, "queue_depth", 0),
		json_get_string(status, "fan_out", "?"),
		json_get_unsigned(status, "discard_granularity", 0) ? ", discard" : "",
		json_get_unsigned(status, "zeroes_granularity", 0) ? ", write-zeroes" : "");
}

static void print_head(const struct json *status, FILE *out)
{
	char size[SIZE_TEXT_MAX], memory[SIZE_TEXT_MAX], uptime[SIZE_TEXT_MAX];
	uint64_t queues = json_get_unsigned(status, "queues", 0);

	fprintf(out, "%s  %s  %s%s  %s, %s for %s, pid %" PRIu64 "\n",
		json_get_string(status, "name", "?"), json_get_string(status, "path", "?"),
		size_text(json_get_unsigned(status, "size", 0), size),
		json_get_boolean(status, "read_only", false) ? "  read-only" : "",
		json_get_string(status, "driver", "?"), status_state(status),
		duration_text(json_get_unsigned(status, "uptime_ms", 0), uptime),
		json_get_unsigned(status, "pid", 0));
	fprintf(out,
		"  blocks of %" PRIu64 ", %" PRIu64 " queue%s of %" PRIu64
		", fan-out %s, memory %s\n",
		json_get_unsigned(status, "logical_block_size", 0), queues, queues == 1 ? "" : "s",
		json_get_unsigned(status, "queue_depth", 0),
		json_get_string(status, "fan_out", "?"),
		size_text(json_get_unsigned(status, "memory", 0), memory));
}

static void print_counters(const struct json *counters, FILE *out)
{
	const struct json *requests = json_get(counters, "requests");
	const struct json *bytes = json_get(counters, "bytes");
	char size[SIZE_TEXT_MAX];
	size_t i;

	for (i = 0; requests && i < json_count(requests); i++) {
		const char *kind = json_key_at(requests, i);
		uint64_t count = json_get_unsigned(requests, kind, 0);

		if (count == 0)
			continue;
		fprintf(out, "  %-12s %12" PRIu64 " requests", kind, count);
		if (strcmp(kind, "flush"))
			fprintf(out, " %12s", size_text(json_get_unsigned(bytes, kind, 0), size));
		fprintf(out, "\n");
	}
	fprintf(out, "  ");
	for (i = 0; i < json_count(counters); i++)
		if (json_kind(json_at(counters, i)) == JSON_INTEGER)
			fprintf(out, "%s%s %" PRIu64,
				json_at(counters, i) == json_get(counters, "linked") ? "" : ", ",
				json_key_at(counters, i),
				json_get_unsigned(counters, json_key_at(counters, i), 0));
	fprintf(out, "\n\n");
}

/* Members that a node's line has in its own words; all others follow as KEY=VALUE. */
static bool is_known(const char *key)
{
	static const char *const known[] = { "id", "type", "size", "failed", "spare", "removed", "left_out", "unclean", "unused",
		"path", "label", "generation", "data_offset", "sub_ios", "errors", "children",
		"action", "progress", "replacing" };
	unsigned i;

	for (i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (!strcmp(key, known[i]))
			return true;
	return false;
}

/* A list of objects is told by its length: who wants them asks for JSON. */
static void print_member(const struct json *value, FILE *out)
{
	size_t length;
	const char *text = json_text(value, &length);

	if (json_kind(value) == JSON_STRING)
		fprintf(out, "%s", json_string(value));
	else if (json_kind(value) == JSON_ARRAY && json_count(value) && json_kind(json_at(value, 0)) == JSON_OBJECT)
		fprintf(out, "%zu", json_count(value));
	else
		fprintf(out, "%.*s", (int)length, text);
}

/* A list that says one thing of each child: told with the children. */
static bool is_of_children(const struct json *node, const struct json *value)
{
	const struct json *children = json_get(node, "children");

	return children && json_count(children) && json_kind(value) == JSON_ARRAY &&
		json_count(value) == json_count(children) && json_kind(json_at(value, 0)) != JSON_OBJECT;
}

static void print_others(const struct json *node, FILE *out)
{
	const char *space = "  ";
	size_t i;

	for (i = 0; i < json_count(node); i++) {
		if (is_known(json_key_at(node, i)) || json_kind(json_at(node, i)) == JSON_OBJECT ||
			is_of_children(node, json_at(node, i)))
			continue;
		fprintf(out, "%s%s=", space, json_key_at(node, i));
		space = " ";
		print_member(json_at(node, i), out);
	}
}

/* Members that have members themselves: a line each, below the node's. */
static void print_objects(const struct json *node, const char *prefix, const char *bar, FILE *out)
{
	size_t i;

	for (i = 0; i < json_count(node); i++) {
		const struct json *value = json_at(node, i);

		if (is_known(json_key_at(node, i)) || json_kind(value) != JSON_OBJECT)
			continue;
		fprintf(out, "%s%s%s:", prefix, bar, json_key_at(node, i));
		print_others(value, out);
		fprintf(out, "\n");
	}
}

static void print_word(const char *word, FILE *out)
{
	fprintf(out, "  ");
	for (; *word; word++)
		fputc(*word == '_' ? ' ' : *word, out);
}

/* What the node above says of this one, in words, unless it says so itself; or else in numbers, where they aren't 0. */
static void print_of_child(
	const struct json *node, const struct json *above, size_t place, bool in_words, FILE *out)
{
	size_t i, length;

	for (i = 0; above && i < json_count(above); i++) {
		const struct json *list = json_at(above, i), *value;
		const char *text;

		if (is_known(json_key_at(above, i)) || !is_of_children(above, list))
			continue;
		value = json_at(list, place);
		if ((json_kind(value) == JSON_STRING) != in_words)
			continue;
		text = json_text(value, &length);
		if (!in_words && (length != 1 || *text != '0'))
			fprintf(out, "  %s=%.*s", json_key_at(above, i), (int)length, text);
		else if (in_words && !json_get_boolean(node, json_string(value), false))
			print_word(json_string(value), out);
	}
}

/* What `check` says of a leaf. */
static const char *action_text(const char *action)
{
	static const struct {
		const char *action, *text;
	} texts[] = {
		{ "missing", "is missing: left out" },
		{ "left_out", "left out" },
		{ "raw", "mapped raw, no label" },
		{ "make_raw", "will be made, no label" },
		{ "make", "will be made" },
		{ "format", "will be formatted" },
		{ "recognised", "recognised by its label" },
		{ "removed", "stays out, as it was removed" },
	};
	unsigned i;

	for (i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		if (!strcmp(texts[i].action, action))
			return texts[i].text;
	return action;
}

/* The id of the leg that is to take the place of one of the node's; NULL: none is. */
static const char *replacement(const struct json *node, const struct json *leg)
{
	const struct json *list = json_get(node, "replacing");
	const char *id = json_get_string(leg, "id", "");
	size_t i;

	for (i = 0; i < json_count(list); i++)
		if (!strcmp(json_get_string(json_at(list, i), "leg", ""), id))
			return json_get_string(json_at(list, i), "by", "?");
	return NULL;
}

/* `above` has this one as its child in that place; NULL: it is the root. */
static void print_node_line(const struct json *node, const struct json *above, size_t place, FILE *out)
{
	char size[SIZE_TEXT_MAX];
	uint64_t unused = json_get_unsigned(node, "unused", 0);
	const char *path = json_get_string(node, "path", NULL);

	fprintf(out, "%s  %s  %s", json_get_string(node, "id", "?"),
		json_get_string(node, "type", "?"),
		size_text(json_get_unsigned(node, "size", 0), size));
	if (json_get_boolean(node, "removed", false))
		fprintf(out, "  removed");
	else if (json_get_boolean(node, "failed", false))
		fprintf(out, "  FAILED");
	if (json_get_boolean(node, "spare", false))
		fprintf(out, "  spare");
	if (replacement(above, node))
		fprintf(out, "  being replaced by %s", replacement(above, node));
	if (json_get_boolean(node, "unclean", false))
		fprintf(out, "  unclean");
	print_of_child(node, above, place, true, out);
	if (unused)
		fprintf(out, "  %s unused", size_text(unused, size));
	if (path)
		fprintf(out, "  %s", path);
	if (json_get(node, "sub_ios"))
		fprintf(out, "  sub-I/Os %" PRIu64, json_get_unsigned(node, "sub_ios", 0));
	if (json_get_unsigned(node, "errors", 0))
		fprintf(out, ", errors %" PRIu64, json_get_unsigned(node, "errors", 0));
	if (json_get(node, "action"))
		fprintf(out, "  %s", action_text(json_get_string(node, "action", "")));
	print_of_child(node, above, place, false, out);
	print_others(node, out);
	fprintf(out, "\n");
}

/* All below a node's line. `prefix` begins these lines; it has room for PREFIX_MAX. */
static void print_below(const struct json *node, const struct lines *lines, char *prefix, FILE *out)
{
	const struct json *children = json_get(node, "children");
	size_t i, count = children ? json_count(children) : 0, length = strlen(prefix);
	const char *bar = count ? lines->through : lines->blank;

	if (json_get(node, "progress")) {
		fprintf(out, "%s%s", prefix, bar);
		status_print_progress(json_get(node, "progress"), out);
	}
	print_objects(node, prefix, bar, out);
	for (i = 0; i < count; i++) {
		const char *more = i + 1 < count ? lines->through : lines->blank;

		fprintf(out, "%s%s", prefix, i + 1 < count ? lines->branch : lines->last);
		if (length + strlen(more) < PREFIX_MAX)
			strcpy(prefix + length, more);
		print_node_line(json_at(children, i), node, i, out);
		print_below(json_at(children, i), lines, prefix, out);
		prefix[length] = '\0';
	}
}

void status_print(const struct json *status, FILE *out)
{
	const struct lines *lines =
		strcmp(nl_langinfo(CODESET), "UTF-8") ? &ascii_lines : &utf8_lines;
	char prefix[PREFIX_MAX] = "";

	if (json_get(status, "counters")) {
		print_head(status, out);
		print_counters(json_get(status, "counters"), out);
	} else {
		print_plan_head(status, out);
	}
	if (json_get(status, "root")) {
		print_node_line(json_get(status, "root"), NULL, 0, out);
		print_below(json_get(status, "root"), lines, prefix, out);
	}
}

#define LIST_FORMAT "%-20s %-14s %12s  %-6s %s\n"

void status_print_list_head(FILE *out)
{
	fprintf(out, LIST_FORMAT, "NAME", "PATH", "SIZE", "DRIVER", "STATE");
}

void status_print_list_line(
	const char *name, const struct json *status, const char *state, FILE *out)
{
	char size[SIZE_TEXT_MAX] = "-";

	if (status)
		(void)size_text(json_get_unsigned(status, "size", 0), size);
	fprintf(out, LIST_FORMAT, name, status ? json_get_string(status, "path", "?") : "-", size,
		status ? json_get_string(status, "driver", "?") : "-", state);
}

void status_print_orphan_line(const char *path, const char *driver, FILE *out)
{
	fprintf(out, LIST_FORMAT, "-", path, "-", driver, "orphan");
}

static void print_value(const struct json *value, unsigned depth, FILE *out)
{
	bool is_object = json_kind(value) == JSON_OBJECT;
	size_t i, length, count;
	const char *text;

	if ((!is_object && json_kind(value) != JSON_ARRAY) || json_count(value) == 0) {
		text = json_text(value, &length);
		fprintf(out, "%.*s", (int)length, text);
		return;
	}
	count = json_count(value);
	fprintf(out, is_object ? "{" : "[");
	for (i = 0; i < count; i++) {
		fprintf(out, "%s\n%*s", i ? "," : "", (int)(depth + 1) * 2, "");
		if (is_object) /* our own keys: nothing to escape */
			fprintf(out, "\"%s\": ", json_key_at(value, i));
		print_value(json_at(value, i), depth + 1, out);
	}
	fprintf(out, "\n%*s%s", (int)depth * 2, "", is_object ? "}" : "]");
}

void json_print(const struct json *value, FILE *out)
{
	print_value(value, 0, out);
}
