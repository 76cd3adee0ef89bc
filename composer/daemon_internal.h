/* SPDX-License-Identifier: MIT */
/* The daemon's own: what its start (daemon_start.c) and its loop (daemon.c) share. */
#ifndef COMPOSER_DAEMON_INTERNAL_H
#define COMPOSER_DAEMON_INTERNAL_H

#include "control.h"
#include "daemon.h"
#include "frontend.h"

#include <time.h>

struct daemon {
	struct tree *tree;
	struct frontend *frontend;
	struct control *control;
	int listener; /* until control has it */
	int signals;
	int hook; /* -1: none */
	struct events *events;
	bool *told; /* by node->index: its failure has been logged */
	bool *flush_told; /* by place: likewise that a flush has failed */
	struct timespec started;
	bool is_stopping, is_handing_over;
	bool has_unanswered; /* handed over with requests that come again to the next one */
	bool is_successor; /* a dead daemon had left a device of this name */
};

/*
 * The steps to a live device. 0, or -1 with messages and nothing left but what daemon_run() undoes.
 */
int daemon_start(struct daemon *daemon, const struct daemon_config *config, struct err *err,
	struct err *notes);

/* What a control client is told: a control_open()'s answer, its context the daemon. */
struct json_object *daemon_answer(void *context, const struct control_request *request);

#endif
