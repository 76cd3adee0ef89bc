// SPDX-License-Identifier: MIT
/*
 * Fuzzes thin's opening with any bytes as an image (libFuzzer): make fuzz T=qcow2 MINUTES=5. It
 * begins with images that qemu-img has made: tests/fuzz/qcow2.
 *
 * What must hold: an image is refused with a message or all of its tables are within bounds, so that
 * every read of the device has a plan whose ops lie within the image or the request. Only to be
 * read or also to be written: the first byte behind the image decides.
 */
#include "assemble.h"
#include "thin.h"
#include "tree.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define OPS_MAX 4096
#define PIECE 65536

static void must(bool what)
{
	if (!what)
		abort();
}

static void read_all(struct node *node)
{
	static struct op ops[OPS_MAX];
	static uint8_t scratch[16u << 20], state[4096];
	uint64_t offset, size = node->limits.size, end = node->children[0]->limits.size;

	must(node->needs.scratch <= sizeof(scratch) && sizeof(struct thin_io) <= sizeof(state));
	for (offset = 0; offset < size && offset < 64 * PIECE; offset += PIECE) {
		struct plan plan = {
			.ops = ops,
			.capacity = OPS_MAX,
			.result = PLAN_RUNNING,
			.io_state = state,
			.scratch = scratch,
			.scratch_size = node->needs.scratch,
		};
		struct request request = {
			.kind = IO_READ,
			.offset = offset,
			.length = size - offset < PIECE ? size - offset : PIECE,
			.data.home = DATA_REQUEST,
		};
		unsigned i;

		memset(state, 0, sizeof(state));
		node->type->map(node, &request, &plan);
		for (i = 0; i < plan.count; i++) {
			const struct request *op = &ops[i].request;

			if (op->kind == IO_READ)
				must(op->offset <= end && op->length <= end - op->offset);
			if (op->data.home == DATA_REQUEST)
				must(op->data.offset + op->length <= request.length);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static const char *const documents[] = {
		"{\"format\":1,\"name\":\"f\",\"device\":{\"read_only\":true},\"root\":{\"type\":\"thin\","
		"\"data\":{\"type\":\"file\",\"path\":\"%s\",\"direct\":false}}}",
		"{\"format\":1,\"name\":\"f\",\"root\":{\"type\":\"thin\",\"data\":{\"type\":\"file\","
		"\"path\":\"%s\",\"direct\":false}}}",
	};
	static char path[64];
	struct assemble_options options = { .dry = true };
	struct err err = { 0 }, notes = { 0 };
	struct tree *tree;
	char text[512];
	int fd;

	if (size < 512)
		return 0;
	if (!*path)
		snprintf(path, sizeof(path), "/dev/shm/ubd-fuzz.%d", (int)getpid());
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	must(fd >= 0 && write(fd, bytes, size - 1) == (ssize_t)size - 1);
	close(fd);
	snprintf(text, sizeof(text), documents[bytes[size - 1] & 1], path);
	tree = tree_parse("fuzz.json", text, strlen(text), &err);
	must(tree);
	if (leaves_open(tree, LEAF_PROBE, &err) == 0 && assemble(tree, &options, &err, &notes) == 0 &&
		tree_open(tree, &err) == 0)
		read_all(tree->root);
	else
		must(err.count > 0);
	leaves_close(tree, true);
	tree_destroy(tree);
	err_finish(&err);
	err_finish(&notes);
	unlink(path);
	return 0;
}
