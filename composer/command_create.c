// SPDX-License-Identifier: MIT
/* create: a tree becomes a device. */
#include "command.h"

#include "daemon.h"
#include "detach.h"
#include "frontend.h"
#include "log.h"

#include <stdlib.h>

enum { FOREGROUND, FORCE, DEGRADED, DEBUG };

static const struct command_option options[] = {
	[FOREGROUND] = { "foreground", 'f', NULL,
		"Stay in the foreground. SIGINT and SIGTERM stop the device." },
	[FORCE] = { "force", 0, NULL,
		"Overwrite what is found on the leaves. What was there is lost." },
	[DEGRADED] = { "degraded", 0, NULL,
		"Go on without legs that are missing, where a mirror can." },
	[DEBUG] = { "debug", 0, "WORDS",
		"Trace to stderr: request, op, control, or several with commas." },
	{ 0 },
};

static int ready_here(void *context, const char *path, struct err *notes)
{
	(void)context;
	command_note(notes);
	printf("%s\n", path);
	return fflush(stdout) == 0 ? 0 : -1;
}

/* Traces go on to the caller's stderr; otherwise the daemon holds none of the caller's files. */
static int ready_detached(void *context, const char *path, struct err *notes)
{
	const int *report = context;

	return detach_report(*report, true, path, notes->text, debug_mask == 0);
}

static int run_foreground(struct tree *tree, struct daemon_config *config)
{
	struct err err = { 0 };

	config->ready = ready_here;
	if (daemon_run(tree, config, &err) == 0)
		return STATUS_DONE;
	return command_fail(&err);
}

/* In the child. */
static int run_detached(struct tree *tree, struct daemon_config *config, int report)
{
	struct err err = { 0 };
	int result;

	config->detached = true;
	config->ready = ready_detached;
	config->context = &report;
	result = daemon_run(tree, config, &err);
	if (err.count)
		(void)detach_report(report, false, "", err.text, false); /* nobody else to tell */
	err_finish(&err);
	return result == 0 ? STATUS_DONE : STATUS_FAILED;
}

static int wait_for_daemon(int report, int pid)
{
	struct err err = { 0 }, notes = { 0 };
	char *path = NULL;

	if (detach_wait(report, pid, &path, &err, &notes) < 0)
		return command_fail(&err);
	command_note(&notes);
	printf("%s\n", path);
	free(path);
	return STATUS_DONE;
}

static int create(const struct arguments *arguments)
{
	struct daemon_config config = {
		.assemble.force = arguments->options[FORCE] != NULL,
		.assemble.degraded = arguments->options[DEGRADED] != NULL,
	};
	struct err err = { 0 };
	struct tree *tree;
	int status, report = -1, pid;

	if (arguments->options[DEBUG] &&
		debug_parse(arguments->options[DEBUG], &debug_mask, &err) < 0) {
		(void)command_fail(&err);
		return STATUS_USAGE;
	}
	tree = tree_read(arguments->operands[0], &err);
	if (!tree || frontend_check(tree, &err) < 0) {
		tree_destroy(tree);
		return command_fail(&err);
	}
	if (arguments->options[FOREGROUND]) {
		status = run_foreground(tree, &config);
	} else {
		pid = detach(&report, &err);
		if (pid < 0)
			status = command_fail(&err);
		else if (pid > 0)
			status = wait_for_daemon(report, pid);
		else
			status = run_detached(tree, &config, report);
	}
	tree_destroy(tree);
	return status;
}

extern const struct command create_command;
const struct command create_command = {
	.name = "create",
	.operands = "TREE",
	.summary = "make a device of a tree and print its path",
	.details = "Reads the document TREE (\"-\" is standard input), formats blank leaves, "
		   "assembles leaves\n"
		   "that carry its labels, refuses all others, and serves the tree as one block "
		   "device. Returns\n"
		   "once the device can be used and prints its path, such as /dev/ubdb0; a daemon "
		   "goes on\n"
		   "serving it until `" PROGRAM
		   " delete`. If anything is refused, nothing has been changed.\n"
		   "`" PROGRAM " check TREE` says beforehand what create would do.\n",
	.options = options,
	.operands_min = 1,
	.operands_max = 1,
	.run = create,
};
