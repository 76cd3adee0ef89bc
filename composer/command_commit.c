// SPDX-License-Identifier: MIT
/* commit: asks a live thin volume to write into its backing what it holds over it. */
#include "command.h"

enum { KEEP = COMMAND_JOB_OPTIONS, OPTION_COUNT };

static const struct command_option options[] = {
	[COMMAND_JOB_RATE] = { .name = "rate",
		.value = "SIZE",
		.help = "write at most that many bytes of the image per second" },
	[COMMAND_JOB_STOP] = { .name = "stop", .help = "end it where it stands; asked again it does the rest" },
	[KEEP] = { .name = "keep", .help = "leave the image as it is, as qemu-img commit -d does" },
	[OPTION_COUNT] = { 0 },
};

static int run(const struct arguments *arguments)
{
	static const struct command_job job = { "commit", "thin volume with a backing that is written to", options };

	return command_run_job(arguments, &job);
}

extern const struct command commit_command;
const struct command commit_command = {
	.name = "commit",
	.operands = "DEVICE [NODE]",
	.summary = "write into its backing what a live thin volume holds over it",
	.details = "Writes what the image of the thin volume NODE, or of the only one, holds into its backing, in the\n"
		   "background, while the device is used, and empties the image of it: it is read from the backing\n"
		   "then. `status` shows how far it is. The document has to say \"commit\": true beside \"backing\",\n"
		   "so that nobody else uses that. What is written meanwhile may stay in the image, for the next one.\n",
	.options = options,
	.operands_min = 1,
	.operands_max = 2,
	.run = run,
};
