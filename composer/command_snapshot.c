// SPDX-License-Identifier: MIT
/*
 * snapshot: asks a thin volume of a live device to keep what it holds now, and tells what it keeps. The
 * daemon makes one in the background; whoever asked waits here until that has ended.
 *
 * Going back to one changes the bytes under whoever uses the device: its disk is taken exclusively for that long.
 * What the kernel has of it in memory is written before, as that would otherwise come to lie over the old bytes,
 * and forgotten afterwards.
 */
#include "command.h"

#include "control_client.h"
#include "device_name.h"
#include "disk_take.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <json-c/json_object.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define DATE_BYTES 32
#define POLL_NS 10000000

enum { JSON };

static const struct command_option options[] = {
	[JSON] = { "json", 0, NULL, "list: an array." },
	{ 0 },
};

struct target {
	const char *device;
	char *node; /* the thin's id */
	char *path; /* the disk's */
};

/* Fills in what is to be freed; the node is NULL with a message. */
static void find_node(struct target *target, const char *id, struct err *err)
{
	struct json *status = control_ask(target->device, CONTROL_STATUS, NULL, NULL, err);
	const char *found;

	if (!status)
		return;
	found = command_find_thin(json_get(status, "status"), id, "when_full", "thin volume that is written to", err);
	target->path = strdup(json_get_string(json_get(status, "status"), "path", ""));
	target->node = found ? strdup(found) : NULL;
	if (!target->path || (found && !target->node))
		err_add(err, "out of memory");
	json_destroy(status);
}

/* The answer, to be freed with json_object_put(); NULL with messages. `name` may be NULL. */
static struct json_object *ask(const struct target *target, const char *verb, const char *name, struct err *err)
{
	struct json_object *arguments = json_object_new_object();

	if (name)
		json_object_object_add(arguments, "name", json_object_new_string(name));
	if (name)
		json_object_object_add(arguments, "seconds", json_object_new_uint64((uint64_t)time(NULL)));
	return control_ask_answer(target->device, target->node, verb, arguments, err);
}

static uint64_t number_of(struct json_object *object, const char *key)
{
	return json_object_get_uint64(json_object_object_get(object, key));
}

/* Others may have put anything into it. */
static void print_text(const char *text, int width)
{
	int done;

	for (done = 0; text[done]; done++)
		putchar((unsigned char)text[done] < ' ' || text[done] == 0x7f ? '?' : text[done]);
	printf("%*s", done < width ? width - done : 0, "");
}

static void print_one(struct json_object *one)
{
	time_t seconds = (time_t)number_of(one, "seconds");
	char date[DATE_BYTES] = "";
	struct tm when;

	if (gmtime_r(&seconds, &when))
		strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", &when);
	print_text(json_object_get_string(json_object_object_get(one, "id")), 8);
	printf("%-20s  %-16" PRIu64 " %-12" PRIu64 " ", date, number_of(one, "size"), number_of(one, "vm_state"));
	print_text(json_object_get_string(json_object_object_get(one, "name")), 0);
	putchar('\n');
}

static int list(const struct target *target, bool as_json, struct err *err)
{
	struct json_object *answer = ask(target, "snapshots", NULL, err), *all;
	int result = 0;
	size_t i;

	if (!answer)
		return -1;
	all = json_object_object_get(answer, "snapshots");
	if (as_json) {
		result = command_print_json(json_object_get(all), err);
	} else {
		printf("ID      DATE                  SIZE             VM_STATE     NAME\n");
		for (i = 0; i < json_object_array_length(all); i++)
			print_one(json_object_array_get_idx(all, i));
	}
	json_object_put(answer);
	return result;
}

/* What was begun goes on in the daemon, whoever waits for it. */
static int wait_for(const struct target *target, struct err *err)
{
	const struct timespec pause = { .tv_nsec = POLL_NS };
	struct json_object *answer;
	bool is_running;

	do {
		(void)nanosleep(&pause, NULL);
		answer = ask(target, "snapshot-made", NULL, err);
		if (!answer)
			return -1;
		is_running = json_object_get_boolean(json_object_object_get(answer, "running"));
		if (!is_running)
			printf("requests waited for %.3f ms at most, and %" PRIu64 " sub-I/Os\n",
				(double)number_of(answer, "pause_ns") / 1e6, number_of(answer, "pause_ops"));
		json_object_put(answer);
	} while (is_running);
	return 0;
}

static int change(const struct target *target, const char *verb, const char *name, struct err *err)
{
	struct json_object *answer = ask(target, verb, name, err);

	if (!answer)
		return -1;
	json_object_put(answer);
	return wait_for(target, err);
}

/* BLKFLSBUF is root's; who isn't has the disk alone, so that its memory goes with the last fd at the latest. */
static int flush_disk(const struct target *target, int disk, struct err *err)
{
	if (fsync(disk) < 0)
		return err_add(err, "%s: writing what is in memory of it: %s", target->path, strerror(errno));
	if (ioctl(disk, BLKFLSBUF, 0) < 0)
		(void)posix_fadvise(disk, 0, 0, POSIX_FADV_DONTNEED); /* as far as it may */
	return 0;
}

static int revert(const struct target *target, const char *name, struct err *err)
{
	int disk = disk_take(target->device, target->path, err), result;

	if (disk == -1)
		err_add(err, "%s, the disk of %s, can't be opened: %s", target->path, target->device, strerror(errno));
	if (disk < 0)
		return -1;
	result = flush_disk(target, disk, err);
	if (result == 0)
		result = change(target, "snapshot-revert", name, err);
	if (flush_disk(target, disk, err) < 0)
		result = -1;
	if (result == 0)
		(void)ioctl(disk, BLKRRPART, 0); /* others may be there; disks without any refuse it */
	close(disk);
	return result;
}

static int carry_out(const struct target *target, const char *verb, const char *name, bool as_json, struct err *err)
{
	if (!strcmp(verb, "list"))
		return list(target, as_json, err);
	if (!strcmp(verb, "revert"))
		return revert(target, name, err);
	return change(target, !strcmp(verb, "delete") ? "snapshot-delete" : "snapshot-create", name, err);
}

extern const struct command snapshot_command;

static int run(const struct arguments *arguments)
{
	char **operands = arguments->operands;
	bool lists = !strcmp(operands[0], "list"), reverts = !strcmp(operands[0], "revert");
	unsigned names = lists ? 0 : 1, count = arguments->operand_count;
	struct target target = { 0 };
	struct err err = { 0 };
	char *device;
	int result = -1;

	if (!lists && !reverts && strcmp(operands[0], "delete") != 0 && strcmp(operands[0], "create") != 0)
		return command_misused(
			&snapshot_command, "\"%s\" is none of create, delete, revert and list", operands[0]);
	if (count < 2 + names || count > 3 + names)
		return command_misused(&snapshot_command, "%s takes DEVICE [NODE]%s", operands[0], lists ? "" : " SNAPSHOT");
	if (arguments->options[JSON] && !lists)
		return command_misused(&snapshot_command, "--json goes with list only");
	device = device_name_find(operands[1], &err);
	if (device) {
		target.device = device;
		find_node(&target, count == 3 + names ? operands[2] : NULL, &err);
	}
	if (target.node && target.path)
		result = carry_out(
			&target, operands[0], operands[count - 1], arguments->options[JSON] != NULL, &err);
	free(target.node);
	free(target.path);
	free(device);
	return result < 0 ? command_fail(&err) : STATUS_DONE;
}

const struct command snapshot_command = {
	.name = "snapshot",
	.operands = "create|delete|revert|list DEVICE [NODE] [SNAPSHOT]",
	.summary = "keep what a thin volume holds now, go back to it, and list what is kept",
	.details = "create DEVICE [NODE] SNAPSHOT keeps what the thin volume NODE holds, under that name, inside its\n"
		   "image, while it is in use; NODE may be left out where there is one. All that was written by\n"
		   "then is in it; what a file system still has in memory is not, so run sync or fsfreeze before.\n"
		   "Requests wait a moment, which is printed. `qemu-img snapshot` and `qemu-img convert -l` know\n"
		   "such snapshots; what they keep takes room until they are deleted.\n"
		   "delete DEVICE [NODE] SNAPSHOT ends one, by its name or id: what it alone had is free then.\n"
		   "revert DEVICE [NODE] SNAPSHOT makes the device hold again what it held then; the snapshot\n"
		   "stays, and what was written since is lost (create another one before, to keep it). Refuses while\n"
		   "the disk is mounted, open or part of another device, and says by whom: its bytes change.\n"
		   "list DEVICE [NODE] shows what is kept.\n",
	.options = options,
	.operands_min = 2,
	.operands_max = 4,
	.run = run,
};
