// SPDX-License-Identifier: MIT
/* The steps from a read tree to one that may serve, in order, and their reverse. */
#include "lifetime.h"

#include "overlay.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

static bool is_redundant(const struct tree *tree, bool with_spares)
{
	unsigned i;

	for (i = 0; i < tree->node_count; i++)
		if (tree->nodes[i]->type->redundant && (tree->nodes[i]->spare_count || !with_spares))
			return true;
	return false;
}

struct access {
	enum leaf_access whole, degraded;
	bool looks_only; /* at leaves that nobody else has */
};

static int look(struct tree *tree, const struct access *access, const struct assemble_options *options,
	struct err *err, struct err *notes)
{
	if (access->looks_only && leaves_check_free(tree, err) < 0)
		return -1;
	return assemble(tree, options, err, notes);
}

/*
 * What isn't there, or others have, may be a spare's or have been removed, which assemble() can do without: only it
 * can tell. If it can't, the reason is what opening has said, unless there are spares, of which it knows more.
 */
static int look_without(struct tree *tree, const struct access *access,
	const struct assemble_options *options, struct err *first, struct err *notes)
{
	struct err second = { 0 };
	int result = leaves_open(tree, access->degraded, &second);

	if (result == 0)
		result = look(tree, access, options, &second, notes);
	if (result == 0 || is_redundant(tree, true)) {
		err_finish(first);
		err_move(first, &second);
	}
	err_finish(&second);
	return result;
}

static int bring_up(struct tree *tree, const struct access *access,
	const struct assemble_options *options, struct err *err, struct err *notes)
{
	enum leaf_access kind = options->degraded ? access->degraded : access->whole;
	struct err opening = { 0 };
	int result;

	if (leaves_open(tree, kind, &opening) == 0)
		return look(tree, access, options, err, notes);
	result = -1;
	if (!options->degraded && is_redundant(tree, false))
		result = look_without(tree, access, options, &opening, notes);
	err_move(err, &opening);
	return result;
}

int lifetime_probe(struct tree *tree, const struct assemble_options *options, struct err *err,
	struct err *notes)
{
	static const struct access access = { LEAF_PROBE, LEAF_PROBE_DEGRADED, true };

	if (bring_up(tree, &access, options, err, notes) < 0 || tree_open(tree, err) < 0)
		return -1;
	tree->child_io = CHILD_IO_PROBE; /* what is asked next may have to be read first */
	return 0;
}

int lifetime_prepare(struct tree *tree, const struct assemble_options *options, struct err *err,
	struct err *notes)
{
	static const struct access access = { LEAF_SERVE, LEAF_SERVE_DEGRADED, false };

	if (bring_up(tree, &access, options, err, notes) == 0 && tree_open(tree, err) == 0)
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
