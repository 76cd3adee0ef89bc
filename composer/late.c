// SPDX-License-Identifier: MIT
/*
 * Leaves that don't answer: how long they are waited for, and how a request gets out of the memory
 * that the kernel has still. It knows no target beyond `redundant`, and no driver.
 *
 * Time is counted in periods, a quarter of the shortest timeout; a sub-I/O only notes in which it was
 * begun. So it has its timeout in full, and at most a period more. A period in which this thread does
 * not run, as the machine is suspended, counts once.
 *
 * A leaf is given up only while another child of a redundant node above it is healthy: not failed,
 * nothing late, nothing missed. The last one is waited for, as dm and md do, since a WRITE that its
 * user was told has failed must not land after he has written the same place again. What is late on
 * a leaf that was given up lands on one that its parent fails: harmless until that one is used again,
 * which child_may_return() says when.
 *
 * Of a WRITE the memory must stay as it is, of a READ nobody else may use it: not the same request
 * either, which asks the next leg for the same bytes. So it moves at once: its bytes and scratch are
 * copied to a spare home, and what is under way in time brings its bytes after it. Its frames and
 * sub-I/Os stay where they are until it ends; its next request begins in the new home.
 */
#include "engine_internal.h"

#include <string.h>

#define SECOND UINT64_C(1000000000)
#define PERIODS 4 /* of the shortest timeout */

/* Whether the node can answer for what is missing elsewhere. */
static bool is_healthy(const struct node *node)
{
	const struct leaf *leaf = node->leaf;
	unsigned healthy = 0, i;

	if (node->failed)
		return false;
	if (leaf)
		return !leaf->late && !leaf->has_missed;
	for (i = 0; i < node->child_count; i++)
		healthy += is_healthy(node->children[i]);
	return node->type->redundant ? healthy > 0 : healthy == node->child_count;
}

static bool is_guarded(const struct leaf *leaf)
{
	const struct node *node, *parent;
	unsigned i;

	for (node = leaf->node; (parent = node->parent); node = parent)
		for (i = 0; parent->type->redundant && i < parent->child_count; i++)
			if (parent->children[i] != node && is_healthy(parent->children[i]))
				return true;
	return false;
}

bool child_has_late_io(const struct node *child)
{
	unsigned i;

	if (child->leaf)
		return leaf_has_late_io(child->leaf);
	for (i = 0; i < child->child_count; i++)
		if (child_has_late_io(child->children[i]))
			return true;
	return false;
}

static void forgive(struct node *node)
{
	unsigned i;

	if (node->leaf)
		node->leaf->has_missed = false;
	for (i = 0; i < node->child_count; i++)
		forgive(node->children[i]);
}

bool child_may_return(struct node *child)
{
	if (child_has_late_io(child))
		return false;
	forgive(child);
	return true;
}

static void home_make_spare(struct pool *pool, struct home *home)
{
	home->next = pool->spare;
	pool->spare = home;
}

static void home_leave(struct pool *pool, struct home *home)
{
	home->is_lived_in = false;
	if (!home->late)
		home_make_spare(pool, home);
}

/* A late sub-I/O can't touch it any more. */
static void home_clear(struct pool *pool, struct home *home)
{
	if (--home->late == 0 && !home->is_lived_in)
		home_make_spare(pool, home);
}

/* False: there is no spare home. */
static bool io_move(struct io *io)
{
	const struct engine_config *config = &io->engine->config;
	struct home *old = io->goods, *home = io->pool->spare;

	if (!home)
		return false;
	io->pool->spare = home->next;
	home->is_lived_in = true;
	home->next = NULL;
	if (old != io->home) {
		old->next = io->left;
		io->left = old;
	}
	old->data = io->data;
	if (io->request.data.home == DATA_REQUEST)
		memcpy(home->data, io->data, io->request.length);
	if (io->scratch_used)
		memcpy(home->scratch, io->scratch, io->scratch_used);
	io->goods = home;
	io->data = home->data;
	io->scratch = home->scratch;
	if (!io->worker)
		config->backend->moved(config->context, io->tag, io->data);
	return true;
}

void io_settle_down(struct io *io)
{
	struct home *home, *next;

	for (home = io->left; home; home = next) {
		next = home->next;
		home_leave(io->pool, home);
	}
	io->left = NULL;
	home_leave(io->pool, io->home);
	io->home = io->goods;
	io->arena = io->home->arena;
}

void sub_io_bring(struct sub_io *sub)
{
	struct io *io = sub->io;
	const struct home *from = sub->goods;
	const struct sub_io *part;

	if (from == io->goods)
		return;
	for (part = sub; part; part = part->merged) {
		const struct request *request = part->op ? &part->op->request : &io->request;
		uint32_t offset = request->data.offset;

		if (request->data.home == DATA_SCRATCH)
			memcpy(io->scratch + offset, from->scratch + offset, request->length);
		else
			memcpy((char *)io->data + offset, (char *)from->data + offset,
				request->length);
	}
}

void watch(struct engine *engine, struct sub_io *sub)
{
	struct watch *list = &engine->watches[sub->leaf->place];

	sub->goods = sub->io->goods;
	if (!list->patience)
		return;
	sub->watched = true;
	sub->watched_since = engine->periods;
	sub->watch.next = NULL;
	sub->watch.before = list->last;
	if (list->last)
		list->last->watch.next = sub;
	else
		list->first = sub;
	list->last = sub;
	if (engine->period_ends != UINT64_MAX)
		return;
	engine->period_ends =
		engine->config.backend->now(engine->config.context) + engine->period;
	timer_ask(engine);
}

void unwatch(struct engine *engine, struct sub_io *sub)
{
	struct watch *list = &engine->watches[sub->leaf->place];

	sub->watched = false;
	if (sub->watch.before)
		sub->watch.before->watch.next = sub->watch.next;
	else
		list->first = sub->watch.next;
	if (sub->watch.next)
		sub->watch.next->watch.before = sub->watch.before;
	else
		list->last = sub->watch.before;
}

static void leaf_count_late(struct leaf *leaf, unsigned more)
{
	__atomic_store_n(&leaf->late, leaf->late + more, __ATOMIC_RELAXED);
}

/* Its time is up. It is waited for all the same if nobody could go on without it, or nowhere. */
static void expire(struct engine *engine, struct sub_io *sub)
{
	struct io *io = sub->io;

	if (!is_guarded(sub->leaf) || (sub->goods == io->goods && !io_move(io)))
		return;
	unwatch(engine, sub);
	sub->late = true;
	sub->home = io->home;
	sub->home->late++;
	if (sub->goods != sub->home)
		sub->goods->late++;
	engine->late++;
	leaf_count_late(sub->leaf, 1);
	if (sub->kind != IO_READ)
		sub->leaf->has_missed = true;
	engine_count(&engine->stats.late, 1);
	if (sub_io_is_record(sub))
		record_expire(sub);
	else
		sub_io_expire(sub);
}

void late_ended(struct sub_io *sub)
{
	struct engine *engine = sub->io->engine;
	struct pool *pool = sub->io->pool;
	struct home *home = sub->home, *goods = sub->goods;

	engine->late--;
	leaf_count_late(sub->leaf, -1u);
	home_clear(pool, home); /* the sub-I/O itself is in there */
	if (goods != home)
		home_clear(pool, goods);
}

void watch_tick(struct engine *engine)
{
	const struct engine_config *config = &engine->config;
	struct sub_io *sub, *next;
	bool is_waiting = false;
	unsigned i;

	engine->now = config->backend->now(config->context);
	if (engine->now < engine->period_ends)
		return;
	engine->periods++;
	for (i = 0; i < config->tree->leaf_count; i++) {
		struct watch *list = &engine->watches[i];

		for (sub = list->first;
			sub && engine->periods - sub->watched_since > list->patience; sub = next) {
			next = sub->watch.next;
			expire(engine, sub);
		}
		is_waiting |= list->first != NULL;
	}
	engine->period_ends = is_waiting ? engine->now + engine->period : UINT64_MAX;
}

/* Only leaves that an engine's root stands above are ever asked. */
bool engine_wants_spares(const struct tree *tree)
{
	unsigned i;

	for (i = 0; i < tree->leaf_count; i++)
		if (tree->leaves[i]->timeout)
			return true;
	return false;
}

void watches_init(struct engine *engine)
{
	const struct tree *tree = engine->config.tree;
	uint64_t least = UINT64_MAX;
	unsigned i;

	for (i = 0; i < tree->leaf_count; i++) {
		uint64_t timeout = tree->leaves[i]->timeout * SECOND;

		if (timeout && timeout < least)
			least = timeout;
	}
	engine->period = least / PERIODS;
	engine->period_ends = UINT64_MAX;
	for (i = 0; i < tree->leaf_count; i++) {
		uint64_t timeout = tree->leaves[i]->timeout * SECOND;

		engine->watches[i].patience =
			(uint32_t)((timeout + engine->period - 1) / engine->period);
	}
}

unsigned engine_late(const struct engine *engine)
{
	return engine->late;
}
