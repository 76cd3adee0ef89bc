// SPDX-License-Identifier: MIT
/* A queue with a ring of the kernel's, in a thread of its own: calls into it, and its engine's time. */
#include "fixture.h"
#include "queue.h"

#include <pthread.h>
#include <semaphore.h>
#include <unistd.h>

#define MS UINT64_C(1000000)

static struct queue queue;
static struct tree *tree;
static sem_t ready;
static bool is_done;

/* The root says when it is to be asked, and notes when it was. */
static uint64_t wanted[3], asked[4];
static unsigned asked_count;

static bool clock_work(struct node *node, uint64_t now, struct request *request, uint64_t *again)
{
	if (asked_count < LENGTH_OF(asked))
		asked[asked_count++] = now;
	*again = asked_count <= LENGTH_OF(wanted) ? wanted[asked_count - 1] : UINT64_MAX;
	return false;
}

static void no_map(struct node *node, const struct request *request, struct plan *plan)
{
}

static const struct target_type clock_type = {
	.name = "clock",
	.stateful = true,
	.map = no_map,
	.work = clock_work,
};

static void no_commit(void *context, unsigned tag, int result, bool linked)
{
}

static void *serve(void *argument)
{
	struct queue_config config = {
		.tree = tree,
		.depth = 1,
		.frontend_fd = -1,
		.backend = { .commit = no_commit },
	};
	struct err err = { 0 };

	assert_int_equal(queue_open(&queue, &config, &err), 0);
	assert_int_equal(queue_listen(&queue, &err), 0);
	sem_post(&ready);
	while (!is_done)
		assert_int_equal(uring_run(&queue.uring), 0);
	queue_deafen(&queue);
	uring_close(&queue.uring);
	return NULL;
}

static pthread_t thread;
static const struct target_type *type_before;

static int open_queue(void **state)
{
	queue = (struct queue){ 0 };
	tree = fixture_tree("{'type':'linear','children':[{'type':'zero','size':65536}]}");
	type_before = tree->root->type;
	tree->root->type = &clock_type;
	tree->root->needs = (struct needs){ .work_max = 1 };
	is_done = false;
	asked_count = 0;
	sem_init(&ready, 0, 0);
	if (pthread_create(&thread, NULL, serve, NULL) != 0)
		return -1;
	sem_wait(&ready);
	return 0;
}

static void end(struct engine *engine, void *argument)
{
	is_done = true;
}

static int close_queue(void **state)
{
	(void)queue_call(&queue, end, NULL);
	pthread_join(thread, NULL);
	queue_forget(&queue);
	queue_close(&queue);
	tree->root->type = type_before;
	tree_destroy(tree);
	sem_destroy(&ready);
	return 0;
}

static void note_thread(struct engine *engine, void *argument)
{
	assert_ptr_equal(engine, queue.engine);
	*(pthread_t *)argument = pthread_self();
}

static void a_call_runs_in_the_queues_thread(void **state)
{
	unsigned i;

	for (i = 0; i < 100; i++) {
		pthread_t self = pthread_self();

		assert_true(queue_call(&queue, note_thread, &self));
		assert_true(pthread_equal(self, thread));
	}
}

static void nobody_answers_once_the_queue_has_ended(void **state)
{
	pthread_t self = pthread_self();

	assert_true(queue_call(&queue, end, NULL));
	while (queue_call(&queue, note_thread, &self)) /* it may have been on its way */
		;
	self = pthread_self();
	assert_false(queue_call(&queue, note_thread, &self));
	assert_true(pthread_equal(self, pthread_self()));
}

static bool has_been_let_go; /* atomic */

static void stay(struct engine *engine, void *argument)
{
	queue_stay(&queue);
}

/* In the thread: an event that is there all the time, and would be handled if any were. */
static void note_turn(struct engine *engine, void *argument)
{
	*(bool *)argument = __atomic_load_n(&has_been_let_go, __ATOMIC_ACQUIRE);
}

static void *call_from_aside(void *argument)
{
	assert_true(queue_call(&queue, note_turn, argument));
	return NULL;
}

static void a_queue_that_stays_handles_nothing_until_it_is_let_go(void **state)
{
	bool was_let_go = false;
	pthread_t caller;

	assert_true(queue_call(&queue, stay, NULL));
	assert_int_equal(pthread_create(&caller, NULL, call_from_aside, &was_let_go), 0);
	(void)usleep(20000); /* long enough for who doesn't stay; who does is right however late it is */
	__atomic_store_n(&has_been_let_go, true, __ATOMIC_RELEASE);
	queue_go_on(&queue);
	pthread_join(caller, NULL);
	assert_true(was_let_go);
}

static void begin(struct engine *engine, void *argument)
{
	engine_begin(engine);
}

static void wake(struct engine *engine, void *argument)
{
	engine_wake(engine, tree->root);
}

static unsigned asked_now(void)
{
	return __atomic_load_n(&asked_count, __ATOMIC_ACQUIRE);
}

/* Only that it doesn't come too early is checked against the clock: a loaded host may be late. */
static void the_timer_comes_and_may_be_moved(void **state)
{
	uint64_t start = queue_now(&queue);

	wanted[0] = start + 3600 * 1000 * MS; /* it will be moved */
	wanted[1] = start + 30 * MS;
	wanted[2] = UINT64_MAX;
	assert_true(queue_call(&queue, begin, NULL));
	assert_int_equal(asked_now(), 1);
	assert_true(queue_call(&queue, wake, NULL));
	while (asked_now() < 3)
		(void)usleep(1000);
	assert_true(asked[2] >= wanted[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_call_runs_in_the_queues_thread, open_queue, close_queue),
		cmocka_unit_test_setup_teardown(
			nobody_answers_once_the_queue_has_ended, open_queue, close_queue),
		cmocka_unit_test_setup_teardown(
			a_queue_that_stays_handles_nothing_until_it_is_let_go, open_queue, close_queue),
		cmocka_unit_test_setup_teardown(
			the_timer_comes_and_may_be_moved, open_queue, close_queue),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
