// SPDX-License-Identifier: MIT
/* The program: finds the verb and lets it run. */
#include "command.h"

#include "nearest.h"

#include <errno.h>
#include <string.h>

extern const struct command create_command, delete_command, list_command, status_command;
extern const struct command check_command, explain_command, replay_command;
extern const struct command assemble_command, examine_command, wipe_command, events_command;
extern const struct command recover_command, map_command, fail_command, add_command, remove_command,
	replace_command;
extern const struct command scrub_command, resize_command, flatten_command, clone_command;
extern const struct command snapshot_command, trim_command, commit_command;

/* A new verb adds its line here. */
static const struct command *const commands[] = {
	&create_command,
	&delete_command,
	&list_command,
	&status_command,
	&events_command,
	&check_command,
	&explain_command,
	&map_command,
	&snapshot_command,
	&replay_command,
	&assemble_command,
	&recover_command,
	&resize_command,
	&fail_command,
	&add_command,
	&remove_command,
	&replace_command,
	&scrub_command,
	&flatten_command,
	&commit_command,
	&clone_command,
	&trim_command,
	&examine_command,
	&wipe_command,
};
#define COMMANDS (sizeof(commands) / sizeof(*commands))

static void help(FILE *out)
{
	unsigned i;

	fprintf(out, "usage: " PROGRAM " COMMAND [OPTION]... [OPERAND]...\n\n"
		     "Serves a tree of targets (linear, stripe, mirror, …), written as a JSON "
		     "document, as one\n"
		     "block device.\n\n");
	for (i = 0; i < COMMANDS; i++)
		fprintf(out, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
	fprintf(out, "\n" PROGRAM " COMMAND --help tells more about each; " PROGRAM
		     " --version which this is.\n");
}

static const struct command *find(const char *name)
{
	unsigned i;

	for (i = 0; i < COMMANDS; i++)
		if (!strcmp(commands[i]->name, name))
			return commands[i];
	return NULL;
}

static int unknown(const char *name)
{
	const char *names[COMMANDS + 3] = { "--help", "--version" };
	const char *nearest;
	unsigned i;

	for (i = 0; i < COMMANDS; i++)
		names[i + 2] = commands[i]->name;
	nearest = nearest_word(name, names);
	fprintf(stderr, PROGRAM ": there is no %s \"%s\"", *name == '-' ? "option" : "command",
		name);
	if (nearest)
		fprintf(stderr, "; did you mean \"%s\"?", nearest);
	fprintf(stderr, "\nTry: " PROGRAM " --help\n");
	return STATUS_USAGE;
}

/* `help COMMAND`, as other tools have it. */
static int help_about(int argc, char **argv)
{
	const struct command *command = argc ? find(argv[0]) : NULL;

	if (argc && !command)
		return unknown(argv[0]);
	if (command)
		command_help(command, stdout);
	else
		help(stdout);
	return STATUS_DONE;
}

static int dispatch(int argc, char **argv)
{
	const struct command *command;

	if (argc < 2) {
		help(stderr);
		return STATUS_USAGE;
	}
	if (!strcmp(argv[1], "--version")) {
		printf(PROGRAM " " PROGRAM_VERSION "\n");
		return STATUS_DONE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
		help(stdout);
		return STATUS_DONE;
	}
	if (!strcmp(argv[1], "help"))
		return help_about(argc - 2, argv + 2);
	command = find(argv[1]);
	return command ? command_run(command, argc - 1, argv + 1) : unknown(argv[1]);
}

int main(int argc, char **argv)
{
	int status = dispatch(argc, argv);

	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr, PROGRAM ": standard output: %s\n", strerror(errno));
		return STATUS_FAILED;
	}
	return status;
}
