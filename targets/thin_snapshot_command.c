// SPDX-License-Identifier: MIT
/*
 * Verbs for a thin's snapshots:
 *
 *	snapshots {}			{"snapshots": [{"id", "name", "seconds", "size", "vm_state"}, …]}
 *	snapshot-create {"name": NAME, "seconds": N}
 *					begins to make one, of that time since 1970
 *	snapshot-delete {"name": NAME}
 *					begins to delete the one of that name, or else of that id
 *	snapshot-revert {"name": NAME}	begins to go back to the one of that name, or else of that id, which stays: the
 *					device's content becomes what it was, under whoever has it open
 *	snapshot-made {}		{"running": BOOL, "pause_ns": N, "pause_ops": N}: of what was begun last; where that
 *					has failed, its message
 */
#include "thin_next.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json_object.h>
#include <stdio.h>
#include <stdlib.h>

#define NAME_BYTES_MAX 255u /* as in QEMU */
#define ID_BYTES 24

/* One after the other, from *at = 0 on; they were judged when the image was opened, or are ours. */
static bool next_snapshot(const struct thin *thin, size_t *at, struct qcow2_snapshot *snapshot)
{
	char why[QCOW2_WHY];
	size_t used;

	if (*at >= thin->snapshots.length)
		return false;
	used = qcow2_snapshot_read(
		&thin->header, thin->snapshots.bytes + *at, thin->snapshots.length - *at, snapshot, why);
	*at += used;
	return used;
}

static bool is_text(const char *bytes, size_t length, const char *text)
{
	return length == strlen(text) && !memcmp(bytes, text, length);
}

static void list(const struct thin *thin, struct json_object *answer)
{
	struct json_object *out = json_object_new_array();
	struct qcow2_snapshot snapshot;
	size_t at = 0;

	while (next_snapshot(thin, &at, &snapshot)) {
		struct json_object *one = json_object_new_object();
		uint64_t size = snapshot.size ? snapshot.size : thin->header.size;

		json_object_object_add(one, "id", json_object_new_string_len(snapshot.id, snapshot.id_length));
		json_object_object_add(
			one, "name", json_object_new_string_len(snapshot.name, snapshot.name_length));
		json_object_object_add(one, "seconds", json_object_new_uint64(snapshot.seconds));
		json_object_object_add(one, "size", json_object_new_uint64(size));
		json_object_object_add(one, "vm_state", json_object_new_uint64(snapshot.state_bytes));
		json_object_array_add(out, one);
	}
	json_object_object_add(answer, "snapshots", out);
}

static int check_name(const struct node *node, const struct json *name, struct err *err)
{
	const char *text = name && json_kind(name) == JSON_STRING ? json_string(name) : "";
	const struct thin *thin = thin_of(node);
	struct qcow2_snapshot snapshot;
	size_t at = 0, i;

	if (!*text || strlen(text) > NAME_BYTES_MAX)
		return err_add(err, "thin %s: a snapshot's name has 1 to %u bytes, not %zu", node->id,
			NAME_BYTES_MAX, strlen(text));
	for (i = 0; text[i]; i++)
		if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
			return err_add(err, "thin %s: byte %zu of the snapshot's name is the control character %d",
				node->id, i + 1, text[i]);
	while (next_snapshot(thin, &at, &snapshot))
		if (is_text(snapshot.name, snapshot.name_length, text) ||
			is_text(snapshot.id, snapshot.id_length, text))
			return err_add(err, "thin %s: there is a snapshot of the name or id \"%s\"", node->id, text);
	return 0;
}

/* What stands in the way of any change. */
static int check_state(const struct node *node, struct err *err)
{
	const struct thin *thin = thin_of(node);

	if (!thin->can_write)
		return err_add(err, "thin %s is only read", node->id);
	if (thin_is_external(thin))
		return err_add(err, "thin %s: its data is in an external data file, and the format rules out internal "
			"snapshots beside one", node->id);
	if (!node->loaded)
		return err_add(err, "thin %s is not being served; see qemu-img snapshot", node->id);
	if (thin->failed)
		return err_add(err, "thin %s: its metadata has failed (status: metadata_failed)", node->id);
	if (thin->has_lost)
		return err_add(err, "thin %s: a flush has failed since the start: what was written before may be lost "
			"with the power, and would be in the snapshot; stop and create the device first", node->id);
	if (thin->next)
		return err_add(err, "thin %s: another snapshot is being made, deleted or gone back to", node->id);
	if (thin_job_is_on(&thin->flatten))
		return err_add(err, "thin %s is being flattened: a snapshot would be based on the backing that goes; "
			"let that end, or stop it first (flatten --stop)", node->id);
	if (thin_job_is_on(&thin->merge.job))
		return err_add(err, "thin %s is being committed: a snapshot would be based on a backing that changes; let that "
			"end, or stop it first (commit --stop)", node->id);
	if (thin_is_trimming(thin))
		return err_add(err, "thin %s is being trimmed: rows of free clusters can't be looked for beside that; let it end", node->id);
	if (!thin->table_count)
		return err_add(err, "thin %s has no bytes", node->id);
	if (qcow2_refcount_max(&thin->header) < 2)
		return err_add(err, "thin %s: its image counts to 1 only (refcount_bits=1), and a snapshot needs 2",
			node->id);
	return 0;
}

/* As other programs have it: the number after the largest. */
static uint16_t find_id(const struct thin *thin, char id[ID_BYTES])
{
	struct qcow2_snapshot snapshot;
	uint64_t largest = 0;
	size_t at = 0;

	while (next_snapshot(thin, &at, &snapshot)) {
		uint64_t number = 0;
		unsigned i;

		for (i = 0; i < snapshot.id_length && i < 18 && snapshot.id[i] >= '0' && snapshot.id[i] <= '9'; i++)
			number = number * 10 + (uint64_t)(snapshot.id[i] - '0');
		if (i == snapshot.id_length && number > largest)
			largest = number;
	}
	return (uint16_t)snprintf(id, ID_BYTES, "%" PRIu64, largest + 1);
}

static int begin(struct node *node, uint8_t *bytes, size_t length, uint32_t count, enum thin_next_kind kind,
	const struct qcow2_snapshot *past, struct err *err)
{
	struct thin *thin = thin_of(node);

	thin_release_gone(thin, UINT64_MAX); /* what the last one has left to do */
	if (!bytes || thin_next_make(thin, bytes, length, count, kind, past) < 0) {
		free(bytes);
		return err_add(err, "thin %s: out of memory for another generation of its tables", node->id);
	}
	thin->made.pause = thin->made.pause_ops = 0;
	__atomic_store_n(&thin->made.result, 0, __ATOMIC_RELAXED);
	return 0;
}

/* The device's L1 table will be the snapshot's. */
static int create(struct node *node, const struct json *arguments, struct err *err)
{
	const struct json *name = json_get(arguments, "name");
	struct thin *thin = thin_of(node);
	size_t old = (thin->snapshots.length + 7) & ~(size_t)7, length;
	char id[ID_BYTES];
	struct qcow2_snapshot snapshot = {
		.l1_offset = thin->header.l1_offset,
		.l1_size = thin->header.l1_size,
		.seconds = (uint32_t)json_get_unsigned(arguments, "seconds", 0),
		.size = thin->header.size,
		.id = id,
	};
	uint8_t *bytes;

	if (check_state(node, err) < 0 || check_name(node, name, err) < 0)
		return -1;
	snapshot.id_length = find_id(thin, id);
	snapshot.name = json_string(name);
	snapshot.name_length = (uint16_t)strlen(snapshot.name);
	length = old + qcow2_snapshot_write(&snapshot, NULL);
	if (thin->header.snapshot_count == QCOW2_SNAPSHOTS_MAX || length > QCOW2_SNAPSHOT_TABLE_MAX)
		return err_add(err, "thin %s has %" PRIu32 " snapshots, and its snapshot table %zu bytes: there is no "
			"room for another one", node->id, thin->header.snapshot_count, old);
	bytes = calloc(1, thin_up(thin, length));
	if (bytes) {
		if (thin->snapshots.length)
			memcpy(bytes, thin->snapshots.bytes, thin->snapshots.length);
		(void)qcow2_snapshot_write(&snapshot, bytes + old);
	}
	return begin(node, bytes, length, thin->header.snapshot_count + 1, NEXT_MAKES, NULL, err);
}

/* By its name, or else by its id: not by one of them where another has it as the other. */
static int find(const struct node *node, const char *text, struct qcow2_snapshot *found, struct err *err)
{
	const struct thin *thin = thin_of(node);
	struct qcow2_snapshot snapshot;
	unsigned count = 0;
	size_t at = 0;

	while (next_snapshot(thin, &at, &snapshot))
		if (is_text(snapshot.name, snapshot.name_length, text) ||
			is_text(snapshot.id, snapshot.id_length, text)) {
			*found = snapshot;
			count++;
		}
	if (count == 1)
		return 0;
	return err_add(err, count ? "thin %s has %u snapshots of the name or id \"%s\"; qemu-img snapshot -d can tell them apart" :
				    "thin %s has %u snapshots of the name or id \"%s\"", node->id, count, text);
}

static int delete(struct node *node, const struct json *arguments, struct err *err)
{
	const struct json *name = json_get(arguments, "name");
	struct thin *thin = thin_of(node);
	struct qcow2_snapshot doomed, snapshot;
	size_t at = 0, from = 0, length = 0;
	uint8_t *bytes;

	if (check_state(node, err) < 0 ||
		find(node, name && json_kind(name) == JSON_STRING ? json_string(name) : "", &doomed, err) < 0)
		return -1;
	bytes = calloc(1, thin_up(thin, thin->snapshots.length + 1));
	for (; bytes && next_snapshot(thin, &at, &snapshot); from = at) {
		size_t used = (at < thin->snapshots.length ? at : thin->snapshots.length) - from;

		if (snapshot.name == doomed.name)
			continue;
		memcpy(bytes + length, thin->snapshots.bytes + from, used);
		length += at - from;
	}
	return begin(node, bytes, length, thin->header.snapshot_count - 1, NEXT_DELETES, &doomed, err);
}

/*
 * Nobody else may make the device's bytes out of what this node has: a leg's fellows would differ from it, what is
 * kept in it would not fit it, and a part of a device would be of another time than the rest.
 */
static int check_above(const struct node *node, struct err *err)
{
	const struct node *above;

	for (above = node->parent; above; above = above->parent)
		if (above->type->redundant || above->type->roles || above->child_count > 1)
			return err_add(err, "thin %s is a part of %s %s: with its own bytes of another time that would be "
				"damaged; only a volume that is all of its device can go back", node->id,
				above->type->name, above->id);
	return 0;
}

static int revert(struct node *node, const struct json *arguments, struct err *err)
{
	const struct json *name = json_get(arguments, "name");
	struct thin *thin = thin_of(node);
	size_t length = thin->snapshots.length;
	struct qcow2_snapshot past;
	uint8_t *bytes;

	if (check_state(node, err) < 0 || check_above(node, err) < 0 ||
		find(node, name && json_kind(name) == JSON_STRING ? json_string(name) : "", &past, err) < 0)
		return -1;
	if (past.size && past.size != thin->header.size)
		return err_add(err, "thin %s has %" PRIu64 " bytes, and had %" PRIu64 " when the snapshot was made: a device "
			"that is being served keeps its size; see qemu-img snapshot -a", node->id, thin->header.size,
			past.size);
	bytes = calloc(1, thin_up(thin, length));
	if (bytes)
		memcpy(bytes, thin->snapshots.bytes, length);
	return begin(node, bytes, length, thin->header.snapshot_count, NEXT_REVERTS, &past, err);
}

static int tell_made(const struct node *node, struct json_object *answer, struct err *err)
{
	const struct thin *thin = thin_of(node);
	int result = thin->next ? 0 : thin->made.result;

	json_object_object_add(answer, "running", json_object_new_boolean(thin->next != NULL));
	json_object_object_add(answer, "pause_ns", json_object_new_uint64(thin->made.pause));
	json_object_object_add(answer, "pause_ops", json_object_new_uint64(thin->made.pause_ops));
	switch (-result) {
	case 0:
		return 0;
	case ENOSPC:
		return err_add(err, "thin %s: there is no room for another generation of its tables, which needs as "
			"much as they have, some of it in a row; nothing has changed", node->id);
	case EOVERFLOW:
		return err_add(err, "thin %s: a cluster is named by as many as its refcounts can say, %" PRIu64
			"; nothing has changed", node->id, qcow2_refcount_max(&thin->header));
	case ERANGE:
		return err_add(err, "thin %s: entries share clusters more often than memory for the new counts was taken for; "
			"nothing has changed, and another try will take more", node->id);
	case EBUSY:
		return err_add(err, "thin %s: its map changed faster than it could be written, %u times; nothing has "
			"changed", node->id, THIN_SWITCH_TRIES);
	default:
		return err_add(err, "thin %s: writing its tables: error %d%s", node->id, -result,
			thin->failed ? "; what the image holds is known again after the next start" :
				       "; nothing has changed");
	}
}

int thin_snapshot_command(struct node *node, const char *verb, const struct json *arguments,
	struct json_object *answer, struct err *err)
{
	if (!strcmp(verb, "snapshot-create"))
		return create(node, arguments, err);
	if (!strcmp(verb, "snapshot-delete"))
		return delete(node, arguments, err);
	if (!strcmp(verb, "snapshot-revert"))
		return revert(node, arguments, err);
	if (!strcmp(verb, "snapshot-made"))
		return tell_made(node, answer, err);
	if (strcmp(verb, "snapshots") != 0)
		return err_add(err, "thin %s knows no \"%s\"; it knows map, snapshots, snapshot-create, "
			"snapshot-delete, snapshot-revert, snapshot-made, flatten, stop-flatten, commit, stop-commit, trim and "
			"trimmed", node->id, verb);
	list(thin_of(node), answer);
	return 0;
}
