// SPDX-License-Identifier: MIT
/* A device's lives: start, requests, stop or crash, start again; and what must be true each time.
 */
#include "sim.h"

#include "lifetime.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DATA_MAX (32u << 10)
#define RANGE_MAX 256u /* sectors of a request without bytes */

struct tag {
	bool is_busy;
	struct request request;
	unsigned first, count;
	uint64_t begun, begun_faults, begun_upheavals;
};

static struct tag tags[TAGS];
static unsigned busy;
static char pages[TAGS][DATA_MAX]; /* the requests' own, the kernel's */
static char data[TAGS][DATA_MAX]; /* the daemon's buffers */
static bool may_pass;
static struct tree *tree;
static struct document document;
static unsigned device_sectors;
static uint64_t next_value, life_faults;
static bool was_stopped; /* cleanly */
static bool is_guarded, is_formatted, is_hidden[IMAGES_MAX], is_spare[IMAGES_MAX];
static uint64_t saved_life[IMAGES_MAX];

static void note_request(const char *what, unsigned tag, int result)
{
	const struct request *request = &tags[tag].request;

	sim_note("%s tag=%u %s%s %llu %llu result=%d", what, tag, io_kind_name(request->kind),
		request->flags & IO_FUA ? " fua" : "", (unsigned long long)request->offset,
		(unsigned long long)request->length, result);
}

static void find_oldest(void)
{
	uint64_t oldest = FOREVER;
	unsigned i;

	for (i = 0; i < TAGS; i++)
		if (tags[i].is_busy && tags[i].begun < oldest)
			oldest = tags[i].begun;
	model_set_oldest(oldest);
}

/* A request that met a fault has ended or is under way: a leg may be given up just now. */
static void note_upheaval(const struct tag *ended)
{
	bool is_met = ended->begun_faults != model_faults;
	unsigned i;

	for (i = 0; i < TAGS; i++)
		is_met |= tags[i].is_busy && tags[i].begun_faults != model_faults;
	if (is_met)
		model_upheavals++;
}

static void check_result(const struct tag *tag, int result)
{
	const struct request *request = &tag->request;
	int full = request->data.home == DATA_REQUEST ? (int)request->length : 0;

	if (result >= 0 && result != full)
		sim_fail("a %s of %llu bytes gave %d", io_kind_name(request->kind),
			(unsigned long long)request->length, result);
	if (result >= 0)
		return;
	totals.failed_requests++;
	if (is_guarded)
		sim_fail("a %s failed with %d, though a leg of each mirror never does",
			io_kind_name(request->kind), result);
	if (tag->begun_faults == model_faults && !backend.has_lost)
		sim_fail("a %s failed with %d, though no leaf did", io_kind_name(request->kind),
			result);
}

static void request_passed(unsigned n, int result)
{
	struct tag *tag = &tags[n];
	enum io_kind kind = tag->request.kind;

	if (!tag->is_busy)
		sim_fail("tag %u is committed twice", n);
	note_request("ended", n, result);
	tag->is_busy = false;
	busy--;
	totals.operations++;
	check_result(tag, result);
	find_oldest();
	note_upheaval(tag);
	if (kind == IO_FLUSH)
		model_flush_ends(tag->begun, result >= 0);
	else if (kind != IO_READ)
		model_write_ends(tag->first, tag->count, tag->begun, result >= 0,
			tag->request.flags & IO_FUA);
	else if (result >= 0)
		model_read_ends(tag->first, tag->count, pages[n], tag->begun, tag->begun_upheavals);
}

static void request_ended(unsigned n, int result)
{
	if (tags[n].request.kind == IO_READ && result > 0)
		memcpy(pages[n], data[n], (size_t)result);
	request_passed(n, result);
}

static void fetch(unsigned n)
{
	if (tags[n].request.kind == IO_WRITE)
		memcpy(data[n], pages[n], tags[n].request.length);
}

static void *page_of(unsigned n, void *at)
{
	if ((char *)at < data[n] || (char *)at >= data[n] + tags[n].request.length)
		sim_fail("tag %u: bytes outside of its buffer", n);
	return pages[n] + ((char *)at - data[n]);
}

static void start(enum io_kind kind, unsigned flags, unsigned first, unsigned count)
{
	bool has_bytes = kind == IO_READ || kind == IO_WRITE;
	unsigned n = random_below(TAGS), i;
	struct tag *tag;

	while (tags[n].is_busy)
		n = (n + 1) % TAGS;
	tag = &tags[n];
	*tag = (struct tag){ .is_busy = true, .first = first, .count = count };
	tag->request = (struct request){
		.kind = kind,
		.flags = flags,
		.offset = (uint64_t)first * SECTOR,
		.length = (uint64_t)count * SECTOR,
		.data = { has_bytes ? DATA_REQUEST : DATA_NONE, 0 },
	};
	busy++;
	tag->begun_faults = model_faults;
	tag->begun_upheavals = model_upheavals;
	memset(data[n], 0xa5, has_bytes ? tag->request.length : 0);
	memset(pages[n], 0xa6, has_bytes ? tag->request.length : 0);
	if (kind == IO_READ || kind == IO_FLUSH) {
		tag->begun = model_time();
	} else {
		uint64_t value = kind == IO_WRITE ? ++next_value : 0;

		tag->begun = model_write_begins(first, count, value);
		for (i = 0; i < count && kind == IO_WRITE; i++)
			sector_fill(pages[n] + i * SECTOR, value, first + i);
	}
	if (!may_pass)
		fetch(n);
	note_request("start", n, 0);
	engine_start(backend.engine, n, &tag->request, data[n]);
}

static void start_random(void)
{
	static const enum io_kind kinds[] = { IO_WRITE, IO_WRITE, IO_WRITE, IO_WRITE, IO_READ,
		IO_READ, IO_READ, IO_FLUSH, IO_WRITE_ZEROES, IO_DISCARD };
	enum io_kind kind = kinds[random_below(sizeof(kinds) / sizeof(*kinds))];
	const struct limits *limits = &tree->root->limits;
	bool has_bytes = kind == IO_READ || kind == IO_WRITE;
	unsigned most = has_bytes ? tree->device.max_io_size / SECTOR : RANGE_MAX;
	unsigned unit = limits->logical_block_size / SECTOR;
	unsigned span = random_below(2) && device_sectors > 16 ? 16 : device_sectors;
	unsigned first = random_below(span) / unit * unit, count, flags = 0;

	if ((kind == IO_WRITE_ZEROES && !limits->zeroes_granularity) ||
		(kind == IO_DISCARD && !limits->discard_granularity))
		return;
	if (most > device_sectors - first)
		most = device_sectors - first;
	count = unit + random_below(random_below(2) && most > 8 ? 8 : most) / unit * unit;
	if (count > most)
		count = most;
	if (kind == IO_FLUSH)
		first = count = 0;
	if ((kind == IO_WRITE || kind == IO_WRITE_ZEROES) && random_one_in(5))
		flags |= IO_FUA;
	if (kind == IO_WRITE_ZEROES && random_below(2))
		flags |= IO_NOUNMAP;
	start(kind, flags, first, count);
}

static void check_quiet(void)
{
	unsigned i;

	if (busy)
		sim_fail("%u requests never end", busy);
	engine_poll(backend.engine); /* what was handed down keeps its holds until asked */
	for (i = 0; i < tree->node_count; i++)
		if (backend.engine->holds[i].first)
			sim_fail("%s holds a range for nobody", tree->nodes[i]->id);
	for (i = 0; i < tree->leaf_count; i++)
		if (tree->leaves[i]->record.waiting || tree->leaves[i]->record.writing)
			sim_fail("leaf %u has a record for nobody", i);
	if (backend.engine->ready || backend.engine->dirty || backend.engine->depth)
		sim_fail("the engine has something to do, and doesn't");
}

static void quiesce(void)
{
	unsigned steps;

	for (steps = 0; backend_pending() && steps < 1000000; steps++) {
		if (steps % 16 == 0)
			backend_release_hung();
		backend_end_one();
	}
	check_quiet();
}

/* Everything is read twice, and neither changes nor fails. */
static void read_all(void)
{
	struct faults faults = backend.faults;
	unsigned most = tree->device.max_io_size / SECTOR, pass, first;

	quiesce();
	backend.faults = (struct faults){ .shorter = 20 };
	memset(backend.dead, 0, sizeof(backend.dead));
	for (pass = 0; pass < 2; pass++) {
		for (first = 0; first < device_sectors; first += most) {
			unsigned count = device_sectors - first;

			start(IO_READ, 0, first, count < most ? count : most);
			if (busy == TAGS)
				backend_end_one();
			while (busy == TAGS)
				backend_end_one();
		}
		quiesce();
	}
	backend.faults = faults;
}

/* Whether a sector of the node is one of a zero target: only mappings are asked. */
static bool is_void(struct node *node, uint64_t offset)
{
	struct op ops[64];
	struct plan plan = { .ops = ops, .capacity = 64, .result = PLAN_RUNNING };
	struct request request = {
		.kind = IO_DISCARD,
		.offset = offset,
		.length = SECTOR,
	};

	if (!strcmp(node->type->name, "zero"))
		return true;
	if (node->leaf || node->type->redundant)
		return false;
	node->type->map(node, &request, &plan);
	return is_void(node->children[ops[0].child], ops[0].request.offset);
}

/* What a node's sector holds, below the engine. */
static const char *sector_of(struct node *node, uint64_t offset)
{
	struct op ops[64];
	struct plan plan = { .ops = ops, .capacity = 64, .result = PLAN_RUNNING };
	struct request request = {
		.kind = IO_DISCARD,
		.offset = offset,
		.length = SECTOR,
	};
	unsigned i;

	if (node->leaf)
		return backend.images[node->leaf->place]->view + node->leaf->data_offset + offset;
	if (node->type->redundant) {
		for (i = 0; node->children[i]->failed; i++)
			;
		return sector_of(node->children[i], offset);
	}
	node->type->map(node, &request, &plan);
	return sector_of(node->children[ops[0].child], ops[0].request.offset);
}

static bool is_failed(const struct node *node)
{
	for (; node; node = node->parent)
		if (node->failed)
			return true;
	return false;
}

static void compare_legs(void)
{
	unsigned i, j;
	uint64_t offset;

	for (i = 0; i < tree->node_count && !model_may_differ(); i++) {
		struct node *node = tree->nodes[i];

		for (j = 0; node->type->redundant && j < node->child_count; j++)
			for (offset = 0;
				!is_failed(node->children[j]) && offset < node->limits.size;
				offset += SECTOR)
				if (memcmp(sector_of(node, offset),
					    sector_of(node->children[j], offset), SECTOR) != 0)
					sim_fail("%s: leg %u differs at %llu", node->id, j,
						(unsigned long long)offset);
	}
}

static void check_labels(void)
{
	char path[300], why[300];
	struct label label;
	unsigned i;

	for (i = 0; i < tree->leaf_count; i++) {
		const struct leaf *leaf = tree->leaves[i];

		if (!leaf->labelled || leaf->fd < 0)
			continue;
		if (label_read(leaf->fd, leaf->bytes, &label, why, sizeof(why)) != LABEL_FOUND)
			sim_fail("leaf %u has no label: %s", i, why);
		label_finish(&label);
	}
	(void)path;
}

/* Of each mirror at least one leg, and all that no mirror guards, never fail. */
static void guard(const struct node *node)
{
	unsigned i;

	if (node->leaf)
		backend.guarded[node->leaf->place] = true;
	else if (node->type->redundant)
		guard(node->children[random_below(node->child_count)]);
	else
		for (i = 0; i < node->child_count; i++)
			guard(node->children[i]);
}

static void choose_guards(void)
{
	unsigned mode = random_below(4), i;

	memset(backend.guarded, mode == 0, sizeof(backend.guarded));
	is_guarded = mode < 3;
	if (mode == 1 || mode == 2)
		guard(tree->root);
	model_is_redundant = false;
	for (i = 0; i < tree->node_count; i++)
		model_is_redundant |= tree->nodes[i]->type->redundant;
}

static void choose_faults(void)
{
	bool is_calm = random_one_in(4);

	backend.faults = (struct faults){
		.error = is_calm ? 0 : 20 << random_below(7),
		.again = random_below(2) ? 30 : 0,
		.shorter = random_below(2) ? 6 : 0,
		.hung = random_below(2) ? 40 : 0,
		.death = is_calm || random_below(2) ? 0 : 400,
	};
}

static void path_of(unsigned place, const char *suffix, char path[300])
{
	(void)snprintf(path, 300, "%s/leaf%02u%s", sim_directory, place, suffix);
}

static void hide(unsigned place, bool away)
{
	char here[300], there[300];

	path_of(place, away ? "" : ".away", here);
	path_of(place, away ? ".away" : "", there);
	if (rename(here, there) < 0)
		sim_fail("%s: %s", here, strerror(errno));
	is_hidden[place] = away;
	totals.hidden += away;
	model_upheavals++; /* another leg is read */
	sim_note("leaf %u is %s", place, away ? "taken away" : "brought back");
}

/* Whether a node has all it needs: no leaf that missed something or isn't there. */
static bool is_whole(const struct node *node)
{
	unsigned i, whole = 0;

	if (node->failed)
		return false;
	if (node->leaf)
		return node->leaf->fd >= 0 && !backend.dead[node->leaf->place];
	for (i = 0; i < node->child_count; i++)
		whole += is_whole(node->children[i]);
	return whole == node->child_count;
}

static bool has_guarded(const struct node *node)
{
	unsigned i;

	if (node->leaf)
		return backend.guarded[node->leaf->place];
	for (i = 0; i < node->child_count; i++)
		if (has_guarded(node->children[i]))
			return true;
	return false;
}

/*
 * Whether the leaf may be lost without harm: somewhere above there is another leg that is whole,
 * and what may be given up with it, since nobody can vouch for it any more, is no leg that never
 * fails.
 */
static bool find_spare(const struct leaf *leaf)
{
	const struct node *node, *leg = NULL; /* of the topmost mirror above */
	unsigned i, mirrors = 0;
	bool has_other = false;

	for (node = leaf->node; node->parent; node = node->parent) {
		if (!node->parent->type->redundant)
			continue;
		leg = node;
		mirrors++;
		for (i = 0; i < node->parent->child_count; i++)
			has_other |= i != node->place && is_whole(node->parent->children[i]);
	}
	return has_other && !backend.guarded[leaf->place] && (mirrors == 1 || !has_guarded(leg));
}

static void find_spares(void)
{
	unsigned place;

	for (place = 0; place < tree->leaf_count; place++)
		is_spare[place] = find_spare(tree->leaves[place]);
}

/* One bit of one copy of a label: the other copy says the same after a clean stop. */
static void rot_label(void)
{
	unsigned place = random_below(document.leaf_count);
	struct image *image = backend.images[place];
	uint64_t at = random_below(2) * LABEL_COPY_STRIDE + random_below(2 * LABEL_BLOCK);
	char bit = (char)(1 << random_below(8));

	if (!image || document.is_raw[place] || is_hidden[place] || !was_stopped)
		return;
	image->view[at] ^= bit;
	image->durable[at] ^= bit;
	totals.rotten++;
	model_upheavals++;
	sim_note("leaf %u has a wrong bit at %llu", place, (unsigned long long)at);
}

/*
 * Between two lives: one leaf that no request depends on is copied, replaced by such a copy from
 * before the last start, or taken away; what was taken away is brought back.
 */
static void meddle(void)
{
	unsigned place = random_below(document.leaf_count), i;
	struct image *image = backend.images[place];

	for (i = 0; i < document.leaf_count; i++)
		if (is_hidden[i] && random_one_in(2))
			hide(i, false);
	if (random_one_in(8)) {
		rot_label();
		return;
	}
	if (!is_guarded || !is_spare[place] || is_hidden[place] || !image)
		return;
	switch (random_below(4)) {
	case 0:
		hide(place, true);
		break;
	case 1:
		if (!image->saved || saved_life[place] == totals.lives)
			break;
		sim_note("leaf %u is put back", place);
		totals.restored++;
		model_upheavals++;
		image_restore(image);
		break;
	default:
		image_save(image);
		saved_life[place] = totals.lives;
	}
}

static bool is_degraded(void)
{
	unsigned place;

	for (place = 0; place < document.leaf_count; place++)
		if (is_hidden[place])
			return true;
	return false;
}

static bool try_start(bool permute)
{
	struct assemble_options options = { .degraded = is_degraded() };
	struct err err = { 0 }, notes = { 0 };
	char path[300], *text = document_permuted(&document, permute);
	int result;

	(void)snprintf(path, sizeof(path), "%s/tree.json", sim_directory);
	tree = tree_parse(path, text, strlen(text), &err);
	free(text);
	if (!tree)
		sim_fail("the document is refused: %s", err.text);
	result = lifetime_prepare(tree, &options, &err, &notes);
	if (notes.text)
		sim_note("notes: %s", notes.text);
	if (result == 0)
		result = lifetime_start(tree, &err);
	if (result < 0 && images_budget != 0)
		sim_fail("start is refused: %s", err.text);
	if (result < 0)
		tree_destroy(tree);
	err_finish(&err);
	err_finish(&notes);
	return result == 0;
}

static void open_engine(void)
{
	struct err err = { 0 };
	struct engine_config config = {
		.tree = tree,
		.backend = may_pass ? &sim_passing_backend : &sim_backend,
		.depth = TAGS,
		.max_io = tree->device.max_io_size,
		.fan_out = tree->device.fan_out,
	};
	unsigned i;

	backend.tree = tree;
	backend.ended = request_ended;
	backend.passed = request_passed;
	backend.fetch = fetch;
	backend.page_of = page_of;
	for (i = 0; i < tree->leaf_count; i++)
		backend.images[i] =
			tree->leaves[i]->fd < 0 ? NULL : image_of_fd(tree->leaves[i]->fd);
	if (engine_open(&backend.engine, &config, &err) < 0)
		sim_fail("engine: %s", err.text);
}

static void begin_life(void)
{
	bool is_first = device_sectors == 0;
	bool permute = !is_first && random_one_in(3);
	unsigned i;

	backend_reset();
	if (!is_first)
		meddle();
	images_budget = random_one_in(4) ? 1 + random_below(100) : FOREVER;
	if (!try_start(permute)) {
		sim_note("power cut while starting");
		totals.cuts++;
		images_cut();
		if (is_formatted)
			model_crash(true);
		images_budget = FOREVER;
		(void)try_start(permute);
	}
	images_budget = FOREVER;
	is_formatted = true;
	totals.lives++;
	if (backend.has_lost && !is_guarded)
		model_doubt(); /* files tell of a failed flush once: the next start can't know */
	backend.has_lost = false;
	life_faults = model_faults;
	may_pass = tree->device.fan_out != FAN_OUT_LINKED &&
		   tree->device.fan_out != FAN_OUT_GATHERED && random_below(3);
	open_engine();
	if (!is_first && device_sectors != tree->root->limits.size / SECTOR)
		sim_fail("the device had %u sectors and has %llu", device_sectors,
			(unsigned long long)tree->root->limits.size / SECTOR);
	if (is_first) {
		device_sectors = (unsigned)(tree->root->limits.size / SECTOR);
		model_open(device_sectors);
		for (i = 0; i < device_sectors; i++)
			if (is_void(tree->root, (uint64_t)i * SECTOR))
				model_set_void(i);
		choose_guards();
	}
	check_labels();
	choose_faults();
}

static void end_life(bool may_crash)
{
	unsigned how = may_crash ? random_below(3) : 2;
	const struct engine_stats *stats = engine_stats(backend.engine);
	struct err err = { 0 };

	was_stopped = how == 2;
	totals.resumed += stats->resumed;
	totals.held += stats->held;
	totals.merged += stats->merged;
	totals.records += stats->requests[IO_RECORD];
	if (how == 2) {
		read_all();
		compare_legs();
		check_labels();
		sim_note("stop");
		find_spares();
		model_upheavals += life_faults != model_faults; /* read errors are forgotten */
		totals.stops++;
		images_budget = random_one_in(6) ? 1 + random_below(60) : FOREVER;
		if (lifetime_stop(tree, &err) < 0) {
			if (images_budget != 0)
				sim_fail("stop: %s", err.text);
			sim_note("power cut while stopping");
			totals.cuts++;
			images_cut();
			model_crash(true);
			was_stopped = false;
		}
		images_budget = FOREVER;
		err_finish(&err);
	} else {
		sim_note(how ? "power cut" : "daemon dies");
		if (random_below(2))
			quiesce();
		totals.crashes += !how;
		totals.cuts += how;
		backend_crash(how);
		find_spares();
		model_crash(how);
		memset(tags, 0, sizeof(tags));
		busy = 0;
	}
	engine_close(backend.engine);
	tree_destroy(tree);
	if (how == 2 && random_one_in(4)) {
		images_cut(); /* what was stopped is durable */
		model_crash(true);
	}
}

static void live(void)
{
	unsigned requests = 1 + random_below(1u << (3 + random_below(7)));
	unsigned depth = 1 + random_below(TAGS), done;

	if (requests > sim_caps.requests)
		requests = sim_caps.requests;
	if (random_below(2))
		read_all();
	for (done = 0; done < requests;) {
		if (busy < depth && random_below(3)) {
			start_random();
			done++;
		} else {
			backend_end_one();
		}
	}
}

void seed_run(uint64_t seed)
{
	unsigned lives, i;
	char path[300];

	random_start(seed);
	device_sectors = busy = 0;
	is_formatted = false;
	next_value = 0;
	memset(tags, 0, sizeof(tags));
	document_make(&document);
	sim_note("%s", document.text);
	lives = 1 + random_below(sim_caps.lives);
	for (i = 0; i < lives; i++) {
		begin_life();
		live();
		end_life(true);
	}
	begin_life();
	end_life(false);
	model_close();
	images_forget();
	for (i = 0; i < document.leaf_count; i++) {
		path_of(i, is_hidden[i] ? ".away" : "", path);
		(void)unlink(path);
	}
	memset(is_hidden, 0, sizeof(is_hidden));
	memset(backend.images, 0, sizeof(backend.images));
	document_finish(&document);
	totals.seeds++;
}
