// SPDX-License-Identifier: MIT
/*
 * Several queues on one engine: what is done in whose thread, what is left for another's, and when all
 * may go. First each queue by hand in one thread, then each in a thread of its own.
 */
#include "fixture.h"

#include "engine.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>

#define QUEUES 4
#define DEPTH 4
#define PENDING_MAX 64
#define REQUESTS 4000 /* of each thread */

static struct engine *engine;
static struct queue_state {
	unsigned number;
	struct sub_io *pending[PENDING_MAX]; /* in its ring */
	unsigned pending_count, commits;
	int results[DEPTH];
	bool busy[DEPTH];
	pthread_t thread;
	sem_t wake;
	bool is_woken; /* atomic */
} queues[QUEUES];
static char story[4096];
static bool tells; /* to `story`: of one thread only */
static char data[QUEUES][DEPTH][512];

static void tell(const struct queue_state *queue, const char *what, unsigned number)
{
	size_t length = strlen(story);

	if (tells)
		(void)snprintf(story + length, sizeof(story) - length, "%u: %s %u\n", queue->number, what, number);
}

static const char *told(void)
{
	static char before[sizeof(story)];

	strcpy(before, story);
	story[0] = 0;
	return before;
}

static void submit(void *context, struct sub_io *sub)
{
	struct queue_state *queue = context;

	tell(queue, "submit", (unsigned)(sub->offset - sub->leaf->data_offset));
	assert_true(queue->pending_count < PENDING_MAX);
	queue->pending[queue->pending_count++] = sub;
}

static void commit(void *context, unsigned tag, int result, bool linked)
{
	struct queue_state *queue = context;

	tell(queue, "commit", tag);
	assert_false(linked);
	assert_true(queue->busy[tag]);
	queue->busy[tag] = false;
	queue->results[tag] = result;
	queue->commits++;
}

static void wake(void *context)
{
	struct queue_state *queue = context;

	tell(queue, "woken", 0);
	__atomic_store_n(&queue->is_woken, true, __ATOMIC_RELAXED);
	(void)sem_post(&queue->wake);
}

static uint64_t clock_now(void *context)
{
	return 1;
}

static void timer(void *context, uint64_t when)
{
}

static const struct engine_backend backend = {
	.submit = submit, .commit = commit, .wake = wake, .now = clock_now, .timer = timer };

/* A target that holds what is written alone, and counts what it is asked, without any care. */
struct counts {
	uint64_t maps, writers[64];
	bool fails, works;
	unsigned within; /* atomic: threads that are asking it */
	bool has_met; /* two of them */
};

static enum hold counting_hold(const struct node *node, const struct request *request, struct range *range)
{
	*range = (struct range){ request->offset, request->length };
	return request->kind == IO_READ ? HOLD_SHARED : request->kind == IO_WRITE ? HOLD_EXCLUSIVE : HOLD_NONE;
}

static void counting_map(struct node *node, const struct request *request, struct plan *plan)
{
	struct counts *counts = node->state;

	if (__atomic_add_fetch(&counts->within, 1, __ATOMIC_RELAXED) > 1)
		counts->has_met = true;
	if (!tells && counts->maps % 8 == 0)
		(void)sched_yield(); /* others would come now */
	counts->maps++;
	__atomic_sub_fetch(&counts->within, 1, __ATOMIC_RELAXED);
	if (counts->fails) {
		plan_end(plan, -EIO);
		return;
	}
	plan_pass(plan, request, 0, request->offset);
	if (request->kind != IO_WRITE)
		return;
	counts->has_met |= counts->writers[request->offset / 512 % 64]++ > 0;
	plan_ask(plan);
}

static void counting_resume(struct node *node, const struct request *request, struct plan *plan)
{
	struct counts *counts = node->state;

	counts->writers[request->offset / 512 % 64]--;
	plan_end(plan, 0);
}

static bool counting_work(struct node *node, uint64_t now, struct request *request, uint64_t *again)
{
	struct counts *counts = node->state;

	if (!counts->works)
		return false;
	counts->works = false;
	*request = (struct request){ .kind = IO_READ, .offset = 16384, .length = 512, .data = { DATA_SCRATCH, 0 } };
	return true;
}

static const struct target_type counting = { .name = "counting", .stateful = true, .hold = counting_hold,
	.map = counting_map, .resume = counting_resume, .work = counting_work };

static struct tree *tree;
static const struct target_type *type_before;
static struct counts counts;
static void *state_before;

static void open_queues(unsigned count)
{
	struct engine_backend first = backend; /* its queue may go before others do */
	struct engine_config config = { .backend = &first, .context = &queues[0], .queues = count, .depth = DEPTH,
		.max_io = 4096, .fan_out = FAN_OUT_AUTO };
	struct err err = { 0 };
	unsigned i;

	tree = fixture_tree("{'type':'linear','children':[@65536]}");
	tree->device.queues = count;
	type_before = tree->root->type;
	state_before = tree->root->state;
	tree->root->type = &counting;
	tree->root->state = &counts;
	tree->root->needs = (struct needs){ .ops_fixed = 1, .work_max = 1, .work_ops = 1, .work_scratch = 4096 };
	counts = (struct counts){ 0 };
	story[0] = 0;
	tells = true;
	config.tree = tree;
	assert_true(tree_shares_engine(tree));
	assert_int_equal(engine_open(&engine, &config, &err), 0);
	memset(&first, 0, sizeof(first));
	for (i = 0; i < count; i++) {
		queues[i] = (struct queue_state){ .number = i };
		assert_int_equal(sem_init(&queues[i].wake, 0, 0), 0);
		if (i > 0)
			engine_join(engine, i, &queues[i]);
	}
}

static void close_queues(unsigned count)
{
	unsigned i;

	for (i = 0; i < count; i++) {
		assert_int_equal(queues[i].pending_count, 0);
		engine_close(engine);
		sem_destroy(&queues[i].wake);
	}
	tree->root->type = type_before;
	tree->root->state = state_before;
	tree_destroy(tree);
}

/* In the queue's thread, which has the lock. */
static void start(struct queue_state *queue, unsigned tag, enum io_kind kind, uint64_t offset)
{
	struct request request = fixture_request(kind, 0, offset, 512);

	queue->busy[tag] = true;
	engine_start(engine, tag, &request, data[queue->number][tag]);
}

static void end(struct queue_state *queue, unsigned n)
{
	struct sub_io *sub = queue->pending[n];

	queue->pending[n] = queue->pending[--queue->pending_count];
	sub->event.end(&sub->event, (int)sub->length);
}

static void start_by_hand(unsigned queue, unsigned tag, enum io_kind kind, uint64_t offset)
{
	engine_lock(engine, queue);
	start(&queues[queue], tag, kind, offset);
	engine_unlock(engine);
}

static void end_by_hand(unsigned queue)
{
	engine_lock(engine, queue);
	end(&queues[queue], 0);
	engine_unlock(engine);
}

static void look_by_hand(unsigned queue)
{
	engine_lock(engine, queue);
	engine_look(engine);
	engine_unlock(engine);
}

static void a_hold_keeps_back_another_queues_request(void **state)
{
	open_queues(2);
	start_by_hand(0, 1, IO_WRITE, 512);
	start_by_hand(1, 1, IO_READ, 512);
	assert_string_equal(told(), "0: submit 512\n");
	end_by_hand(0);
	assert_string_equal(told(), "0: commit 1\n1: woken 0\n");
	assert_int_equal(counts.maps, 2); /* it is planned already, and its own queue submits it */
	look_by_hand(1);
	assert_string_equal(told(), "1: submit 512\n");
	end_by_hand(1);
	assert_string_equal(told(), "1: commit 1\n");
	assert_int_equal(queues[1].results[1], 512);
	close_queues(2);
}

static void what_another_queue_has_ended_is_committed_by_its_own(void **state)
{
	open_queues(2);
	start_by_hand(0, 0, IO_WRITE, 0);
	start_by_hand(1, 0, IO_READ, 0);
	start_by_hand(1, 2, IO_READ, 0);
	counts.fails = true;
	assert_string_equal(told(), "0: submit 0\n");
	end_by_hand(0);
	assert_string_equal(told(), "0: commit 0\n1: woken 0\n"); /* once for both */
	assert_true(queues[1].busy[0] && queues[1].busy[2]);
	look_by_hand(1);
	assert_string_equal(told(), "1: commit 0\n1: commit 2\n");
	assert_int_equal(queues[1].results[0], -EIO);
	close_queues(2);
}

static void a_queue_that_comes_by_itself_finds_what_was_left_for_it(void **state)
{
	open_queues(2);
	start_by_hand(0, 0, IO_WRITE, 0);
	start_by_hand(1, 0, IO_READ, 0);
	end_by_hand(0);
	assert_string_equal(told(), "0: submit 0\n0: commit 0\n1: woken 0\n");
	start_by_hand(1, 1, IO_READ, 1024);
	assert_int_equal(queues[1].pending_count, 2);
	(void)told();
	look_by_hand(1);
	assert_string_equal(told(), "");
	end_by_hand(1);
	end_by_hand(1);
	close_queues(2);
}

static void nobody_goes_before_all_may(void **state)
{
	open_queues(2);
	engine_lock(engine, 0);
	counts.works = true;
	engine_begin(engine);
	engine_unlock(engine);
	assert_string_equal(told(), "0: submit 16384\n");
	assert_false(engine_is_over(engine, 1));
	assert_false(engine_is_over(engine, 0)); /* its ring has the work's read */
	assert_string_equal(told(), "");
	end_by_hand(0);
	assert_true(engine_is_over(engine, 0));
	assert_string_equal(told(), "1: woken 0\n");
	assert_true(engine_is_over(engine, 1));
	assert_string_equal(told(), "");
	engine_part(engine, 0);
	engine_part(engine, 1);
	close_queues(2);
}

/* Its ring has failed. */
static void who_has_gone_is_not_woken(void **state)
{
	open_queues(2);
	engine_part(engine, 0);
	assert_true(engine_is_over(engine, 1));
	assert_string_equal(told(), "");
	engine_part(engine, 1);
	close_queues(2);
}

/* It could not be set up, and the others wait for nobody else. */
static void who_goes_at_once_lets_others_go(void **state)
{
	open_queues(2);
	assert_false(engine_is_over(engine, 0));
	engine_part(engine, 1);
	assert_string_equal(told(), "0: woken 0\n");
	assert_true(engine_is_over(engine, 0));
	engine_part(engine, 0);
	close_queues(2);
}

/* What is to be done for the background, whoever has asked, is the first queue's. */
static void work_is_the_first_queues(void **state)
{
	open_queues(2);
	engine_lock(engine, 0);
	engine_begin(engine);
	engine_unlock(engine);
	counts.works = true;
	engine_lock(engine, 1);
	engine_wake(engine, tree->root);
	engine_unlock(engine);
	assert_string_equal(told(), "0: woken 0\n");
	look_by_hand(0);
	assert_string_equal(told(), "0: submit 16384\n");
	end_by_hand(0);
	close_queues(2);
}

/* Before another daemon takes over with what is unanswered. */
static void a_suspended_engine_rests_when_each_queue_has_answered(void **state)
{
	bool rests;

	open_queues(2);
	start_by_hand(0, 0, IO_WRITE, 0);
	start_by_hand(1, 0, IO_READ, 0);
	engine_lock(engine, 0);
	engine_begin(engine);
	engine_suspend(engine);
	engine_unlock(engine);
	start_by_hand(1, 1, IO_READ, 1024); /* is kept */
	counts.fails = true;
	end_by_hand(0);
	assert_string_equal(told(), "0: submit 0\n0: commit 0\n1: woken 0\n");
	engine_lock(engine, 0);
	rests = engine_rests(engine);
	engine_unlock(engine);
	assert_false(rests); /* queue 1 has an answer to give */
	look_by_hand(1);
	assert_string_equal(told(), "1: commit 0\n");
	counts.fails = false;
	engine_lock(engine, 0);
	rests = engine_rests(engine);
	engine_let_wait(engine);
	engine_unlock(engine);
	assert_true(rests);
	assert_string_equal(told(), "1: woken 0\n");
	look_by_hand(1);
	assert_string_equal(told(), "1: submit 1024\n");
	end_by_hand(1);
	close_queues(2);
}

/* Threads */

static void serve_some(struct queue_state *queue, unsigned *seed, unsigned *started)
{
	unsigned tag;

	for (tag = 0; tag < DEPTH && *started < REQUESTS; tag++)
		if (!queue->busy[tag]) {
			start(queue, tag, rand_r(seed) % 2 ? IO_WRITE : IO_READ, rand_r(seed) % 8 * 512);
			++*started;
		}
	if (queue->pending_count)
		end(queue, (unsigned)rand_r(seed) % queue->pending_count);
	if (__atomic_exchange_n(&queue->is_woken, false, __ATOMIC_RELAXED))
		engine_look(engine);
}

static void *serve(void *argument)
{
	struct queue_state *queue = argument;
	unsigned seed = queue->number, started = 0;

	for (;;) {
		engine_lock(engine, queue->number);
		serve_some(queue, &seed, &started);
		engine_unlock(engine);
		if (queue->commits == REQUESTS && engine_is_over(engine, queue->number))
			break;
		if (!queue->pending_count && (started == REQUESTS || queue->commits + DEPTH == started))
			while (sem_wait(&queue->wake) < 0)
				;
	}
	engine_part(engine, queue->number);
	return NULL;
}

static void threads_meet_no_one_in_a_target(void **state)
{
	unsigned i;

	open_queues(QUEUES);
	tells = false;
	for (i = 0; i < QUEUES; i++)
		assert_int_equal(pthread_create(&queues[i].thread, NULL, serve, &queues[i]), 0);
	for (i = 0; i < QUEUES; i++)
		assert_int_equal(pthread_join(queues[i].thread, NULL), 0);
	assert_false(counts.has_met);
	assert_int_equal(counts.maps, QUEUES * REQUESTS);
	assert_true(engine_stats(engine)->held > 0);
	close_queues(QUEUES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_hold_keeps_back_another_queues_request),
		cmocka_unit_test(what_another_queue_has_ended_is_committed_by_its_own),
		cmocka_unit_test(a_queue_that_comes_by_itself_finds_what_was_left_for_it),
		cmocka_unit_test(nobody_goes_before_all_may),
		cmocka_unit_test(who_has_gone_is_not_woken),
		cmocka_unit_test(who_goes_at_once_lets_others_go),
		cmocka_unit_test(work_is_the_first_queues),
		cmocka_unit_test(a_suspended_engine_rests_when_each_queue_has_answered),
		cmocka_unit_test(threads_meet_no_one_in_a_target),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
