// SPDX-License-Identifier: MIT
/* Assembly: who went on alone is taken back in a tree with spares, where the winner's labels say who stands by. */
#include "lifetime.h"
#include "scene.h"

#include "child_io.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILE_OF(id, path) "{'id':'" id "','type':'file','path':'" path "','size':'2MiB','direct':false}"
#define AT 65536u /* of the mirror, where a life alone is written */
#define AT_FILE (LABEL_FRONT + SCENE_MIB + AT)

static unsigned flushes_left = UINT32_MAX;

/* The files need not outlive the test; a process may die of a flush. */
int fdatasync(int fd)
{
	if (flushes_left-- == 0)
		_exit(0);
	return 0;
}

int fsync(int fd)
{
	return 0;
}

/* A start as the daemon's, with those leaves preferred (blanks between them). */
static bool start(const char *preferred, bool takes_back)
{
	static char words[8][2];
	static const char *names[8];
	struct assemble_options options = { .degraded = scene_has("a") || scene_has("b"), .prefer = names };
	struct err err = { 0 }, notes = { 0 };
	const char *at;
	bool is_live;

	for (at = preferred; *at; at++)
		if (*at != ' ') {
			words[options.prefer_count][0] = *at;
			names[options.prefer_count] = scene_path(words[options.prefer_count]);
			options.prefer_count++;
		}
	if (takes_back)
		options.take_back = scene_path("");
	if (!scene_assemble(options)) {
		scene_said("");
		return false;
	}
	is_live = lifetime_start(scene_assembled(), &err, &notes) == 0;
	err_finish(&err);
	err_finish(&notes);
	return is_live;
}

static void stop(void)
{
	struct err err = { 0 };

	assert_int_equal(lifetime_stop(scene_assembled(), &err), 0);
	scene_close();
}

static void write_root(const char *text)
{
	struct tree *tree = scene_assembled();
	char block[4096] = "";

	memcpy(block, text, strlen(text));
	tree->child_io = CHILD_IO_FULL;
	assert_int_equal(child_write(tree->root, AT, block, sizeof(block)), 0);
	assert_int_equal(child_flush(tree->root), 0);
	tree->child_io = CHILD_IO_NONE;
}

/* A life of those files alone, in which that is written. */
static void live(const char *files, const char *all, const char *text)
{
	char name[2] = "", away[] = "x-away";
	const char *at;

	for (at = all; *at; at++)
		if (!strchr(files, *at)) {
			name[0] = away[0] = *at;
			scene_rename(name, away);
		}
	assert_true(start("", false));
	write_root(text);
	stop();
	for (at = all; *at; at++)
		if (!strchr(files, *at)) {
			name[0] = away[0] = *at;
			scene_rename(away, name);
		}
}

static void assert_legs(const char *states) /* in sync, rebuilding, spare, failed, Failed spare */
{
	unsigned i;

	for (i = 0; states[i]; i++) {
		const struct node *node = scene_assembled()->root->children[i];
		char state = node->failed ? (node->spare ? 'F' : 'f')
			     : node->spare ? 's'
			     : node->rebuilding ? 'r'
						: 'i';

		if (state != states[i])
			fail_msg("leg %u is %c, not %c of %s", i, state, states[i], states);
	}
}

static bool is_given_up(const char *name)
{
	struct label label;
	bool result;

	scene_label(name, &label);
	result = label.flags & LABEL_GIVEN_UP;
	label_finish(&label);
	return result;
}

static void make(const char *legs, const char *spares)
{
	char root[1024];

	(void)snprintf(root, sizeof(root),
		"{'id':'r','type':'mirror','region_size':65536,'children':[%s],'spares':[%s]}", legs, spares);
	scene_document(root);
	assert_true(start("", false));
	stop();
}

static void assert_saved(const char *leg, const char *text)
{
	char name[64];

	(void)snprintf(name, sizeof(name), "t.%s.overlay", leg);
	assert_int_equal(scene_has(name), text != NULL);
	if (text)
		assert_string_equal(scene_read(name, AT), text);
	(void)snprintf(name, sizeof(name), "t.%s.json", leg);
	assert_int_equal(scene_has(name), text != NULL);
}

static void forget_saved(const char *leg)
{
	char name[64];

	(void)snprintf(name, sizeof(name), "t.%s.overlay", leg);
	scene_remove(name);
	(void)snprintf(name, sizeof(name), "t.%s.json", leg);
	scene_remove(name);
}

/* b goes on alone, and a does, where the spare takes b's place. */
static void lose_place(void)
{
	make(FILE_OF("d0", "a") "," FILE_OF("d1", "b"), FILE_OF("s0", "s"));
	live("b", "abs", "of b");
	live("as", "abs", "of a");
}

static void a_loser_whose_place_was_taken_is_saved_and_stands_by(void **state)
{
	struct label label;

	lose_place();
	assert_true(start("a s", true));
	scene_noted("mirror r: spare d1 (b) is given up and is standing by; 1 of 2 legs in sync\n"
		    "what leg d1 alone holds is saved in  first\n"
		    "mirror r: leg s0 (s) missed writes and is brought up to date; 1 of 2 legs in sync\n");
	assert_legs("isr");
	assert_saved("d1", "of b");
	assert_saved("s0", NULL);
	stop();
	assert_string_equal(scene_read("b", AT_FILE), "of b"); /* as long as it stands by */
	scene_label("b", &label);
	assert_false(label.flags & LABEL_GIVEN_UP);
	assert_int_equal(label.peers[1].state, LABEL_PEER_SPARE);
	label_finish(&label);
}

/* Here the loser has taken the spare in, which stands by for the winner. */
static void a_spare_that_the_loser_took_in_is_saved_and_stands_by_again(void **state)
{
	make(FILE_OF("d0", "a") "," FILE_OF("d1", "b"), FILE_OF("s0", "s"));
	live("bs", "abs", "of b");
	live("a", "abs", "of a");
	assert_true(start("a", true));
	assert_legs("irs");
	assert_saved("d1", "of b");
	assert_saved("s0", "of b");
	stop();
}

static void a_spare_that_stood_by_in_the_losers_life_is_not_saved(void **state)
{
	make(FILE_OF("d0", "a") "," FILE_OF("d1", "b"), FILE_OF("s0", "s") "," FILE_OF("s1", "t"));
	live("bst", "abst", "of b");
	live("a", "abst", "of a");
	scene_write("t", AT_FILE, "nobody's");
	assert_true(start("a", false));
	assert_legs("iFFr"); /* who holds nothing may be written */
	stop();
	assert_true(is_given_up("b") && is_given_up("s") && !is_given_up("t"));
	assert_true(start("", true));
	assert_legs("issr");
	assert_saved("d1", "of b");
	assert_saved("s0", "of b");
	assert_saved("s1", NULL);
	stop();
}

/* Who has been brought up to date in another life names as many starts as were in this one, maybe. */
static void who_stood_by_elsewhere_is_copied_as_a_whole(void **state)
{
	struct label label;
	uint32_t state_of_a;

	make(FILE_OF("d0", "a") "," FILE_OF("d1", "b"), FILE_OF("s0", "s"));
	live("a", "abs", "of a");
	for (state_of_a = LABEL_PEER_IN_SYNC; state_of_a <= LABEL_PEER_STALE; state_of_a++) {
		scene_label("b", &label);
		label.peers[1].state = LABEL_PEER_SPARE;
		label.peers[0].state = state_of_a;
		scene_relabel("b", &label);
		label_finish(&label);
		assert_true(scene_assemble(scene_plain));
		assert_legs("irs");
		assert_true(scene_assembled()->root->children[1]->rebuild_all == (state_of_a == LABEL_PEER_STALE));
		scene_close();
	}
}

/* A start that takes back, in a process of its own, killed at that flush. False: it had no more. */
static bool is_killed_at(unsigned flushes)
{
	int status = 0;
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		flushes_left = flushes;
		_exit(start("a s", true) ? 1 : 2);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
	return WEXITSTATUS(status) == 0;
}

/* As long as it may be overwritten no more it is given up or undecided; after that it was saved, and holds nothing. */
static void crash_at_any_moment(bool is_given_up_before)
{
	unsigned n, undecided = 0, saved = 0;
	bool is_killed = true;

	for (n = 0; is_killed; n++) {
		struct label label;
		bool is_spare;

		lose_place();
		if (is_given_up_before) {
			assert_true(start("a s", false));
			stop();
			assert_true(is_given_up("b"));
		}
		is_killed = is_killed_at(n);
		assert_string_equal(scene_read("b", AT_FILE), "of b");
		scene_label("b", &label);
		is_spare = label.peers[1].state == LABEL_PEER_SPARE;
		label_finish(&label);
		if (is_spare) {
			assert_saved("d1", "of b");
			assert_true(start("", false));
			assert_legs("isr");
			stop();
			saved++;
		} else {
			if (scene_has("t.d1.overlay"))
				forget_saved("d1");
			assert_true(start("a s", true)); /* as if nothing had been */
			assert_legs("isr");
			assert_saved("d1", "of b");
			stop();
			undecided++;
		}
		forget_saved("d1");
		scene_remove("a");
		scene_remove("b");
		scene_remove("s");
	}
	assert_true(undecided > 2 && saved > 2);
}

static void a_crash_at_any_moment_leaves_it_given_up_or_saved(void **state)
{
	crash_at_any_moment(false);
	crash_at_any_moment(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_loser_whose_place_was_taken_is_saved_and_stands_by,
			scene_setup, scene_teardown),
		cmocka_unit_test_setup_teardown(a_spare_that_the_loser_took_in_is_saved_and_stands_by_again,
			scene_setup, scene_teardown),
		cmocka_unit_test_setup_teardown(a_spare_that_stood_by_in_the_losers_life_is_not_saved,
			scene_setup, scene_teardown),
		cmocka_unit_test_setup_teardown(who_stood_by_elsewhere_is_copied_as_a_whole, scene_setup,
			scene_teardown),
		cmocka_unit_test_setup_teardown(a_crash_at_any_moment_leaves_it_given_up_or_saved, scene_setup,
			scene_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
