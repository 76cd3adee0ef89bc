// SPDX-License-Identifier: MIT
/* The control socket: frames of all kinds, clients of all kinds, and who owns a name. */
#include "control.h"
#include "control_client.h"
#include "run_directory.h"

#include <json-c/json_object.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define LENGTH_OF(array) (sizeof(array) / sizeof(*(array)))

/* A run directory of our own, and a control socket in it that this thread serves by hand. */
struct fixture {
	char directory[64];
	struct control *control;
	unsigned asked;
	size_t padding; /* bytes of the reply */
};

static struct json_object *answer(void *context, const struct control_request *request)
{
	struct fixture *fixture = context;
	struct json_object *reply = json_object_new_object();
	char *padding = malloc(fixture->padding + 1);

	fixture->asked++;
	memset(padding, 'x', fixture->padding);
	padding[fixture->padding] = '\0';
	json_object_object_add(
		reply, "command", json_object_new_string(control_command_name(request->command)));
	json_object_object_add(reply, "padding", json_object_new_string(padding));
	free(padding);
	return reply;
}

static int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	struct err err = { 0 };
	int listener;

	strcpy(fixture->directory, "/tmp/ubd-test-control.XXXXXX");
	assert_non_null(mkdtemp(fixture->directory));
	setenv("UBD_COMPOSE_RUN", fixture->directory, 1);
	listener = run_claim("vol0", &err);
	assert_true(listener >= 0);
	assert_int_equal(control_open(&fixture->control, listener, answer, fixture, &err), 0);
	*state = fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	control_close(fixture->control);
	run_release("vol0");
	assert_int_equal(rmdir(fixture->directory), 0);
	free(fixture);
	return 0;
}

static int connected(void)
{
	int fd = run_connect("vol0");

	assert_true(fd >= 0);
	return fd;
}

/* Lets control do all that it can do now. */
static void serve(struct fixture *fixture)
{
	struct pollfd fd = { .fd = control_fd(fixture->control), .events = POLLIN };
	unsigned rounds = 0;

	while (rounds++ < 1000 && poll(&fd, 1, 0) > 0)
		control_serve(fixture->control);
}

/* What has come back; "(open)" if nothing has and the connection stands. */
static const char *received(int fd)
{
	static char text[4096];
	ssize_t count, length = 0;

	while ((count = recv(fd, text + length, sizeof(text) - 1 - (size_t)length, 0)) > 0)
		length += count;
	text[length] = '\0';
	if (length == 0 && count < 0 && errno == EAGAIN)
		return "(open)";
	return text;
}

static void frames_are_read_or_named_by_their_fault(void **state)
{
	static const struct {
		const char *frame, *wrong;
	} cases[] = {
		{ "{\"command\":\"status\"}", NULL },
		{ " { \"command\" : \"delete\" } ", NULL },
		{ "{\"command\":\"hand_over\"}", NULL },
		{ "", "not_json" },
		{ "x", "not_json" },
		{ "{\"command\":\"status\"", "not_json" },
		{ "{\"command\":\"status\"}{}", "not_json" },
		{ "{\"command\":\"status\",\"command\":\"delete\"}", "not_json" },
		{ "[]", "not_an_object" },
		{ "\"status\"", "not_an_object" },
		{ "null", "not_an_object" },
		{ "{}", "no_command" },
		{ "{\"command\":1}", "no_command" },
		{ "{\"command\":null}", "no_command" },
		{ "{\"command\":\"\"}", "unknown_command" },
		{ "{\"command\":\"statu\"}", "unknown_command" },
		{ "{\"command\":\"status\",\"x\":1}", "unknown_key" },
		{ "{\"command\":\"node\",\"node\":\"a\",\"verb\":\"b\"}", NULL },
		{ "{\"command\":\"node\",\"node\":\"a\",\"verb\":\"b\",\"arguments\":{\"c\":1}}",
			NULL },
		{ "{\"command\":\"node\",\"node\":\"a\"}", "no_node_or_verb" },
		{ "{\"command\":\"node\",\"verb\":\"a\",\"node\":1}", "no_node_or_verb" },
		{ "{\"command\":\"node\",\"node\":\"a\",\"verb\":\"b\",\"arguments\":1}",
			"arguments_not_an_object" },
		{ "{\"command\":\"node\",\"node\":\"a\",\"verb\":\"b\",\"x\":{}}",
			"unknown_key" },
		{ "{\"command\":\"status\",\"node\":\"a\"}", "unknown_key" },
	};
	struct control_request request;
	unsigned i;

	(void)state;
	for (i = 0; i < LENGTH_OF(cases); i++) {
		const char *wrong = control_parse(cases[i].frame, strlen(cases[i].frame), &request);

		if (!cases[i].wrong != !wrong || (wrong && strcmp(wrong, cases[i].wrong)))
			fail_msg("%s gave %s", cases[i].frame, wrong ? wrong : "no fault");
		control_request_finish(&request);
	}
	assert_string_equal(control_parse("", CONTROL_FRAME_MAX + 1, &request), "too_long");
	control_request_finish(&request);
}

static void one_request_gets_one_reply(void **state)
{
	struct fixture *fixture = *state;
	int fd = connected();

	serve(fixture);
	assert_string_equal(received(fd), "(open)");
	assert_int_equal(send(fd, "{\"command\":\"sta", 15, 0), 15);
	serve(fixture);
	assert_string_equal(received(fd), "(open)");
	assert_int_equal(send(fd, "tus\"}\n", 6, 0), 6);
	serve(fixture);
	assert_string_equal(received(fd), "{\"command\":\"status\",\"padding\":\"\"}\n");
	assert_int_equal(fixture->asked, 1);
	close(fd);
}

static void the_end_of_the_stream_ends_a_frame(void **state)
{
	struct fixture *fixture = *state;
	int fd = connected();

	assert_int_equal(send(fd, "{\"command\":\"delete\"}", 20, 0), 20);
	shutdown(fd, SHUT_WR);
	serve(fixture);
	assert_string_equal(received(fd), "{\"command\":\"delete\",\"padding\":\"\"}\n");
	close(fd);
}

static void a_wrong_frame_is_answered_by_a_word(void **state)
{
	struct fixture *fixture = *state;
	int fd = connected();

	assert_int_equal(send(fd, "{\"command\":\"reboot\"}\n", 21, 0), 21);
	serve(fixture);
	assert_string_equal(received(fd), "{\"error\":\"unknown_command\"}\n");
	assert_int_equal(fixture->asked, 0);
	close(fd);
}

static void a_frame_without_end_is_refused(void **state)
{
	struct fixture *fixture = *state;
	static char block[65536];
	int fd = connected();
	size_t sent = 0;

	memset(block, ' ', sizeof(block));
	while (sent < 2 * CONTROL_FRAME_MAX) {
		ssize_t count = send(fd, block, sizeof(block), MSG_NOSIGNAL);

		if (count < 0 && errno != EAGAIN)
			break;
		sent += count > 0 ? (size_t)count : 0;
		serve(fixture);
	}
	assert_true(sent > CONTROL_FRAME_MAX && sent < 2 * CONTROL_FRAME_MAX);
	assert_int_equal(fixture->asked, 0);
	close(fd);
}

/* A client that never reads keeps its place only; others are served. */
static void a_client_that_does_not_read_blocks_nobody(void **state)
{
	struct fixture *fixture = *state;
	int slow = connected(), fd;

	fixture->padding = 900000; /* more than a socket's buffer */
	assert_int_equal(send(slow, "{\"command\":\"status\"}\n", 21, 0), 21);
	serve(fixture);
	assert_int_equal(fixture->asked, 1);
	fixture->padding = 0;
	fd = connected();
	assert_int_equal(send(fd, "{\"command\":\"status\"}\n", 21, 0), 21);
	serve(fixture);
	assert_string_equal(received(fd), "{\"command\":\"status\",\"padding\":\"\"}\n");
	close(fd);
	close(slow);
	serve(fixture);
}

static void many_silent_clients_keep_nobody_out(void **state)
{
	struct fixture *fixture = *state;
	int silent[CONTROL_CLIENTS_MAX * 3], fd;
	unsigned i;

	for (i = 0; i < LENGTH_OF(silent); i++) {
		silent[i] = connected();
		serve(fixture);
	}
	fd = connected();
	assert_int_equal(send(fd, "{\"command\":\"status\"}\n", 21, 0), 21);
	serve(fixture);
	assert_string_equal(received(fd), "{\"command\":\"status\",\"padding\":\"\"}\n");
	assert_string_equal(received(silent[0]), ""); /* has lost its place */
	assert_string_equal(received(silent[LENGTH_OF(silent) - 1]), "(open)");
	close(fd);
	for (i = 0; i < LENGTH_OF(silent); i++)
		close(silent[i]);
}

#define FOLLOW "{\"command\":\"follow\"}\n"
#define FOLLOWED "{\"command\":\"follow\",\"padding\":\"\"}\n"

static int follower(struct fixture *fixture)
{
	int fd = connected();

	assert_int_equal(send(fd, FOLLOW, strlen(FOLLOW), 0), strlen(FOLLOW));
	serve(fixture);
	return fd;
}

static void who_follows_gets_each_line(void **state)
{
	struct fixture *fixture = *state;
	int fd = follower(fixture), other;

	assert_string_equal(received(fd), FOLLOWED);
	control_push(fixture->control, "one");
	control_push(fixture->control, "two");
	other = follower(fixture);
	control_push(fixture->control, "three");
	assert_string_equal(received(fd), "one\ntwo\nthree\n");
	assert_string_equal(received(other), FOLLOWED "three\n");
	close(other);
	serve(fixture);
	control_push(fixture->control, "four");
	assert_string_equal(received(fd), "four\n");
	close(fd);
	control_push(fixture->control, "five"); /* nobody is there */
	serve(fixture);
}

static void followers_keep_their_places(void **state)
{
	struct fixture *fixture = *state;
	int followers[CONTROL_FOLLOWERS_MAX], fd;
	unsigned i;

	for (i = 0; i < CONTROL_FOLLOWERS_MAX; i++)
		followers[i] = follower(fixture);
	fd = follower(fixture);
	assert_string_equal(received(fd), "{\"error\":\"too_many_followers\"}\n");
	close(fd);
	for (i = 0; i < CONTROL_CLIENTS_MAX * 2; i++) { /* many who ask for something else */
		fd = connected();
		assert_int_equal(send(fd, "{\"command\":\"status\"}\n", 21, 0), 21);
		serve(fixture);
		assert_string_equal(received(fd), "{\"command\":\"status\",\"padding\":\"\"}\n");
		close(fd);
	}
	control_push(fixture->control, "line");
	for (i = 0; i < CONTROL_FOLLOWERS_MAX; i++) {
		assert_string_equal(received(followers[i]), FOLLOWED "line\n");
		close(followers[i]);
	}
	serve(fixture);
	fd = follower(fixture); /* there is room again */
	assert_string_equal(received(fd), FOLLOWED);
	close(fd);
}

static void a_follower_that_does_not_read_is_let_go(void **state)
{
	struct fixture *fixture = *state;
	int fd = follower(fixture), other = follower(fixture);
	static char line[65536];
	unsigned i;

	memset(line, 'x', sizeof(line) - 1);
	for (i = 0; i < CONTROL_BACKLOG_MAX / sizeof(line) * 4; i++) {
		control_push(fixture->control, line);
		while (*received(other) == 'x')
			;
	}
	control_push(fixture->control, "last");
	assert_string_equal(received(other), "last\n");
	for (i = 0; i < CONTROL_BACKLOG_MAX / 1024 && strcmp(received(fd), ""); i++)
		assert_string_not_equal(received(fd), "(open)");
	close(fd);
	close(other);
	serve(fixture);
}

static void a_client_that_goes_away_leaves_nothing(void **state)
{
	struct fixture *fixture = *state;
	unsigned i;

	for (i = 0; i < 50; i++) {
		int fd = connected();

		if (i % 3)
			assert_int_equal(
				send(fd, "{\"command\":\"status\"}\n", i % 3 == 1 ? 21 : 9, 0),
				i % 3 == 1 ? 21 : 9);
		close(fd);
		serve(fixture);
	}
	assert_true(fixture->asked <= 50);
}

struct server {
	struct fixture *fixture;
	int stop;
};

static void *serve_until_stopped(void *context)
{
	struct server *server = context;
	struct pollfd fds[] = { { .fd = control_fd(server->fixture->control), .events = POLLIN },
		{ .fd = server->stop, .events = POLLIN } };

	while (poll(fds, 2, -1) > 0 && !fds[1].revents)
		control_serve(server->fixture->control);
	return NULL;
}

static void the_client_gets_its_reply_and_the_pid(void **state)
{
	struct fixture *fixture = *state;
	struct server server = { fixture, eventfd(0, 0) };
	struct err err = { 0 };
	struct json *reply;
	pthread_t thread;
	int reason = 1;
	pid_t pid = 0;

	fixture->padding = 900000;
	pthread_create(&thread, NULL, serve_until_stopped, &server);
	reply = control_ask("vol0", CONTROL_STATUS, &pid, &reason, &err);
	assert_non_null(reply);
	assert_int_equal(strlen(json_get_string(reply, "padding", "")), fixture->padding);
	assert_int_equal(pid, getpid());
	assert_int_equal(reason, 0);
	json_destroy(reply);
	eventfd_write(server.stop, 1);
	pthread_join(thread, NULL);
	close(server.stop);
}

/* Drops three who ask, and is gone. */
static void *die_slowly(void *listener)
{
	struct pollfd fd = { .fd = *(int *)listener, .events = POLLIN };
	unsigned i;

	for (i = 0; i < 3; i++)
		if (poll(&fd, 1, 10000) == 1)
			close(accept(fd.fd, NULL, NULL));
	close(fd.fd);
	return NULL;
}

static void a_daemon_that_drops_the_question_is_asked_again(void **state)
{
	struct err err = { 0 };
	int listener = run_claim("vol1", &err), reason = 0;
	pthread_t thread;

	(void)state;
	assert_true(listener >= 0);
	pthread_create(&thread, NULL, die_slowly, &listener);
	assert_null(control_ask("vol1", CONTROL_STATUS, NULL, &reason, &err));
	pthread_join(thread, NULL);
	assert_int_equal(reason, -ECONNREFUSED);
	assert_string_equal(err.text, "vol1: its daemon is dead\n");
	err_finish(&err);
	run_release("vol1");
}

static void a_name_is_claimed_once(void **state)
{
	struct err err = { 0 };

	(void)state;
	assert_int_equal(run_claim("vol0", &err), -1);
	assert_string_equal(err.text,
		"name \"vol0\" is in use: a daemon already serves a device of that name\n");
	err_finish(&err);
}

static void a_dead_name_is_told_and_claimed_again(void **state)
{
	struct err err = { 0 };
	int reason, fd = run_claim("vol1", &err);
	struct run_device left;
	char **names;

	(void)state;
	assert_true(fd >= 0);
	close(fd); /* the daemon dies: its socket stays */
	assert_null(control_ask("vol1", CONTROL_STATUS, NULL, &reason, &err));
	assert_int_equal(reason, -ECONNREFUSED);
	assert_string_equal(err.text, "vol1: its daemon is dead\n");
	err_finish(&err);
	names = run_list(&err);
	assert_string_equal(names[0], "vol0");
	assert_string_equal(names[1], "vol1");
	assert_null(names[2]);
	run_list_free(names);
	fd = run_claim("vol1", &err);
	assert_true(fd >= 0);
	assert_int_equal(run_record("vol1", "ubd", 7, &err), 0);
	assert_true(run_recorded("vol1", &left));
	assert_string_equal(left.driver, "ubd");
	assert_int_equal(left.id, 7);
	assert_int_equal(run_claim("vol1", &err), -1); /* is alive */
	err_finish(&err);
	run_release("vol1");
	close(fd);
	assert_false(run_recorded("vol1", &left));
	assert_null(control_ask("vol1", CONTROL_STATUS, NULL, &reason, &err));
	assert_int_equal(reason, -ENOENT);
	err_finish(&err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_are_read_or_named_by_their_fault),
		cmocka_unit_test_setup_teardown(one_request_gets_one_reply, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			the_end_of_the_stream_ends_a_frame, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			a_wrong_frame_is_answered_by_a_word, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_frame_without_end_is_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			a_client_that_does_not_read_blocks_nobody, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			many_silent_clients_keep_nobody_out, set_up, tear_down),
		cmocka_unit_test_setup_teardown(who_follows_gets_each_line, set_up, tear_down),
		cmocka_unit_test_setup_teardown(followers_keep_their_places, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			a_follower_that_does_not_read_is_let_go, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			a_client_that_goes_away_leaves_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			the_client_gets_its_reply_and_the_pid, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			a_daemon_that_drops_the_question_is_asked_again, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_name_is_claimed_once, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			a_dead_name_is_told_and_claimed_again, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
