// SPDX-License-Identifier: MIT
/* flatten: asks a live thin volume to take in what it reads from its backing. What comes of it is in the status. */
#include "command.h"

static const struct command_option options[] = {
	[COMMAND_JOB_RATE] = { .name = "rate",
		.value = "SIZE",
		.help = "read at most that many bytes of the backing per second" },
	[COMMAND_JOB_STOP] = { .name = "stop", .help = "end it where it stands; it can go on from there" },
	[COMMAND_JOB_OPTIONS] = { 0 },
};

static int run(const struct arguments *arguments)
{
	static const struct command_job job = { "flatten", "thin volume with a backing that is written to", options };

	return command_run_job(arguments, &job);
}

extern const struct command flatten_command;
const struct command flatten_command = {
	.name = "flatten",
	.operands = "DEVICE [NODE]",
	.summary = "take into a live thin volume all that it reads from its backing",
	.details = "Copies what the thin volume NODE, or the only one, still reads from its backing into its\n"
		   "image, in the background, while the device is used. `status` shows how far it is. When all\n"
		   "is there the image stands by itself, and the document may leave \"backing\" out. What is\n"
		   "zeroes takes no room. If it breaks off, asked again it goes on.\n",
	.options = options,
	.operands_min = 1,
	.operands_max = 2,
	.run = run,
};
