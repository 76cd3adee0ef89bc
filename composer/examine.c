// SPDX-License-Identifier: MIT
/* A label in words and in JSON. It reads no leaf. */
#include "examine.h"

#include "status.h"
#include "tree.h"

#include <inttypes.h>
#include <json-c/json_object.h>
#include <string.h>
#include <time.h>

#define UUID_TEXT 37
#define TIME_TEXT 40

static const char *const copy_names[LABEL_COPIES] = { "first", "second" };

static const struct {
	uint32_t flag;
	const char *word;
} flag_words[] = {
	{ LABEL_FORMATTING, "formatting" },
	{ LABEL_OPEN, "open" },
	{ LABEL_UNSYNCED, "unsynced" },
	{ LABEL_SERVED, "served" },
	{ LABEL_GIVEN_UP, "given_up" },
};
#define FLAG_WORDS (sizeof(flag_words) / sizeof(*flag_words))

static const char *found_word(const struct label_copy *copy)
{
	static const char *const words[] = {
		[LABEL_NONE] = "none",
		[LABEL_FOUND] = "whole",
		[LABEL_NEWER] = "newer",
		[LABEL_CORRUPT] = "damaged",
		[LABEL_UNREADABLE] = "unreadable",
	};

	return words[copy->found];
}

static const char *state_word(uint32_t state)
{
	static const char *const words[] = { "in_sync", "stale", "old_copy", "spare" };

	return state < sizeof(words) / sizeof(*words) ? words[state] : "?";
}

static const char *time_text(uint64_t seconds, char text[TIME_TEXT])
{
	time_t when = (time_t)seconds;
	struct tm parts;

	if (seconds == 0 || !gmtime_r(&when, &parts) ||
		strftime(text, TIME_TEXT, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
		snprintf(text, TIME_TEXT, "?");
	return text;
}

/* The document as a tree, for the leaves' ids; NULL if it makes none. */
static struct tree *tree_of(const struct label *label)
{
	struct err ignored = { 0 }; /* ids are only missing then */
	struct tree *tree = NULL;

	if (label->document)
		tree = tree_parse("label", label->document, strlen(label->document), &ignored);
	err_finish(&ignored);
	if (tree && tree->leaf_count != label->leaf_count) {
		tree_destroy(tree);
		tree = NULL;
	}
	return tree;
}

static const char *id_of(const struct tree *tree, uint32_t place)
{
	return tree && place < tree->leaf_count ? tree->leaves[place]->node->id : "?";
}

const char *examine_document(const struct label_copy copies[LABEL_COPIES], bool *whole)
{
	unsigned best = label_best(copies), i;

	for (i = 0; i < LABEL_COPIES; i++) {
		const struct label_copy *copy = &copies[i ? !best : best];

		*whole = copy->head_whole && copy->document_whole;
		if (*whole)
			return copy->label.document;
	}
	*whole = false;
	for (i = 0; i < LABEL_COPIES; i++)
		if (copies[i ? !best : best].label.document)
			return copies[i ? !best : best].label.document;
	return NULL;
}

static void print_copies(const struct label_copy copies[LABEL_COPIES], FILE *out)
{
	unsigned i;

	for (i = 0; i < LABEL_COPIES; i++) {
		const struct label_copy *copy = &copies[i];

		fprintf(out, "  %-6s copy  ", copy_names[i]);
		if (copy->found == LABEL_NONE)
			fprintf(out, "is not there\n");
		else if (copy->found == LABEL_UNREADABLE)
			fprintf(out, "UNREADABLE: %s\n", copy->why);
		else
			fprintf(out, "generation %" PRIu64 "%s, %s%s\n", copy->label.generation,
				copy->head_whole ? "" : " (can't be believed)",
				copy->found == LABEL_FOUND     ? "whole"
				: copy->found == LABEL_CORRUPT ? "DAMAGED: "
							       : "",
				copy->found == LABEL_FOUND ? "" : copy->why);
	}
}

static void print_flags(uint32_t flags, FILE *out)
{
	unsigned i;

	fprintf(out, "  flags       ");
	for (i = 0; i < FLAG_WORDS; i++)
		if (flags & flag_words[i].flag)
			fprintf(out, " %s", flag_words[i].word);
	if (flags & ~LABEL_FLAGS)
		fprintf(out, " unknown 0x%" PRIx32, flags & ~LABEL_FLAGS);
	fprintf(out, flags ? "\n" : " none\n");
}

static void print_peers(const struct label *label, const struct tree *tree, bool whole, FILE *out)
{
	uint32_t i;

	if (!label->peers) {
		fprintf(out, "  what it knows of the other leaves is not to be had\n");
		return;
	}
	fprintf(out, "  place  leaf          state    last seen at generation%s\n",
		whole ? "" : "  (DAMAGED: can't be believed)");
	for (i = 0; i < label->leaf_count; i++) {
		fprintf(out, "  %5" PRIu32 "  %-12s  %-7s  ", i, id_of(tree, i),
			label->peers[i].state == LABEL_PEER_IN_SYNC
				? "in sync"
				: state_word(label->peers[i].state));
		if (label->peers[i].generation == 0)
			fprintf(out, "-, has no label");
		else
			fprintf(out, "%" PRIu64, label->peers[i].generation);
		fprintf(out, "%s%s\n", label->peers[i].removed ? "  (removed)" : "", i == label->place ? "  (this leaf)" : "");
	}
}

static void print_features(const struct label *label, FILE *out)
{
	fprintf(out,
		"  features     incompatible 0x%" PRIx64 ", compatible 0x%" PRIx64
		", read-only compatible 0x%" PRIx64 "\n",
		label->incompatible, label->compatible, label->readonly_compatible);
}

static void print_label(
	const struct label_copy *copy, const struct label_copy copies[LABEL_COPIES], FILE *out)
{
	const struct label *label = &copy->label;
	char tree_uuid[UUID_TEXT], leaf_uuid[UUID_TEXT], size[SIZE_TEXT_MAX], when[TIME_TEXT];
	struct tree *tree = tree_of(label);
	bool document_whole;

	uuid_unparse(label->tree_uuid, tree_uuid);
	uuid_unparse(label->leaf_uuid, leaf_uuid);
	fprintf(out, "  magic        UBDLABEL, version %" PRIu32 "%s\n", copy->version,
		copy->head_whole ? "" : "  (its head is DAMAGED: what follows can't be believed)");
	fprintf(out, "  tree         %s  %s\n", tree_uuid, tree ? tree->name : "?");
	fprintf(out, "  leaf         %s  %s\n", leaf_uuid, id_of(tree, label->place));
	fprintf(out, "  place        %" PRIu32 " of %" PRIu32 " in %.512s\n", label->place,
		label->leaf_count, label->geometry ? label->geometry : "?");
	fprintf(out, "  data         %" PRIu64 " bytes (%s) from byte %" PRIu64 "\n",
		label->data_length, size_text(label->data_length, size), label->data_offset);
	fprintf(out, "  generation   %" PRIu64 ", written %s\n", label->generation,
		time_text(label->updated, when));
	print_flags(label->flags, out);
	print_features(label, out);
	print_copies(copies, out);
	if (!examine_document(copies, &document_whole))
		fprintf(out, "  document     is not to be had\n");
	else
		fprintf(out, "  document     %s\n",
			document_whole ? "whole; --export prints it"
				       : "DAMAGED; --export prints what is left, if it is JSON");
	print_peers(label, tree, copy->peers_whole, out);
	tree_destroy(tree);
}

void examine_print(const char *path, const struct label_copy copies[LABEL_COPIES], FILE *out)
{
	const struct label_copy *best = &copies[label_best(copies)];

	fprintf(out, "%s\n", path);
	if (best->found == LABEL_NONE || best->found == LABEL_UNREADABLE)
		print_copies(copies, out);
	else
		print_label(best, copies, out);
}

static void add_text(struct json_object *out, const char *key, const char *text)
{
	json_object_object_add(out, key, text ? json_object_new_string(text) : NULL);
}

static void add_number(struct json_object *out, const char *key, uint64_t number)
{
	json_object_object_add(out, key, json_object_new_uint64(number));
}

static struct json_object *copies_json(const struct label_copy copies[LABEL_COPIES])
{
	struct json_object *list = json_object_new_array();
	unsigned i;

	for (i = 0; i < LABEL_COPIES; i++) {
		struct json_object *out = json_object_new_object();
		const struct label_copy *copy = &copies[i];

		add_number(out, "offset", i * LABEL_COPY_STRIDE);
		add_text(out, "state", found_word(copy));
		if (copy->found != LABEL_NONE && copy->found != LABEL_UNREADABLE) {
			add_text(out, "fault", label_fault_word(copy->fault));
			add_number(out, "generation", copy->label.generation);
			json_object_object_add(
				out, "head_whole", json_object_new_boolean(copy->head_whole));
			json_object_object_add(
				out, "peers_whole", json_object_new_boolean(copy->peers_whole));
			json_object_object_add(out, "document_whole",
				json_object_new_boolean(copy->document_whole));
		}
		json_object_array_add(list, out);
	}
	return list;
}

static struct json_object *peers_json(const struct label *label, const struct tree *tree)
{
	struct json_object *list = json_object_new_array();
	uint32_t i;

	for (i = 0; label->peers && i < label->leaf_count; i++) {
		struct json_object *out = json_object_new_object();

		add_number(out, "place", i);
		add_text(out, "id", tree ? id_of(tree, i) : NULL);
		add_text(out, "state", state_word(label->peers[i].state));
		if (label->peers[i].removed)
			json_object_object_add(out, "removed", json_object_new_boolean(true));
		add_number(out, "generation", label->peers[i].generation);
		json_object_array_add(list, out);
	}
	return list;
}

static void add_label(struct json_object *out, const struct label_copy *copy)
{
	const struct label *label = &copy->label;
	struct json_object *flags = json_object_new_array();
	struct tree *tree = tree_of(label);
	char uuid[UUID_TEXT], when[TIME_TEXT];
	unsigned i;

	add_number(out, "version", copy->version);
	add_text(out, "name", tree ? tree->name : NULL);
	add_text(out, "id", tree ? id_of(tree, label->place) : NULL);
	uuid_unparse(label->tree_uuid, uuid);
	add_text(out, "tree_uuid", uuid);
	uuid_unparse(label->leaf_uuid, uuid);
	add_text(out, "leaf_uuid", uuid);
	add_number(out, "place", label->place);
	add_number(out, "leaf_count", label->leaf_count);
	add_text(out, "geometry", label->geometry);
	add_number(out, "data_offset", label->data_offset);
	add_number(out, "data_length", label->data_length);
	add_number(out, "generation", label->generation);
	add_text(out, "written", label->updated ? time_text(label->updated, when) : NULL);
	for (i = 0; i < FLAG_WORDS; i++)
		if (label->flags & flag_words[i].flag)
			json_object_array_add(flags, json_object_new_string(flag_words[i].word));
	json_object_object_add(out, "flags", flags);
	add_number(out, "incompatible", label->incompatible);
	add_number(out, "compatible", label->compatible);
	add_number(out, "readonly_compatible", label->readonly_compatible);
	json_object_object_add(out, "peers", peers_json(label, tree));
	tree_destroy(tree);
}

struct json_object *examine_json(const char *path, const struct label_copy copies[LABEL_COPIES])
{
	const struct label_copy *best = &copies[label_best(copies)];
	struct json_object *out = json_object_new_object();

	add_text(out, "path", path);
	add_text(out, "state", found_word(best));
	json_object_object_add(out, "copies", copies_json(copies));
	if (best->found != LABEL_NONE && best->found != LABEL_UNREADABLE)
		add_label(out, best);
	return out;
}
