// SPDX-License-Identifier: MIT
/*
 * The label's way to the leaf and back: aligned, whole and durable. It knows no byte of a label.
 *
 * Everything goes through memory, offsets and lengths that are multiples of LABEL_BLOCK, so the
 * file may be open with O_DIRECT or not.
 */
#include "label.h"

#include "leaf_io.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WHY_MAX 200

static const char *const copy_names[LABEL_COPIES] = { "first", "second" };

/*
 * Zeroes for the heads, texts and peers, heads, with a flush after each step. Two generations in a
 * row fall to different copies, so each copy is the older or the newer one of the label. Where a start broke off
 * before, copy 0 may be torn, and the other one is what says that it did: so copy 0 goes first.
 */
int label_format(int fd, const struct label *label)
{
	struct label each = *label;
	char *memory = leaf_io_memory(LABEL_COPY_STRIDE);
	size_t length;
	unsigned i;
	int result = 0;

	assert(label->generation >= LABEL_COPIES);
	if (!memory)
		return -ENOMEM;
	each.updated = (uint64_t)time(NULL);
	memset(memory, 0, LABEL_BLOCK);
	for (i = 0; i < LABEL_COPIES && result == 0; i++)
		if ((result = leaf_io_write(fd, memory, LABEL_BLOCK, i * LABEL_COPY_STRIDE)) == 0)
			result = leaf_io_flush(fd);
	length = label_encode_copy(&each, memory);
	for (i = 0; i < LABEL_COPIES && result == 0; i++)
		result = leaf_io_write(fd, memory + LABEL_BLOCK, length - LABEL_BLOCK,
			i * LABEL_COPY_STRIDE + LABEL_BLOCK);
	if (result == 0)
		result = leaf_io_flush(fd);
	for (i = LABEL_COPIES; i > 0 && result == 0; i--) {
		each.generation = label->generation - (i - 1);
		(void)label_encode(&each, memory); /* only the head is written */
		result = leaf_io_write(fd, memory, LABEL_BLOCK, label_offset(each.generation));
	}
	if (result == 0)
		result = leaf_io_flush(fd);
	free(memory);
	return result;
}

static int update(
	int fd, struct label *label, size_t (*encode)(const struct label *, void *), size_t size)
{
	char *memory = leaf_io_memory(size);
	int result;

	if (!memory)
		return -ENOMEM;
	label->generation++;
	label->updated = (uint64_t)time(NULL);
	result = leaf_io_write(fd, memory, encode(label, memory), label_offset(label->generation));
	if (result == 0)
		result = leaf_io_flush(fd);
	if (result < 0)
		label->generation--; /* the next try goes to this copy again, not to the whole one
				      */
	free(memory);
	return result;
}

int label_update(int fd, struct label *label)
{
	return update(fd, label, label_encode, LABEL_UPDATE_MAX);
}

int label_update_texts(int fd, struct label *label)
{
	return update(fd, label, label_encode_copy, LABEL_COPY_STRIDE);
}

int label_rewrite(int fd, uint64_t generation)
{
	char *memory = leaf_io_memory(LABEL_COPY_STRIDE);
	uint64_t offset = label_offset(generation);
	size_t length = 0;
	int result = -ENOMEM;

	if (memory)
		result = leaf_io_read(fd, memory, LABEL_BLOCK, offset);
	if (result == 0) {
		length = label_copy_length(memory);
		result = leaf_io_read(fd, memory, length, offset);
	}
	if (result == 0)
		result = leaf_io_write(fd, memory, length, offset);
	if (result == 0)
		result = leaf_io_flush(fd);
	free(memory);
	return result;
}

static enum label_found unreadable(int error, uint64_t offset, char *why, size_t why_size)
{
	snprintf(why, why_size, "reading its label at byte %llu: %s", (unsigned long long)offset,
		strerror(-error));
	return LABEL_UNREADABLE;
}

/* Reads one copy as far as its head says, and takes it apart. */
static enum label_found read_copy(int fd, uint64_t bytes, uint64_t offset, struct label *label,
	char *why, size_t why_size)
{
	char *head = leaf_io_memory(LABEL_BLOCK), *copy = NULL;
	enum label_found found = LABEL_NONE;
	size_t length;
	int result = head ? 0 : -ENOMEM;

	*label = (struct label){ 0 };
	if (offset > bytes || bytes - offset < LABEL_BLOCK)
		goto end;
	if (result == 0)
		result = leaf_io_read(fd, head, LABEL_BLOCK, offset);
	if (result == 0 &&
		label_decode(head, LABEL_BLOCK, offset, label, why, why_size) == LABEL_NONE)
		goto end;
	length = result == 0 ? label_copy_length(head) : 0;
	if (length > bytes - offset)
		length = (size_t)((bytes - offset) / LABEL_BLOCK * LABEL_BLOCK);
	if (result == 0 && !(copy = leaf_io_memory(length)))
		result = -ENOMEM;
	if (result == 0)
		result = leaf_io_read(fd, copy, length, offset);
	found = result < 0 ? unreadable(result, offset, why, why_size)
			   : label_decode(copy, length, offset, label, why, why_size);
end:
	free(head);
	free(copy);
	return found;
}

/* Both are whole: the newer one, if they are of one leaf. */
static int newer_copy(const struct label *labels)
{
	if (uuid_compare(labels[0].leaf_uuid, labels[1].leaf_uuid) != 0 ||
		uuid_compare(labels[0].tree_uuid, labels[1].tree_uuid) != 0)
		return -1;
	return labels[1].generation > labels[0].generation;
}

/* What the two copies say together, and which of them. */
static enum label_found judge(
	const enum label_found *found, const struct label *labels, int *chosen)
{
	static const enum label_found worst_first[] = { LABEL_UNREADABLE, LABEL_CORRUPT };
	unsigned i;
	int copy;

	*chosen = found[0] == LABEL_FOUND ? 0 : 1;
	for (copy = 0; copy < LABEL_COPIES; copy++)
		if (found[copy] == LABEL_NEWER) { /* never outvoted by a copy that we understand */
			*chosen = copy;
			return LABEL_NEWER;
		}
	if (found[0] == LABEL_FOUND && found[1] == LABEL_FOUND) {
		*chosen = newer_copy(labels);
		return *chosen < 0 ? LABEL_CORRUPT : LABEL_FOUND;
	}
	if (found[*chosen] == LABEL_FOUND)
		return LABEL_FOUND;
	for (i = 0; i < sizeof(worst_first) / sizeof(*worst_first); i++)
		for (copy = 0; copy < LABEL_COPIES; copy++)
			if (found[copy] == worst_first[i]) {
				*chosen = copy;
				return worst_first[i];
			}
	return LABEL_NONE;
}

static void explain(const enum label_found *found, int chosen, char clauses[][WHY_MAX], char *why,
	size_t why_size)
{
	if (chosen < 0)
		snprintf(why, why_size, "the two copies of its label are of different leaves");
	else if (found[chosen] == LABEL_FOUND && found[!chosen] == LABEL_NONE)
		snprintf(why, why_size, "the %s copy of its label is gone", copy_names[!chosen]);
	else if (found[chosen] == LABEL_FOUND && found[!chosen] != LABEL_FOUND)
		snprintf(why, why_size, "the %s copy of its label is damaged: %s",
			copy_names[!chosen], clauses[!chosen]);
	else if (found[chosen] == LABEL_CORRUPT)
		snprintf(why, why_size, "no copy of its label is whole: of the %s, %s",
			copy_names[chosen], clauses[chosen]);
	else if (found[chosen] != LABEL_FOUND)
		snprintf(why, why_size, "%s", clauses[chosen]);
}

static bool same_lengths(const struct label *a, const struct label *b)
{
	if (!a->lengths || !b->lengths)
		return !a->lengths && !b->lengths;
	return a->leaf_count == b->leaf_count &&
	       !memcmp(a->lengths, b->lengths, a->leaf_count * sizeof(*a->lengths));
}

enum label_found label_read(int fd, uint64_t bytes, struct label *label, char *why, size_t why_size)
{
	struct label labels[LABEL_COPIES] = { { 0 } };
	char clauses[LABEL_COPIES][WHY_MAX] = { "", "" };
	enum label_found found[LABEL_COPIES], result;
	int copy, chosen;

	*label = (struct label){ 0 };
	*why = '\0';
	for (copy = 0; copy < LABEL_COPIES; copy++)
		found[copy] = read_copy(fd, bytes, (unsigned)copy * LABEL_COPY_STRIDE,
			&labels[copy], clauses[copy], sizeof(clauses[copy]));
	result = judge(found, labels, &chosen);
	explain(found, chosen, clauses, why, why_size);
	if (result == LABEL_FOUND && found[!chosen] == LABEL_FOUND)
		labels[chosen].mixed = strcmp(labels[0].document, labels[1].document) != 0 ||
				       strcmp(labels[0].geometry, labels[1].geometry) != 0 ||
				       !same_lengths(&labels[0], &labels[1]);
	for (copy = 0; copy < LABEL_COPIES; copy++)
		if (result == LABEL_FOUND && copy == chosen)
			*label = labels[copy];
		else
			label_finish(&labels[copy]);
	label->damaged = result == LABEL_FOUND && found[!chosen] != LABEL_FOUND;
	return result;
}
