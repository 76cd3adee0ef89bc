// SPDX-License-Identifier: MIT
/* The engine's memory: all of it is taken in engine_open(). It knows how much, and not what for. */
#include "engine_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define ARENAS_MAX (UINT64_C(256) << 20) /* all tags of one queue together, and their scratch */
#define PAGE 4096

static bool is_below(const struct engine *engine, const struct node *node)
{
	while (node && node != engine->config.root)
		node = node->parent;
	return node;
}

static bool has_worker(const struct engine *engine, const struct node *node)
{
	const struct engine_backend *backend = engine->config.backend;

	return node->type->work && node->needs.work_max && backend->now && backend->timer &&
		is_below(engine, node);
}

/* Work is never handed down, and so not planned again. */
static struct arena_need work_need(const struct node *node)
{
	struct arena_need need = arena_need(node, FRAME_WORK, 0);

	need.kept = 0;
	return need;
}

/* Counts a run of ios that need that much each into the sum. False: it is too much. */
static bool sum_add(const struct engine *engine, struct arena_need *sum, unsigned count,
	const struct arena_need *need)
{
	uint64_t most = engine->config.memory_max;
	uint64_t one = need->bytes + need->scratch;

	if (one > most / count || count * one > most - sum->bytes - sum->scratch)
		return false;
	sum->bytes += count * need->bytes;
	sum->scratch += count * need->scratch;
	sum->sub_ios += count * need->sub_ios;
	sum->kept += count * need->kept;
	return true;
}

/* What all ios take together. -1 with a message if that is too much. */
static int engine_sum(struct engine *engine, const struct arena_need *need, struct arena_need *sum,
	struct err *err)
{
	const struct tree *tree = engine->config.tree;
	const struct node *root = engine->config.root;
	bool has_others = false;
	unsigned i;

	if (!sum_add(engine, sum, engine->tag_count, need))
		return err_add(err,
			"%s: one request may need %" PRIu64 " bytes, which is over the limit of %" PRIu64
			" for queue_depth %u; lower queue_depth or max_io_size",
			tree->name, need->bytes + need->scratch,
			engine->config.memory_max / engine->tag_count, engine->config.depth);
	engine->io_count = engine->tag_count;
	for (i = 0; i < tree->node_count; i++) {
		struct node *node = tree->nodes[i];
		struct arena_need work;

		node->served = node->needs.scratch || node->needs.self_fixed || node->needs.work_max;
		if (node->served && !node->type->maps_again && is_below(engine, node)) {
			engine->fetches_first = true;
			has_others |= node != root;
		}
		/* Holds are an engine's own: they keep nothing apart from what another one does. */
		assert(!engine->config.is_one_of_many || node->type->stateful ||
			!(node->type->hold || node->type->work || node->needs.self_fixed));
		if (!has_worker(engine, node))
			continue;
		work = work_need(node);
		if (!sum_add(engine, sum, node->needs.work_max, &work))
			return err_add(err,
				"%s: the background work of %s %s may need %" PRIu64 " bytes more than "
				"%" PRIu64 ", and the limit is %" PRIu64 "; lower queue_depth",
				tree->name, node->type->name, node->id,
				node->needs.work_max * (work.bytes + work.scratch),
				sum->bytes + sum->scratch, engine->config.memory_max);
		engine->worker_count++;
		engine->io_count += node->needs.work_max;
	}
	engine->asks_root = !has_others && root->type && root->type->is_plain;
	return 0;
}

static int engine_allocate(struct engine *engine, const struct arena_need *sum)
{
	const struct tree *tree = engine->config.tree;
	size_t ios = engine->io_count * sizeof(*engine->ios);
	size_t holds = tree->node_count * sizeof(*engine->holds);
	size_t subs = (tree->leaf_count + 1) * sizeof(*engine->last_subs);
	size_t workers = (engine->worker_count + 1) * sizeof(*engine->workers);
	size_t ports = engine->port_count * sizeof(*engine->ports);
	void *scratches = NULL;

	engine->ios = calloc(1, ios);
	engine->holds = calloc(1, holds);
	engine->last_subs = calloc(1, subs);
	engine->workers = calloc(1, workers);
	engine->ports = calloc(1, ports);
	engine->arenas = calloc(1, sum->bytes + sum->kept + 1);
	if (sum->scratch && posix_memalign(&scratches, PAGE, sum->scratch) != 0)
		return -1;
	engine->scratches = scratches;
	engine->memory = sizeof(*engine) + ios + holds + subs + workers + ports + sum->bytes + sum->kept + sum->scratch;
	return engine->ios && engine->holds && engine->last_subs && engine->workers &&
			engine->ports && engine->arenas ? 0 : -1;
}

/* Deals out what is left of the memory. */
struct deal {
	char *arena, *scratch;
	unsigned next; /* io */
};

static void deal_ios(struct engine *engine, struct deal *deal, unsigned count,
	const struct arena_need *need, struct worker *worker)
{
	for (; count > 0; count--) {
		struct io *io = &engine->ios[deal->next];

		io->engine = engine;
		io->port = &engine->ports[worker ? 0 : deal->next / engine->config.depth];
		io->tag = worker ? deal->next : deal->next % engine->config.depth;
		deal->next++;
		io->worker = worker;
		io->arena = deal->arena;
		io->size = need->bytes;
		io->scratch = deal->scratch;
		io->scratch_size = (uint32_t)need->scratch;
		deal->arena += need->bytes;
		io->kept = deal->arena;
		io->kept_size = need->kept;
		deal->arena += need->kept;
		if (need->scratch)
			deal->scratch += need->scratch;
	}
}

static void engine_deal(struct engine *engine, const struct arena_need *need)
{
	struct deal deal = { engine->arenas, engine->scratches, 0 };
	const struct tree *tree = engine->config.tree;
	struct worker *worker = engine->workers;
	unsigned i;

	deal_ios(engine, &deal, engine->tag_count, need, NULL);
	for (i = 0; i < tree->node_count; i++) {
		struct node *node = tree->nodes[i];
		struct arena_need work;

		if (!has_worker(engine, node))
			continue;
		work = work_need(node);
		*worker = (struct worker){
			.node = node,
			.ios = &engine->ios[deal.next],
			.count = node->needs.work_max,
			.again = UINT64_MAX,
		};
		deal_ios(engine, &deal, worker->count, &work, worker);
		worker++;
	}
}

int engine_open(struct engine **out, const struct engine_config *config, struct err *err)
{
	struct node *root = config->root ? config->root : config->tree->root;
	struct arena_need need = arena_need(root, FRAME_REQUEST, config->max_io);
	struct arena_need sum = { 0, 0, 0, 0 };
	struct engine *engine;

	*out = NULL;
	engine = calloc(1, sizeof(*engine));
	if (!engine)
		return err_add(err, "out of memory");
	engine->config = *config;
	engine->port_count = config->queues ? config->queues : 1;
	engine->tag_count = engine->port_count * config->depth;
	if (config->backend) {
		engine->backend = *config->backend;
		engine->config.backend = &engine->backend;
	}
	if (!engine->config.memory_max)
		engine->config.memory_max = engine->port_count * ARENAS_MAX;
	engine->config.root = root;
	engine->ready_end = &engine->ready;
	list_init(&engine->waiting);
	engine->timer_at = UINT64_MAX;
	if (!config->backend || !config->backend->pass)
		need.kept = 0; /* nothing is planned again */
	if (engine_sum(engine, &need, &sum, err) < 0)
		goto fail;
	engine->fan_out_max = (unsigned)need.sub_ios;
	engine->sub_ios_max = sum.sub_ios;
	if (engine_allocate(engine, &sum) < 0) {
		err_add(err, "out of memory for requests of %" PRIu64 " bytes together",
			sum.bytes + sum.scratch);
		goto fail;
	}
	engine_deal(engine, &need);
	ports_open(engine);
	if (watches_open(engine) < 0) {
		err_add(err, "out of memory for what leaves with a timeout have under way");
		goto fail;
	}
	*out = engine;
	return 0;
fail:
	engine_close(engine);
	return -1;
}

void engine_close(struct engine *engine)
{
	if (!engine || (engine->users > 1 && --engine->users))
		return;
	watches_close(engine);
	free(engine->ports);
	free(engine->ios);
	free(engine->holds);
	free(engine->last_subs);
	free(engine->workers);
	free(engine->arenas);
	free(engine->scratches);
	free(engine);
}

unsigned engine_fan_out_max(const struct engine *engine)
{
	return engine->fan_out_max;
}

uint64_t engine_sub_ios_max(const struct engine *engine)
{
	return engine->sub_ios_max;
}

size_t engine_memory(const struct engine *engine)
{
	return engine->memory;
}
