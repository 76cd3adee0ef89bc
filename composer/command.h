/* SPDX-License-Identifier: MIT */
/*
 * A verb of the command line, and what all verbs share: reading options and operands by a table
 * that is also the --help, and printing messages. To add one: composer/command_NAME.c with a
 * `struct command`, one line in main.c.
 *
 * Exit status: 0 done; 1 refused or failed, with messages on stderr; 2 wrong usage. stdout carries
 * results only.
 */
#ifndef COMPOSER_COMMAND_H
#define COMPOSER_COMMAND_H

#include "err.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define PROGRAM "ubd-compose"
#define PROGRAM_VERSION "0.1"

#define COMMAND_OPTIONS_MAX 8
#define COMMAND_VALUES_MAX 64
#define COMMAND_LEAVES_MAX 1024 /* operands of verbs that take leaves: a tree has no more */

#define STATUS_DONE 0
#define STATUS_FAILED 1
#define STATUS_USAGE 2

struct command_option {
	const char *name; /* without the dashes */
	char letter; /* 0: has none */
	const char *value; /* what its value is called; NULL: takes none */
	const char *help; /* lines; those after the first are indented by command_help() */
	bool many; /* may be given again and again; at most one option of a command */
};

/* What was given. Pointers into argv. */
struct arguments {
	/* By index in command->options: NULL: not given; "" for an option without a value. */
	const char *options[COMMAND_OPTIONS_MAX];
	/* What was given to the option that is marked `many`, in order. */
	const char *values[COMMAND_VALUES_MAX];
	unsigned value_count;
	char **operands;
	unsigned operand_count;
};

struct command {
	const char *name;
	const char *operands; /* "TREE KIND [OFFSET LENGTH]" */
	const char *summary; /* one line for the list of commands */
	const char *details; /* the manual, each line ended by a newline */
	const struct command_option *options; /* ended by one without a name; NULL: none */
	unsigned operands_min, operands_max;
	int (*run)(const struct arguments *arguments); /* returns the exit status */
};

/* Reads argv (argv[0] is the verb) and runs the command, or prints its help or what is wrong. */
int command_run(const struct command *command, int argc, char **argv);

void command_help(const struct command *command, FILE *out);

/* Prints every message of err to stderr, finishes it, and returns STATUS_FAILED. */
int command_fail(struct err *err);

/* What --debug=WORDS asks for, if it was given. False: it was wrong, and has been said. */
bool command_debug(const char *words);

/* The device that the optional first operand means; free() *name, which stays NULL without one.
 * False: there is none such, and has been said. */
bool command_device(const struct arguments *arguments, char **name);

/* One message about wrong usage, with a hint at --help. Returns STATUS_USAGE. */
int command_misused(const struct command *command, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* The directory that an option names, made absolute, in static memory; NULL stays NULL. False: there is
 * none such, with a message. */
bool command_directory(const char *path, const char **resolved, struct err *err);

/* A size as people type it: what documents allow, and 96K, 1M, 2G, 1T. False: it is none. */
bool command_size(const char *text, uint64_t *bytes);

/*
 * The value of a --rate, NULL if there is none. Before the daemon is asked, so that the message is about what was
 * typed. 0, or -1 with a message.
 */
int command_check_rate(const char *rate, struct err *err);

struct json;

/*
 * The id of the thin that the user means, out of a device's status: that of `id`, or of the only one there is; of those
 * that have this member there. `what` is what messages call such a one: "thin volume that is written to". The
 * status owns it. NULL with a message.
 */
const char *command_find_thin(const struct json *status, const char *id, const char *member,
	const char *what, struct err *err);

/*
 * What a live thin does in the background when it is asked to, from one end to the other: `name` begins it and goes on
 * with it, stop-NAME ends it, a member of that name in the status tells of it. `what` as command_find_thin() wants it.
 * Of the command's options the first ones are these; more are words without a value that are handed on as they are.
 */
enum { COMMAND_JOB_RATE, COMMAND_JOB_STOP, COMMAND_JOB_OPTIONS };
struct command_job {
	const char *name, *what;
	const struct command_option *options;
};
int command_run_job(const struct arguments *arguments, const struct command_job *job); /* the exit status */

struct json_object; /* json-c's */

/* Prints it to stdout, indented, as all verbs do. 0, or -1 with a message. */
int command_print_json(struct json_object *made, struct err *err);

/* Prints what isn't a failure but should be known, to stderr; finishes it. */
void command_note(struct err *notes);

#endif
