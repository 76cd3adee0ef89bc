// SPDX-License-Identifier: MIT
/* Serving a tree, here or in a daemon of its own. It knows no verb's options. */
#include "serve.h"

#include "command.h"
#include "detach.h"
#include "log.h"
#include "run_directory.h"

#include <stdlib.h>

struct tree *serve_read_kept(const char *name, struct err *err)
{
	struct tree *tree;
	char *path, *text;
	size_t length;

	if (run_kept(name, &path, &text, &length, err) < 0)
		return NULL;
	tree = tree_parse(path, text, length, err);
	free(path);
	free(text);
	return tree;
}

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

static void stuck_here(void *context, struct err *err)
{
	(void)context;
	(void)command_fail(err); /* the daemon ends by itself */
}

static void stuck_detached(void *context, struct err *err)
{
	const int *report = context;

	(void)detach_report(*report, false, "", err->text, false); /* nobody else to tell */
}

static int run_foreground(struct tree *tree, struct daemon_config *config)
{
	struct err err = { 0 };

	config->ready = ready_here;
	config->stuck = stuck_here;
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
	config->stuck = stuck_detached;
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

int serve(struct tree *tree, struct daemon_config *config, bool in_foreground)
{
	int status, report = -1, pid;
	struct err err = { 0 };

	if (in_foreground) {
		status = run_foreground(tree, config);
	} else {
		pid = detach(&report, &err);
		if (pid < 0)
			status = command_fail(&err);
		else if (pid > 0)
			status = wait_for_daemon(report, pid);
		else
			exit(run_detached(tree, config, report)); /* the caller goes on in one process only */
	}
	tree_destroy(tree);
	return status;
}

int serve_or_go_on(struct tree *kept, struct tree *wanted, struct daemon_config *config)
{
	struct daemon_config as_before = {
		.recover = true, .assemble.sizes_by_label = true, .assemble.degraded = true };
	int status = serve(wanted, config, false);

	if (status == STATUS_DONE) {
		tree_destroy(kept);
		return status;
	}
	fprintf(stderr, PROGRAM ": %s is served on as it was\n", kept->name);
	(void)serve(kept, &as_before, false); /* it says if not even that could be done */
	return status;
}
