// SPDX-License-Identifier: MIT
/* The kernel's side: requests on tags, their bytes, and what becomes of them. The model judges
 * them. */
#include "sim.h"

#include <errno.h>
#include <string.h>

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
static uint64_t next_value;

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
	totals.full += result == -ENOSPC;
	if (life.document.has_thin && life.lies == LIES_ANY)
		return; /* it may see what its image has come to */
	if (life.document.has_thin && (life.document.is_tight || life.snapshots) && result == -ENOSPC && request->kind != IO_READ)
		return; /* it has waited long enough */
	if ((life.document.has_thin || life.document.has_images) && request->kind == IO_WRITE_ZEROES && result == -EOPNOTSUPP)
		return; /* no whole clusters */
	if (life.is_guarded && life.lies != LIES_ANY) /* or that leg isn't used, by a lie in a label */
		sim_fail("a %s failed with %d, though a leg of each mirror never does",
			io_kind_name(request->kind), result);
	if ((life.document.has_thin || life.document.has_images) && model_faults != life.faults_before)
		return; /* an image whose metadata failed to be written takes no more of it */
	if (backend_hung())
		return; /* the leg that was to stand in for it has failed since: there is none */
	if (tag->begun_faults == model_faults && !backend.has_lost)
		sim_fail("a %s failed with %d, though no leaf did", io_kind_name(request->kind),
			result);
}

/* The bytes that were read, but those that come from where a leaf had lied. */
static void judge_bytes(const struct tag *tag, const char *bytes)
{
	unsigned i, from;

	for (i = from = 0; i <= tag->count; i++) {
		bool is_lied = i < tag->count && lie_in(bytes + i * SECTOR);

		if (i < tag->count && !is_lied)
			continue;
		if (i > from)
			model_read_ends(tag->first + from, i - from, bytes + from * SECTOR,
				tag->begun, tag->begun_upheavals);
		totals.lied_reads += is_lied;
		from = i + 1;
	}
}

static void request_passed(unsigned n, int result)
{
	struct tag *tag = &tags[n];
	enum io_kind kind = tag->request.kind;

	if (!tag->is_busy)
		sim_fail("tag %u is committed twice", n);
	past_watch(); /* what it has met may be the device as it was */
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
		judge_bytes(tag, pages[n]);
	if (result == -EOPNOTSUPP)
		model_loosen(tag->first, tag->count); /* an image whose clusters are smaller did it */
}

static void request_ended(unsigned n, int result)
{
	if (tags[n].request.kind == IO_READ && result > 0) {
		memcpy(pages[n], data[n], (size_t)result);
		lie_copy(pages[n], data[n], (size_t)result);
	}
	request_passed(n, result);
}

static void fetch(unsigned n)
{
	if (tags[n].request.kind == IO_WRITE)
		memcpy(data[n], pages[n], tags[n].request.length);
}

bool requests_own(const void *at)
{
	const char *byte = at;

	return (byte >= data[0] && byte < data[TAGS]) || (byte >= pages[0] && byte < pages[TAGS]);
}

static void *page_of(unsigned n, void *at)
{
	if ((char *)at < data[n] || (char *)at >= data[n] + tags[n].request.length)
		sim_fail("tag %u: bytes outside of its buffer", n);
	return pages[n] + ((char *)at - data[n]);
}

static void start(unsigned n, const char *what)
{
	note_request(what, n, 0);
	queue_enter(queue_of_tag(n));
	engine_start(backend.engine, n % queue_depth(), &tags[n].request, data[n]);
	queue_leave();
}

void request_start(enum io_kind kind, unsigned flags, unsigned first, unsigned count)
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
	lie_clear(data[n], has_bytes ? tag->request.length : 0);
	lie_clear(pages[n], has_bytes ? tag->request.length : 0);
	if (kind == IO_READ || kind == IO_FLUSH) {
		tag->begun = model_time();
	} else {
		uint64_t value = kind == IO_WRITE ? ++next_value : 0;

		tag->begun = model_write_begins(first, count, value);
		for (i = 0; i < count && kind == IO_WRITE; i++)
			sector_fill(pages[n] + i * SECTOR, value, first + i);
	}
	if (!life.may_pass)
		fetch(n);
	start(n, "start");
}

void request_start_random(void)
{
	static const enum io_kind kinds[] = { IO_WRITE, IO_WRITE, IO_WRITE, IO_WRITE, IO_READ,
		IO_READ, IO_READ, IO_FLUSH, IO_WRITE_ZEROES, IO_DISCARD };
	enum io_kind kind = kinds[random_below(sizeof(kinds) / sizeof(*kinds))];
	const struct limits *limits = &life.tree->root->limits;
	bool has_bytes = kind == IO_READ || kind == IO_WRITE;
	unsigned most = has_bytes ? life.tree->device.max_io_size / SECTOR : RANGE_MAX;
	unsigned unit = limits->logical_block_size / SECTOR;
	unsigned span = random_below(2) && life.sectors > 16 ? 16 : life.sectors;
	unsigned first = random_below(span) / unit * unit, count, flags = 0;

	if ((kind == IO_WRITE_ZEROES && !limits->zeroes_granularity) ||
		(kind == IO_DISCARD && !limits->discard_granularity))
		return;
	if (!has_bytes && limits->unmap_max && most > limits->unmap_max / SECTOR)
		most = (unsigned)(limits->unmap_max / SECTOR);
	if (most > life.sectors - first)
		most = life.sectors - first;
	count = unit + random_below(random_below(2) && most > 8 ? 8 : most) / unit * unit;
	if (count > most)
		count = most;
	if (kind == IO_DISCARD && life.document.has_thin) { /* the rest it may leave as it is */
		unsigned cluster = limits->discard_granularity / SECTOR;

		first -= first % cluster;
		count -= count % cluster;
		if (!count)
			return;
	}
	if (kind == IO_FLUSH)
		first = count = 0;
	if ((kind == IO_WRITE || kind == IO_WRITE_ZEROES) && random_one_in(5))
		flags |= IO_FUA;
	if (kind == IO_WRITE_ZEROES && random_below(2))
		flags |= IO_NOUNMAP;
	request_start(kind, flags, first, count);
}

static void check_quiet(void)
{
	unsigned i;

	queue_enter(0);
	engine_poll(backend.engine); /* what was handed down keeps its holds until asked */
	queue_leave();
	for (i = 0; i < life.tree->node_count; i++)
		if (backend.engine->holds[i].first)
			sim_fail("%s holds a range for nobody", life.tree->nodes[i]->id);
	for (i = 0; i < life.tree->leaf_count; i++)
		if (life.tree->leaves[i]->record.waiting || life.tree->leaves[i]->record.writing)
			sim_fail("leaf %u has a record for nobody", i);
	for (i = 0; i < backend.engine->port_count; i++)
		if (port_has_work(backend.engine, &backend.engine->ports[i]))
			sim_fail("queue %u has something to do, and doesn't", i);
	if (backend.engine->ready || backend.engine->depth)
		sim_fail("the engine has something to do, and doesn't");
}

#define STEPS_MAX 1000000
#define SETTLE_STEPS 20000 /* some targets never rest */

/* Work may follow work, and keep ranges: then only requests have to end. */
void requests_quiesce(void)
{
	unsigned steps;

	for (steps = 0; steps < STEPS_MAX; steps++) {
		if (!busy && (!backend_pending() || engine_is_working(backend.engine)))
			break;
		if (steps % 16 == 0)
			backend_release_hung();
		backend_end_one();
	}
	if (busy)
		sim_fail("%u requests never end", busy);
	if (!engine_is_working(backend.engine))
		check_quiet();
}

void requests_stop(void)
{
	unsigned steps;

	queue_enter(0);
	engine_quiesce(backend.engine);
	queue_leave();
	for (steps = 0; engine_is_working(backend.engine) && steps < STEPS_MAX; steps++) {
		backend_release_hung();
		backend_end_one();
	}
	if (engine_is_working(backend.engine))
		sim_fail("work never ends");
	requests_quiesce();
}

static bool rests(void)
{
	bool result;

	queue_enter(0);
	result = engine_rests(backend.engine);
	queue_leave();
	return result;
}

void requests_leave(void)
{
	unsigned steps;

	queue_enter(0);
	engine_suspend(backend.engine);
	queue_leave();
	for (steps = 0; !rests() && steps < STEPS_MAX; steps++) {
		if (busy < TAGS && random_one_in(6))
			request_start_random();
		if (steps % 16 == 0)
			backend_release_hung();
		backend_end_one();
	}
	if (steps == STEPS_MAX)
		sim_fail("the engine never rests");
	if (engine_is_working(backend.engine))
		sim_fail("the engine rests, and works");
	totals.left_waiting += backend.engine->waiting.first != NULL;
	check_quiet();
}

void requests_again(void)
{
	unsigned first = random_below(TAGS), i;

	for (i = 0; i < TAGS && busy; i++) {
		unsigned n = (first + i) % TAGS;
		struct tag *tag = &tags[n];

		if (!tag->is_busy)
			continue;
		tag->begun_faults = model_faults;
		tag->begun_upheavals = model_upheavals;
		memset(data[n], 0xa5, sizeof(data[n]));
		lie_clear(data[n], sizeof(data[n]));
		if (!life.may_pass)
			fetch(n);
		totals.again++;
		start(n, "again");
	}
}

void requests_settle(void)
{
	struct faults faults = backend.faults;
	unsigned steps;

	backend.faults = (struct faults){ .shorter = 20 };
	memset(backend.dead, 0, sizeof(backend.dead));
	hardship_forget();
	for (steps = 0; steps < SETTLE_STEPS; steps++) {
		backend_release_hung();
		if (engine_is_working(backend.engine) || backend_pending())
			backend_end_one();
		else if (clock_is_wanted())
			clock_skip();
		else
			break;
	}
	backend.faults = faults;
}

/* Everything is read twice, and neither changes nor fails. */
void requests_read_all(void)
{
	struct faults faults = backend.faults;
	unsigned most = life.tree->device.max_io_size / SECTOR, pass, first;

	requests_quiesce();
	backend.faults = (struct faults){ .shorter = 20 };
	memset(backend.dead, 0, sizeof(backend.dead));
	hardship_forget();
	for (pass = 0; pass < 2; pass++) {
		for (first = 0; first < life.sectors; first += most) {
			unsigned count = life.sectors - first;

			request_start(IO_READ, 0, first, count < most ? count : most);
			if (busy == TAGS)
				backend_end_one();
			while (busy == TAGS)
				backend_end_one();
		}
		requests_quiesce();
	}
	backend.faults = faults;
}

unsigned requests_busy(void)
{
	return busy;
}

void requests_forget(void)
{
	memset(tags, 0, sizeof(tags));
	busy = 0;
}

void requests_open(void)
{
	if (life.sectors == 0)
		next_value = 0;
	backend.ended = request_ended;
	backend.passed = request_passed;
	backend.fetch = fetch;
	backend.page_of = page_of;
}
