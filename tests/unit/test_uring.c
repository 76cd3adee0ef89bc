// SPDX-License-Identifier: MIT
/* A ring of the kernel's: which SQE stands where. */
#include "fixture.h"
#include "uring.h"

#define KEPT 3
#define ENTRIES 8

static struct uring ring;
static unsigned ended[2];

static void one_ended(struct event *event, int result)
{
	assert_int_equal(result, 0);
	ended[0]++;
}

static void other_ended(struct event *event, int result)
{
	assert_int_equal(result, 0);
	ended[1]++;
}

static struct event one = { .end = one_ended }, other = { .end = other_ended };

static int open_ring(void **state)
{
	const struct uring_config config = { .entries = ENTRIES, .kept = KEPT, .completions = 64 };
	struct err err = { 0 };

	ring = (struct uring){ 0 };
	memset(ended, 0, sizeof(ended));
	return uring_open(&ring, &config, &err);
}

static int close_ring(void **state)
{
	uring_close(&ring);
	return 0;
}

static void nop(struct io_uring_sqe *sqe)
{
	sqe->opcode = IORING_OP_NOP;
}

/* As a command that is linked to a slow sub-I/O needs it, for as long as that takes. */
static void nobody_writes_where_a_kept_sqe_lies(void **state)
{
	struct io_uring_sqe *kept = uring_sqe_kept(&ring, &one, 1);
	unsigned char before[128];
	unsigned i;

	nop(kept);
	memset(kept->cmd, 0x5a, 80);
	memcpy(before, kept, sizeof(before));
	assert_int_equal(uring_run(&ring), 0);
	assert_int_equal(ended[0], 1);
	for (i = 1; i <= 1000; i++) {
		nop(uring_sqe(&ring, &one, 1));
		if (i % 3 == 0)
			nop(uring_sqe_kept(&ring, &other, i % 2 ? 0 : 2));
		if (i % 5 == 0)
			assert_int_equal(uring_run(&ring), 0);
		assert_memory_equal(kept, before, sizeof(before));
	}
	assert_ptr_equal(uring_sqe_kept(&ring, &one, 1), kept);
}

/* In whatever order their SQEs lie. */
static void each_event_ends_once(void **state)
{
	unsigned i;

	for (i = 0; i < 300; i++) {
		nop(uring_sqe(&ring, &one, 1));
		nop(uring_sqe_kept(&ring, &other, i % KEPT));
		nop(uring_sqe(&ring, &one, 1));
		assert_int_equal(uring_run(&ring), 0);
	}
	assert_int_equal(ended[0], 600);
	assert_int_equal(ended[1], 300);
}

/* Whoever waits for room has all that is prepared sent, and none of it is lost. */
static void a_chain_is_in_one_submit(void **state)
{
	unsigned count, i;

	for (count = 0; count < 100; count++) {
		unsigned before;

		for (i = 0; i < count % 20; i++)
			nop(uring_sqe(&ring, &one, 1));
		nop(uring_sqe(&ring, &one, 2));
		before = io_uring_sq_ready(&ring.ring);
		nop(uring_sqe_kept(&ring, &other, 0));
		assert_int_equal(io_uring_sq_ready(&ring.ring), before + 1);
		while (ended[1] <= count)
			assert_int_equal(uring_run(&ring), 0);
	}
	assert_int_equal(ended[0], 100 + 5 * 190);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_ring, close_ring)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nobody_writes_where_a_kept_sqe_lies),
		TEST(each_event_ends_once),
		TEST(a_chain_is_in_one_submit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
