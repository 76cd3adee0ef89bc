// SPDX-License-Identifier: MIT
/* examine: what the labels of leaves say. */
#include "command.h"

#include "examine.h"
#include "json.h"
#include "operand.h"

#include <json-c/json_object.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TRIES 5 /* a daemon may be writing the label while we read it */
#define PAUSE_NS 20000000L

extern const struct command examine_command;

enum { JSON, EXPORT };

static const struct command_option options[] = {
	[JSON] = { "json", 0, NULL, "An array with an object for each LEAF, for programs." },
	[EXPORT] = { "export", 0, NULL,
		"Print the document that the label carries, as it was written; one LEAF." },
	{ 0 },
};

static bool is_whole(const struct label_copy copies[LABEL_COPIES])
{
	return copies[0].found == LABEL_FOUND && copies[1].found == LABEL_FOUND;
}

/* 0, or -1 with a message; copies are filled either way. */
static int look(const char *path, struct label_copy copies[LABEL_COPIES], struct err *err)
{
	const struct timespec pause = { .tv_nsec = PAUSE_NS };
	struct operand operand;
	unsigned tries;
	int result;

	memset(copies, 0, LABEL_COPIES * sizeof(*copies));
	if (operand_open(&operand, path, OPERAND_LOOK, err) < 0)
		return -1;
	result = label_inspect(operand.fd, operand.bytes, copies);
	for (tries = 1; tries < TRIES && result == 0 && !is_whole(copies) &&
			(copies[0].found != LABEL_NONE || copies[1].found != LABEL_NONE);
		tries++) {
		(void)nanosleep(&pause, NULL); /* shorter is no harm */
		label_copies_finish(copies);
		result = label_inspect(operand.fd, operand.bytes, copies);
	}
	operand_close(&operand);
	return result < 0 ? err_add(err, "%s: %s", path, strerror(-result)) : 0;
}

/* What is wrong with the label as a whole. */
static void complain(
	const char *path, const struct label_copy copies[LABEL_COPIES], struct err *err)
{
	const struct label_copy *best = &copies[label_best(copies)];

	if (copies[0].found == LABEL_NONE && copies[1].found == LABEL_NONE)
		err_add(err, "%s carries no label", path);
	else if (best->found == LABEL_UNREADABLE)
		err_add(err, "%s: its label can't be read: %s", path, best->why);
	else if (best->found == LABEL_CORRUPT)
		err_add(err, "%s: no copy of its label is whole: of the best, %s", path, best->why);
	else if (best->found == LABEL_NEWER)
		err_add(err, "%s: %s", path, best->why);
}

static int export(const char *path, struct err *err, struct err *notes)
{
	struct label_copy copies[LABEL_COPIES];
	struct json *parsed = NULL;
	const char *document;
	bool whole = false;

	if (look(path, copies, err) < 0)
		return -1;
	document = examine_document(copies, &whole);
	if (!document)
		err_add(err, "%s carries no label", path);
	else if (!whole)
		parsed = json_parse(path, document, strlen(document), err);
	if (parsed)
		err_add(notes,
			"%s: the checksum of this document is wrong, or its label's head is "
			"damaged: "
			"look at it before you use it",
			path);
	if (whole || parsed)
		printf("%s\n", document); /* labels keep it without the newline at its end */
	json_destroy(parsed);
	label_copies_finish(copies);
	return whole || parsed ? 0 : -1;
}

static int examine(const struct arguments *arguments)
{
	struct json_object *list = json_object_new_array();
	struct err err = { 0 }, notes = { 0 };
	unsigned i;

	if (arguments->options[EXPORT] && arguments->operand_count > 1) {
		json_object_put(list);
		return command_misused(&examine_command, "--export takes one LEAF");
	}
	if (arguments->options[EXPORT])
		(void)export(arguments->operands[0], &err, &notes); /* counted in err */
	for (i = 0; i < arguments->operand_count && !arguments->options[EXPORT]; i++) {
		struct label_copy copies[LABEL_COPIES];
		const char *path = arguments->operands[i];

		if (look(path, copies, &err) < 0)
			continue;
		complain(path, copies, &err);
		if (arguments->options[JSON])
			json_object_array_add(list, examine_json(path, copies));
		else if (copies[0].found != LABEL_NONE || copies[1].found != LABEL_NONE)
			examine_print(path, copies, stdout);
		label_copies_finish(copies);
	}
	if (arguments->options[JSON] && !arguments->options[EXPORT])
		(void)command_print_json(list, &err); /* counted in err */
	json_object_put(list);
	(void)fflush(stdout); /* the result first; main looks for errors */
	command_note(&notes);
	return err.count ? command_fail(&err) : STATUS_DONE;
}

const struct command examine_command = {
	.name = "examine",
	.operands = "LEAF...",
	.summary = "show what the labels of leaves say",
	.details = "Prints the label of each LEAF, a file or a disk: who it is, its place in its "
		   "tree, its\n"
		   "generation, and what it knows of the other leaves; of a damaged label as much "
		   "as is\n"
		   "left. Nothing is written, and it may be in use. Exit status 1 if a LEAF has no "
		   "label or\n"
		   "none that is whole.\n",
	.options = options,
	.operands_min = 1,
	.operands_max = COMMAND_LEAVES_MAX,
	.run = examine,
};
