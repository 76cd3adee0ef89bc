// SPDX-License-Identifier: MIT
/* The steps from a read tree to one that may serve, in order, and their reverse. */
#include "lifetime.h"

#include "overlay.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

static bool has_spares(const struct tree *tree)
{
	unsigned i;

	for (i = 0; i < tree->node_count; i++)
		if (tree->nodes[i]->spare_count)
			return true;
	return false;
}

/* What isn't there may be a spare, which assemble() can do without: only it can tell. */
static int open_leaves(struct tree *tree, enum leaf_access access, enum leaf_access degraded,
	const struct assemble_options *options, struct err *err)
{
	struct err first = { 0 };
	int result;

	if (options->degraded || !has_spares(tree))
		return leaves_open(tree, options->degraded ? degraded : access, err);
	result = leaves_open(tree, access, &first);
	err_finish(&first);
	return result == 0 ? 0 : leaves_open(tree, degraded, err);
}

int lifetime_probe(struct tree *tree, const struct assemble_options *options, struct err *err,
	struct err *notes)
{
	if (open_leaves(tree, LEAF_PROBE, LEAF_PROBE_DEGRADED, options, err) < 0 || leaves_check_free(tree, err) < 0 ||
		assemble(tree, options, err, notes) < 0 || tree_open(tree, err) < 0)
		return -1;
	tree->child_io = CHILD_IO_PROBE; /* what is asked next may have to be read first */
	return 0;
}

int lifetime_prepare(struct tree *tree, const struct assemble_options *options, struct err *err,
	struct err *notes)
{
	if (open_leaves(tree, LEAF_SERVE, LEAF_SERVE_DEGRADED, options, err) == 0 && assemble(tree, options, err, notes) == 0 &&
		tree_open(tree, err) == 0)
		return 0;
	leaves_close(tree, true);
	return -1;
}

int lifetime_start(struct tree *tree, struct err *err, struct err *notes)
{
	if (overlays_save(tree, err) < 0 || assemble_start(tree, err, notes) < 0)
		return -1;
	return tree_load(tree, err);
}

static int flush(struct tree *tree, struct err *err)
{
	unsigned before = err->count, i;

	for (i = 0; i < tree->leaf_count; i++) {
		const struct leaf *leaf = tree->leaves[i];

		if (leaf->fd < 0 || node_has_failed(leaf->node))
			continue;
		if (leaf_is_hung(leaf))
			err_add(err, "%s: %s has not answered for %" PRIu64 " ms: it is not flushed",
				leaf->node->id, leaf->path, leaf->timeout_ms);
		else if (fdatasync(leaf->fd) < 0 && errno != EROFS && errno != EINVAL)
			err_add(err, "%s: %s can't be flushed: %s", leaf->node->id, leaf->path,
				strerror(errno));
	}
	return err->count == before ? 0 : -1;
}

/*
 * What the nodes keep, then the leaves, then the labels, which say that all that is so. A node that
 * couldn't load what it keeps has mended nothing of an unclean stop, or half of it.
 */
static int stop(struct tree *tree, struct err *err)
{
	bool is_loaded = tree_is_loaded(tree);

	if (tree_unload(tree, err) < 0 || flush(tree, err) < 0)
		return -1;
	return is_loaded ? assemble_stop(tree, err) : 0;
}

void lifetime_undo(struct tree *tree, bool started)
{
	struct err err = { 0 };

	if (started)
		(void)stop(tree, &err); /* what fails is an unclean stop for the next start */
	err_finish(&err); /* why all is undone has been said */
	leaves_close(tree, true);
}

int lifetime_stop(struct tree *tree, struct err *err)
{
	int result = stop(tree, err);

	leaves_close(tree, false);
	return result;
}
