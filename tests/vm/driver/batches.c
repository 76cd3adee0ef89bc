// SPDX-License-Identifier: MIT
/*
 * Batches: what the two commands refuse, the order of events, answers right and wrong, plans and
 * their coming back, and the end of a session with a command waiting.
 */
#define _GNU_SOURCE
#include "batch_server.h"

/* --- the disk's user, in a thread of its own */

struct job {
	pthread_t thread;
	bool is_write;
	int count; /* blocks, from the first on, all in one submission */
	char *data;
	int wrong; /* I/Os that did not move their block */
};

static void *job_run(void *argument)
{
	struct job *job = argument;
	struct io_uring *ring = ring_open(64, 0);
	char path[32];
	int fd, i;

	snprintf(path, sizeof(path), "/dev/ubdb%u", device.info.dev_id);
	fd = open(path, O_RDWR | O_DIRECT);
	if (fd < 0)
		err(1, "%s", path);
	for (i = 0; i < job->count; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

		/* Not neighbours, or they would be merged. */
		if (job->is_write)
			io_uring_prep_write(sqe, fd, job->data + i * BLOCK, BLOCK, 2 * i * BLOCK);
		else
			io_uring_prep_read(sqe, fd, job->data + i * BLOCK, BLOCK, 2 * i * BLOCK);
	}
	io_uring_submit(ring);
	for (i = 0; i < job->count; i++)
		job->wrong += next_result(ring, NULL, 30000) != BLOCK;
	close(fd);
	return NULL;
}

static void job_start(struct job *job, bool is_write, int count, char *data)
{
	*job = (struct job){ .is_write = is_write, .count = count, .data = data };
	if (pthread_create(&job->thread, NULL, job_run, job))
		errx(1, "thread");
}

static int job_end(struct job *job)
{
	pthread_join(job->thread, NULL);
	return job->wrong;
}

static int io_command(uint32_t code, int tag)
{
	uint64_t which;

	queue_command(&queue, code, tag, 0);
	io_uring_submit(queue.ring);
	return next_result(queue.ring, &which, 5000);
}

static void a_device_without_batches(void)
{
	begin(0);
	expect("no batches, no mapping", 1, !answers);
	expect("no batches, no command", -EOPNOTSUPP, ask(UBD_IO_ANSWER_AND_WAIT, 0, 0));
	end();
}

static void before_the_first_wait(void)
{
	begin(UBD_F_BATCHES);
	expect("FETCH_REQ is refused", -EOPNOTSUPP, io_command(UBD_IO_FETCH_REQ, 0));
	expect("COMMIT_AND_FETCH is refused", -EOPNOTSUPP,
		io_command(UBD_IO_COMMIT_AND_FETCH_REQ, 0));
	expect("COMMIT_PLAN is refused", -EOPNOTSUPP, io_command(UBD_IO_COMMIT_PLAN_AND_FETCH, 0));
	expect("ANSWER before the first wait", -EINVAL, ask(UBD_IO_ANSWER, 0, 0));
	expect("COMMIT_REQ before the first wait", -EINVAL, io_command(UBD_IO_COMMIT_REQ, 0));
	expect("a short mapping", 1, !map(ubd_batch_offset(0), 2 * getpagesize()));
	expect("a queue that is not there", 1, !map(ubd_batch_offset(1), getpagesize()));
}

/* One command waits; others are refused, and wrong answers too. */
static void wrong_answers(void)
{
	expect("the first one waits", -ETIME, turn(100));
	expect("a second one doesn't", -EBUSY, ask(UBD_IO_ANSWER_AND_WAIT, 0, 0));
	expect("no answers", 0, ask(UBD_IO_ANSWER, 0, 0));
	add_answer(0, UBD_ANSWER_RESULT, 0);
	expect("a tag that is not ours", -EINVAL, ask(UBD_IO_ANSWER, 0, 1));
	answers[0] = (struct ubd_batch_answer){ DEPTH, UBD_ANSWER_RESULT, 0 };
	expect("a tag that does not exist", -EINVAL, ask(UBD_IO_ANSWER, 0, 1));
	answers[0] = (struct ubd_batch_answer){ 0, 7, 0 };
	expect("an unknown kind", -EINVAL, ask(UBD_IO_ANSWER, 0, 1));
	answers[0] = (struct ubd_batch_answer){ 0, UBD_ANSWER_PLAN, 0 };
	expect("a plan on a device without", -EINVAL, ask(UBD_IO_ANSWER, 0, 1));
	expect("more answers than tags", -EINVAL, ask(UBD_IO_ANSWER, 0, DEPTH + 1));
	expect("a negative number", -EINVAL, ask(UBD_IO_ANSWER, 0, -1));
	expect("past the list's end", -EINVAL, ask(UBD_IO_ANSWER, 1, DEPTH));
	expect("a place past the list's end", -EINVAL, ask(UBD_IO_ANSWER, DEPTH, 0));
	answer_count = 0;
}

static void requests_and_answers(void)
{
	static char written[DEPTH * BLOCK] ALIGNED, back[DEPTH * BLOCK] ALIGNED;
	struct job job;
	int count, i, out_of_order = 0;

	start();
	memset(written, 0x5a, sizeof(written));
	job_start(&job, true, DEPTH, written);
	count = turn(10000);
	expect("a plug's requests come together", DEPTH, count);
	for (i = 0; i < count; i++) {
		out_of_order += events[i].notice != 0 ||
			queue.descs[events[i].tag].start_sector != 2ull * i * BLOCK / 512;
		do_request(events[i].tag);
	}
	expect("in order", 0, out_of_order);
	answers[3].tag = answers[2].tag; /* twice the same, and one not at all */
	expect("one wrong among right ones", -EINVAL, ask(UBD_IO_ANSWER, 0, count));
	answers[0] = (struct ubd_batch_answer){ events[3].tag, UBD_ANSWER_RESULT, BLOCK };
	expect("the one left over", 0, ask(UBD_IO_ANSWER, 0, 1));
	answer_count = 0;
	expect("all were written", 0, job_end(&job));

	job_start(&job, false, DEPTH, back);
	serve(DEPTH);
	expect("all were read", 0, job_end(&job));
	expect("what was written is read", 0, memcmp(written, back, sizeof(back)));

	job_start(&job, false, 1, back);
	expect("one request", 1, turn(5000));
	io_command(UBD_IO_COMMIT_REQ, events[0].tag);
	expect("COMMIT_REQ of 0 bytes fails it", 1, job_end(&job));
	job_start(&job, false, DEPTH, back);
	serve(DEPTH);
	expect("and its tag is fetched", 0, job_end(&job));
}

static void the_end_of_a_session(void)
{
	expect("waiting", -ETIME, turn(100));
	expect("STOP_DEV", 0, control(&device, UBD_CMD_STOP_DEV, NULL, 0, 0));
	expect("STOP ends the command", UBD_IO_RES_ABORT, result_of(UBD_IO_ANSWER_AND_WAIT, 5000));
	expect("and none comes after it", UBD_IO_RES_ABORT, ask(UBD_IO_ANSWER_AND_WAIT, 0, 0));
	end();
}

static void plans(void)
{
	static char written[BLOCK] ALIGNED, back[BLOCK] ALIGNED;
	int leg = open("/dev/ram0", O_RDWR | O_DIRECT);
	struct job job;
	unsigned int tag;

	begin(UBD_F_BATCHES | UBD_F_PLANS);
	expect("SET_LEGS", 0, control(&device, UBD_CMD_SET_LEGS, &leg, sizeof(leg), 0));
	start();
	memset(written, 0xa5, sizeof(written));
	job_start(&job, true, 1, written);
	expect("a request", 1, turn(5000));
	tag = events[0].tag;
	plan(tag, 1, entry(UBD_OP_READ, 0, BLOCK));
	expect("a plan of another kind comes back", 1, turn(5000));
	expect("with EINVAL", -EINVAL, events[0].notice);
	memset(queue_buffer(&queue, tag), 0, BLOCK);
	plan(tag, 0, entry(0, 0, 0));
	expect("an empty plan comes back", 1, turn(5000));
	expect("with its notice", UBD_IO_RES_BACK, events[0].notice);
	expect("and its bytes", 0, memcmp(queue_buffer(&queue, tag), written, BLOCK));
	plan(tag, 1, entry(UBD_OP_WRITE, 0, BLOCK));
	slots[tag].entries[0].leg_offset = 1ull << 50;
	expect("a plan that fails comes back", 1, turn(5000));
	expect("with its notice", UBD_IO_RES_BACK, events[0].notice);
	expect("and its entry's result", 1, slots[tag].entries[0].result < 0);
	plan(tag, 1, entry(UBD_OP_WRITE, 0, BLOCK));
	expect("a plan that succeeds doesn't", -ETIME, turn(100));
	expect("the request has ended", 0, job_end(&job));
	expect("as its slot says", slots[tag].life, slots[tag].ended);
	job_start(&job, false, 1, back);
	expect("a request", 1, turn(5000));
	plan(events[0].tag, 1, entry(UBD_OP_READ, 0, BLOCK));
	expect("it is passed", -ETIME, turn(100));
	expect("it has ended", 0, job_end(&job));
	expect("what the leg has is read", 0, memcmp(written, back, BLOCK));
	expect("STOP_DEV", 0, control(&device, UBD_CMD_STOP_DEV, NULL, 0, 0));
	expect("STOP ends the command", UBD_IO_RES_ABORT, result_of(UBD_IO_ANSWER_AND_WAIT, 5000));
	end();
}

int main(void)
{
	a_device_without_batches();
	before_the_first_wait();
	wrong_answers();
	requests_and_answers();
	the_end_of_a_session();
	plans();
	return failures != 0;
}
