// SPDX-License-Identifier: MIT
/* Assembly: which leaves are taken for what, what is refused with which words, and what a crash
 * leaves. */
#include "scene.h"

#include "leaf_io.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DATA (LABEL_FRONT + 4096) /* somewhere in a leaf's data */

static const struct assemble_options plain = { 0 };
static const struct assemble_options force = { .force = true };
static const struct assemble_options degraded = { .degraded = true };
static const struct assemble_options dry = { .dry = true };

/* How many writes still do something: the last of them stops half-way, all later ones fail. */
static int writes_left = -1;

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset)
{
	if (writes_left < 0 || writes_left > 1) {
		writes_left -= writes_left > 1;
		return syscall(SYS_pwrite64, fd, bytes, length, offset);
	}
	if (writes_left == 1) /* torn */
		(void)syscall(SYS_pwrite64, fd, bytes, length / 1024 * 512, offset);
	writes_left = 0;
	errno = EIO;
	return -1;
}

/* The files need not outlive the test. */
int fdatasync(int fd)
{
	return 0;
}

int fsync(int fd)
{
	return 0;
}

/* Two labelled files of 1 MiB with something in each, after a clean stop. */
static void two_legs(const char *type)
{
	scene_tree(type, "a b");
	scene_run();
	scene_write("a", DATA, "of a");
	scene_write("b", DATA, "of b");
}

static void blank_leaves_are_formatted_then_recognised(void **state)
{
	scene_tree("'stripe'", "a b");
	assert_true(scene_start(plain));
	scene_noted("d0: a is formatted\nd1: b is formatted\n");
	scene_stop();
	assert_true(scene_assemble(plain));
	scene_noted("");
	assert_int_equal(scene_assembled()->root->limits.size, 2 * SCENE_MIB);
	assert_int_equal(scene_assembled()->leaves[0]->data_offset, LABEL_FRONT);
}

static void the_label_says_what_the_document_says(void **state)
{
	struct label label;

	two_legs("'stripe','chunk_size':'4KiB'");
	scene_label("b", &label);
	assert_int_equal(label.place, 1);
	assert_int_equal(label.leaf_count, 2);
	assert_int_equal(label.data_offset, LABEL_FRONT);
	assert_int_equal(label.data_length, SCENE_MIB);
	assert_int_equal(label.flags, LABEL_SERVED);
	assert_string_equal(label.geometry, "stripe(chunk_size=4096)[leaf,leaf]");
	assert_memory_equal(label.document, "{\"format\":1,\"name\":\"t\"", 22);
	label_finish(&label);
}

static void a_dry_run_writes_and_makes_nothing(void **state)
{
	scene_tree("'stripe'", "a b");
	scene_file("b", SCENE_LEAF_BYTES);
	assert_true(scene_assemble(dry));
	scene_noted("d0: a would be formatted\nd1: b would be formatted\n");
	scene_close();
	assert_false(scene_has("a"));
	scene_file("a", SCENE_LEAF_BYTES);
	assert_int_equal(scene_sum("a"), scene_sum("b"));
}

static void assembly_alone_writes_nothing(void **state)
{
	uint64_t sum;

	scene_tree("'stripe'", "a b");
	scene_file("a", SCENE_LEAF_BYTES);
	scene_file("b", SCENE_LEAF_BYTES);
	sum = scene_sum("a b");
	assert_true(scene_assemble(plain));
	assert_true(scene_assemble(plain)); /* and may be asked again */
	scene_close();
	assert_int_equal(scene_sum("a b"), sum);
}

static void it_may_be_asked_twice(void **state)
{
	struct err err = { 0 }, notes = { 0 };

	two_legs("'mirror'");
	scene_tree("'mirror'", "b a");
	assert_true(scene_assemble(dry));
	scene_noted("d0 is served by a (listed as d1)\nd1 is served by b (listed as d0)\n");
	assert_int_equal(assemble(scene_assembled(), &plain, &err, &notes), 0);
	assert_int_equal(err.count, 0);
	assert_int_equal(notes.count, 2);
	err_finish(&notes);
}

static void four_leaves_assemble_in_any_order(void **state)
{
	static const char *const names[] = { "a", "b", "c", "d" };
	char order[8];
	unsigned i, j, k, l, place;

	scene_tree("'stripe'", "a b c d");
	scene_run();
	for (place = 0; place < 4; place++)
		scene_write(names[place], DATA, names[place]);
	for (i = 0; i < 4; i++)
		for (j = 0; j < 4; j++)
			for (k = 0; k < 4; k++) {
				l = 6 - i - j - k;
				if (i == j || i == k || j == k)
					continue;
				snprintf(order, sizeof(order), "%s %s %s %s", names[i], names[j],
					names[k], names[l]);
				scene_tree("'stripe'", order);
				assert_true(scene_start(plain));
				for (place = 0; place < 4; place++) {
					const struct leaf *leaf = scene_assembled()->leaves[place];
					char *memory = leaf_io_memory(4096);

					assert_int_equal(leaf->place, place);
					assert_int_equal(leaf->label.place, place);
					assert_ptr_equal(leaf->node->leaf, leaf);
					assert_string_equal(leaf->path, scene_path(names[place]));
					assert_int_equal(
						leaf_io_read(leaf->fd, memory, 4096, DATA), 0);
					assert_string_equal(memory, names[place]);
					free(memory);
				}
				scene_stop();
			}
}

static void renamed_files_are_found(void **state)
{
	two_legs("'stripe'");
	scene_rename("a", "x");
	scene_rename("b", "a");
	scene_rename("x", "b");
	assert_true(scene_assemble(plain));
	scene_noted("d0 is served by b (listed as d1)\nd1 is served by a (listed as d0)\n");
}

static void files_of_different_sizes_find_their_places(void **state)
{
	scene_document("{'id':'r','type':'linear','children':["
		       "{'id':'d0','type':'file','path':'a','size':'1MiB','direct':false},"
		       "{'id':'d1','type':'file','path':'b','size':'2MiB','direct':false}]}");
	scene_run();
	scene_rename("a", "x");
	scene_rename("b", "a");
	scene_rename("x", "b");
	assert_true(scene_assemble(plain));
	assert_int_equal(scene_assembled()->leaves[0]->node->limits.size, SCENE_MIB);
	assert_int_equal(scene_assembled()->leaves[1]->node->limits.size, 2 * SCENE_MIB);
}

static void another_trees_leaf_is_refused(void **state)
{
	char expected[512], uuids[2][37];
	struct label label;
	uint64_t sum;

	scene_tree("'stripe'", "x y");
	scene_run();
	scene_label("y", &label);
	uuid_unparse(label.tree_uuid, uuids[0]);
	label_finish(&label);
	scene_tree("'stripe'", "a b");
	scene_run();
	scene_label("a", &label);
	uuid_unparse(label.tree_uuid, uuids[1]);
	label_finish(&label);
	scene_tree("'stripe'", "a y");
	sum = scene_sum("a y");
	assert_false(scene_start(plain));
	snprintf(expected, sizeof(expected),
		"file d1: y belongs to the tree t (%s), but a of d0 belongs to t (%s) "
		"(tree.json:1, /root/children/1/path)\n",
		uuids[0], uuids[1]);
	scene_said(expected);
	assert_int_equal(scene_sum("a y"), sum);
	assert_true(scene_start(force));
	scene_noted("d0: a is formatted over the label of a tree\n"
		    "d1: y is formatted over the label of a tree\n");
	scene_stop();
	scene_run();
}

static void another_shape_is_refused(void **state)
{
	uint64_t sum;

	two_legs("'stripe','chunk_size':'8KiB'");
	sum = scene_sum("a b");
	scene_tree("'stripe','chunk_size':'16KiB'", "a b");
	assert_false(scene_start(plain));
	scene_said(
		"file d0: the label of a says stripe(chunk_size=8192)[leaf,leaf]; this document "
		"says stripe(chunk_size=16384)[leaf,leaf] (tree.json:1, /root/children/0/path)\n"
		"file d1: the label of b says stripe(chunk_size=8192)[leaf,leaf]; this document "
		"says stripe(chunk_size=16384)[leaf,leaf] (tree.json:1, /root/children/1/path)\n");
	scene_tree("'mirror'", "a b");
	assert_false(scene_start(plain));
	assert_int_equal(scene_sum("a b"), sum);
}

static void another_number_of_leaves_is_refused(void **state)
{
	scene_tree("'stripe'", "a b c");
	scene_run();
	scene_tree("'stripe'", "a b");
	assert_false(scene_start(plain));
	scene_said("file d0: a is one of 3 leaves of the tree t; this document has 2 "
		   "(tree.json:1, /root/children/0/path)\n"
		   "file d1: b is one of 3 leaves of the tree t; this document has 2 "
		   "(tree.json:1, /root/children/1/path)\n");
}

static void a_copied_leaf_is_refused(void **state)
{
	two_legs("'mirror'");
	scene_copy("a", "b");
	assert_false(scene_start(plain));
	scene_said("file d1: b is a copy of a (d0): both have the same label "
		   "(tree.json:1, /root/children/1/path)\n");
}

static void a_place_claimed_twice_is_refused(void **state)
{
	struct label label;

	two_legs("'mirror'");
	scene_label("b", &label);
	label.place = 0;
	scene_relabel("b", &label);
	label_finish(&label);
	assert_false(scene_start(plain));
	scene_said("file d1: b and a (d0) both claim to be leaf 0 of the tree "
		   "(tree.json:1, /root/children/1/path)\n");
}

static void a_newer_label_is_refused(void **state)
{
	struct label label;
	uint64_t sum;

	two_legs("'mirror'");
	scene_label("b", &label);
	label.incompatible = 2;
	scene_relabel("b", &label);
	label_finish(&label);
	sum = scene_sum("a b");
	assert_false(scene_start(plain));
	scene_said(
		"file d1: b is one of a newer ubd-compose's: its label has incompatible features "
		"0x2 unknown to this program, while a of d0 belongs to the tree t; use --degraded "
		"to go on without it (tree.json:1, /root/children/1/path)\n");
	assert_false(scene_start(force));
	assert_int_equal(scene_sum("a b"), sum);
	scene_tree("'stripe'", "b c");
	assert_false(scene_start(plain));
	scene_said(
		"file d0: b is one of a newer ubd-compose's: its label has incompatible features "
		"0x2 unknown to this program; use --force to overwrite it "
		"(tree.json:1, /root/children/0/path)\n");
	assert_false(scene_has("c"));
}

static void a_damaged_label_is_refused(void **state)
{
	two_legs("'stripe'");
	scene_write("b", 100, "rot");
	scene_write("b", LABEL_COPY_STRIDE + 200, "rot");
	assert_false(scene_start(plain));
	scene_said(
		"file d1: b carries a damaged label: no copy of its label is whole: of the first, "
		"the checksum of its head is wrong, while a of d0 belongs to the tree t; --force "
		"makes a new tree of all leaves (tree.json:1, /root/children/1/path)\n");
	assert_true(scene_start(force));
	scene_stop();
	scene_run();
}

static void one_damaged_copy_is_mended(void **state)
{
	struct label label;

	two_legs("'stripe'");
	scene_write("b", 100, "rot");
	assert_true(scene_start(plain));
	scene_noted("d1: b: the first copy of its label is damaged: the checksum of its head is "
		    "wrong; the other one is used\n");
	assert_true(scene_assembled()->root->unclean);
	scene_stop();
	scene_label("b", &label);
	assert_false(label.damaged);
	label_finish(&label);
}

static void a_blank_leaf_among_labelled_ones_is_refused(void **state)
{
	uint64_t sum;

	two_legs("'mirror'");
	scene_file("b", SCENE_LEAF_BYTES);
	sum = scene_sum("a b");
	assert_false(scene_start(plain));
	scene_said(
		"file d1: b carries no label, while a of d0 belongs to the tree t; use --degraded "
		"to go on without it (tree.json:1, /root/children/1/path)\n");
	assert_false(scene_start(force)); /* a is good: it is not to be overwritten */
	scene_said(
		"file d1: b carries no label, while a of d0 belongs to the tree t; use --degraded "
		"to go on without it (tree.json:1, /root/children/1/path)\n");
	assert_int_equal(scene_sum("a b"), sum);
}

static void a_missing_leaf_among_labelled_ones_is_refused_and_not_made(void **state)
{
	two_legs("'stripe'");
	scene_remove("b");
	assert_false(scene_start(plain));
	scene_said("file d1: b was not there, while a of d0 belongs to the tree t; --force makes a "
		   "new tree of all leaves (tree.json:1, /root/children/1/path)\n");
	assert_false(scene_has("b"));
	assert_false(scene_start(degraded));
	scene_said("file d1: b does not exist (tree.json:1, /root/children/1/path)\n");
	assert_false(scene_has("b"));
}

static void a_file_system_is_refused_and_overwritten_with_force(void **state)
{
	char command[512];
	uint64_t sum;

	scene_file("a", SCENE_LEAF_BYTES);
	snprintf(command, sizeof(command), "PATH=$PATH:/sbin mkfs.ext4 -q -L home %s 2>/dev/null",
		scene_path("a"));
	assert_int_equal(system(command), 0);
	scene_tree("'stripe'", "a b");
	sum = scene_sum("a");
	assert_false(scene_start(plain));
	scene_said(
		"file d0: a holds an ext4 file system labelled home; use --force to overwrite it "
		"(tree.json:1, /root/children/0/path)\n");
	assert_int_equal(scene_sum("a"), sum);
	assert_false(scene_has("b"));
	assert_true(scene_start(force));
	scene_noted("d0: a is formatted over an ext4 file system labelled home\n"
		    "d1: b is formatted\n");
	scene_stop();
	scene_run();
}

static void a_file_system_over_a_label_is_seen(void **state)
{
	char command[512];

	two_legs("'mirror'");
	snprintf(command, sizeof(command), "PATH=$PATH:/sbin mkfs.ext4 -q -F %s 2>/dev/null",
		scene_path("b"));
	assert_int_equal(system(command), 0);
	assert_false(scene_start(plain));
	scene_said("file d1: b holds an ext4 file system, while a of d0 belongs to the tree t; use "
		   "--degraded to go on without it (tree.json:1, /root/children/1/path)\n");
}

static void a_missing_leg_is_left_out_degraded_and_known_as_stale_afterwards(void **state)
{
	struct label label;

	two_legs("'mirror'");
	scene_rename("b", "away");
	assert_true(scene_start(degraded));
	scene_noted("mirror r: leg d1 (b) is not there and is not used; 1 of 2 legs in sync\n");
	assert_true(scene_assembled()->root->children[1]->failed);
	assert_false(scene_assembled()->root->children[0]->failed);
	assert_int_equal(scene_assembled()->root->limits.size, SCENE_MIB);
	scene_label("a", &label); /* before anything is served */
	assert_int_equal(label.peers[1].state, LABEL_PEER_STALE);
	label_finish(&label);
	scene_stop();
	assert_false(scene_has("b"));
	scene_rename("away", "b");
	assert_true(scene_start(plain));
	scene_noted("mirror r: leg d1 (b) missed writes and is not used; 1 of 2 legs in sync\n");
	scene_stop();
}

static void a_stale_leg_is_known_in_any_order(void **state)
{
	two_legs("'mirror'");
	scene_rename("a", "away");
	assert_true(scene_start(degraded));
	scene_stop();
	scene_rename("away", "a");
	scene_tree("'mirror'", "b a");
	assert_true(scene_start(plain));
	scene_noted("mirror r: leg d0 (a) missed writes and is not used; 1 of 2 legs in sync\n"
		    "d0 is served by a (listed as d1)\nd1 is served by b (listed as d0)\n");
	assert_true(scene_assembled()->leaves[0]->node->failed);
	scene_stop();
}

static void nothing_is_written_to_a_leg_that_is_left_out(void **state)
{
	uint64_t sum;

	two_legs("'mirror'");
	scene_rename("b", "away");
	assert_true(scene_start(degraded));
	scene_stop();
	scene_rename("away", "b");
	sum = scene_sum("b");
	scene_run();
	assert_int_equal(scene_sum("b"), sum);
	scene_file("b", SCENE_LEAF_BYTES); /* replaced by a blank one */
	sum = scene_sum("b");
	assert_true(scene_start(degraded));
	scene_noted("mirror r: leg d1 (b) carries no label and is not used; 1 of 2 legs in sync\n");
	scene_stop();
	assert_int_equal(scene_sum("b"), sum);
}

static void a_leg_that_failed_while_live_is_left_out(void **state)
{
	struct tree *tree;

	two_legs("'mirror'");
	assert_true(scene_start(plain));
	tree = scene_assembled();
	tree->root->children[0]->failed = true;
	tree->leaves[1]->label.peers[0].state = LABEL_PEER_STALE; /* as the record does */
	assert_int_equal(label_update(tree->leaves[1]->fd, &tree->leaves[1]->label), 0);
	scene_stop();
	assert_true(scene_start(plain));
	scene_noted("mirror r: leg d0 (a) missed writes and is not used; 1 of 2 legs in sync\n");
	assert_false(scene_assembled()->root->unclean);
	scene_stop();
}

static void legs_that_accuse_each_other_are_refused(void **state)
{
	uint64_t sum;

	two_legs("'mirror'");
	scene_rename("b", "b-away");
	assert_true(scene_start(degraded));
	scene_stop();
	scene_rename("a", "a-away");
	scene_rename("b-away", "b");
	assert_true(scene_start(degraded));
	scene_stop();
	scene_rename("a-away", "a");
	sum = scene_sum("a b");
	assert_false(scene_start(plain));
	scene_said(
		"mirror r: its legs have diverged, none is known to have all writes: d1 (b) says "
		"that d0 (a) missed writes; d0 (a) says that d1 (b) missed writes. Make blank "
		"those "
		"that are to be given up, and use --degraded (tree.json:1, /root)\n");
	assert_false(scene_start(degraded));
	assert_int_equal(scene_sum("a b"), sum);
	scene_file("b", SCENE_LEAF_BYTES); /* the way out that the message tells */
	assert_true(scene_start(degraded));
	scene_stop();
}

static void of_three_legs_a_minority_can_be_right(void **state)
{
	scene_tree("'mirror'", "a b c");
	scene_run();
	scene_rename("c", "away");
	assert_true(scene_start(degraded)); /* c is stale */
	scene_stop();
	scene_rename("a", "a-away");
	assert_true(scene_start(degraded)); /* a is stale */
	scene_stop();
	scene_rename("a-away", "a");
	scene_rename("away", "c");
	assert_true(scene_start(plain));
	scene_noted("mirror r: leg d0 (a) missed writes and is not used; 1 of 3 legs in sync\n"
		    "mirror r: leg d2 (c) missed writes and is not used; 1 of 3 legs in sync\n");
	scene_stop();
}

static void a_stale_leg_alone_is_not_served_by_mistake(void **state)
{
	two_legs("'mirror'");
	scene_rename("a", "away");
	assert_true(scene_start(degraded));
	scene_stop();
	scene_rename("away", "a");
	scene_rename("b", "away");
	assert_false(
		scene_start(plain)); /* nobody here knows: so nothing goes without being told to */
	scene_said(
		"file d1: b was not there, while a of d0 belongs to the tree t; use --degraded to "
		"go on without it (tree.json:1, /root/children/1/path)\n");
	assert_true(scene_start(degraded)); /* and if told to, both will know */
	scene_stop();
	scene_rename("away", "b");
	assert_false(scene_start(plain));
}

static void an_older_copy_put_back_is_noticed(void **state)
{
	two_legs("'mirror'");
	scene_copy("b", "copy");
	scene_run();
	scene_rename("copy", "b");
	assert_true(scene_start(plain));
	scene_noted("mirror r: leg d1 (b) holds an older state than it had and is not used; 1 of 2 "
		    "legs in sync\n");
	scene_stop();
	assert_true(scene_start(plain)); /* recorded by now */
	scene_noted("mirror r: leg d1 (b) missed writes and is not used; 1 of 2 legs in sync\n");
	scene_stop();
}

static void an_older_copy_of_a_stripes_leg_is_refused(void **state)
{
	two_legs("'stripe'");
	scene_copy("b", "copy");
	scene_run();
	scene_rename("copy", "b");
	assert_false(scene_start(plain));
	scene_said("file d1: b holds an older state than it had, says d0, and there is no other "
		   "leg to "
		   "go on with (tree.json:1, /root/children/1/path)\n");
}

static void a_generation_in_flight_at_a_crash_is_no_older_copy(void **state)
{
	struct tree *tree;

	two_legs("'mirror'");
	assert_true(scene_start(plain));
	tree = scene_assembled();
	tree->leaves[0]->label.peers[1].generation = tree->leaves[1]->label.generation + 1;
	assert_int_equal(label_update(tree->leaves[0]->fd, &tree->leaves[0]->label), 0);
	scene_close();
	assert_true(scene_start(plain));
	scene_noted("t was not stopped cleanly\n");
	scene_stop();
}

static void an_unclean_stop_is_remembered_until_a_resync(void **state)
{
	struct label label;
	unsigned i;

	two_legs("'mirror'");
	assert_true(scene_start(plain));
	assert_false(scene_assembled()->root->unclean);
	scene_close();
	assert_true(scene_start(plain));
	scene_noted("t was not stopped cleanly\n");
	assert_true(scene_assembled()->root->unclean);
	scene_stop();
	for (i = 0; i < 2; i++) {
		scene_label(i ? "b" : "a", &label);
		assert_int_equal(label.flags, LABEL_SERVED | LABEL_UNSYNCED);
		label_finish(&label);
	}
	assert_true(scene_assemble(plain));
	scene_noted("");
	assert_true(scene_assembled()->root->unclean);
}

static void without_redundancy_nothing_is_unsynced(void **state)
{
	struct label label;

	two_legs("'stripe'");
	assert_true(scene_start(plain));
	scene_close();
	scene_run();
	scene_label("a", &label);
	assert_int_equal(label.flags, LABEL_SERVED);
	label_finish(&label);
}

static void a_changed_document_goes_into_the_labels(void **state)
{
	struct label label;
	unsigned i;

	two_legs("'mirror'");
	scene_tree("'mirror','read_policy':'round_robin'", "a b");
	scene_run();
	for (i = 0; i < 2; i++) {
		scene_label(i ? "b" : "a", &label);
		assert_non_null(strstr(label.document, "round_robin"));
		assert_false(label.mixed);
		label_finish(&label);
	}
}

/* Whatever write of a start is the last, the next start finds the tree and the whole of a document.
 */
static void a_change_of_document_can_stop_at_any_write(void **state)
{
	struct label label;
	int writes, ended, leaf;

	for (writes = 0, ended = 0; !ended; writes++) {
		scene_file("a", 0);
		scene_file("b", 0);
		two_legs("'mirror'");
		scene_tree("'mirror','annotations':'a longer document'", "a b");
		writes_left = writes + 1;
		ended = scene_start(plain);
		scene_close();
		writes_left = -1;
		scene_label("a", &label);
		assert_string_equal(label.geometry, "mirror[leaf,leaf]");
		label_finish(&label);
		if (!scene_start(plain))
			scene_said("");
		assert_false(scene_assembled()->root->children[0]->failed);
		assert_false(scene_assembled()->root->children[1]->failed);
		scene_stop();
		for (leaf = 0; leaf < 2; leaf++) {
			scene_label(leaf ? "b" : "a", &label);
			assert_non_null(strstr(label.document, "a longer document"));
			assert_false(label.mixed || label.damaged);
			label_finish(&label);
		}
		assert_string_equal(scene_read("a", DATA), "of a");
	}
	assert_int_equal(writes, 5);
}

/* Until the first start has ended, nothing was served: the next create needs no --force. */
static void a_format_can_stop_at_any_write(void **state)
{
	int writes, ended;

	for (writes = 0, ended = 0; !ended; writes++) {
		assert_true(writes < 100);
		scene_file("a", SCENE_LEAF_BYTES);
		scene_file("b", SCENE_LEAF_BYTES);
		scene_tree("'mirror'", "a b");
		writes_left = writes + 1;
		ended = scene_start(plain);
		scene_close();
		writes_left = -1;
		if (!scene_start(plain))
			scene_said("");
		scene_stop();
		scene_run();
	}
	assert_int_equal(writes, 2 * 6 + 4 + 4 + 1);
}

static void a_format_that_stopped_gives_way_to_another_document(void **state)
{
	scene_tree("'mirror'", "a b");
	writes_left = 9; /* a has its label, b not yet */
	assert_false(scene_start(plain));
	writes_left = -1;
	scene_tree("'stripe'", "b c a");
	assert_true(scene_start(plain));
	scene_stop();
	scene_tree("'mirror'", "x y");
	writes_left = 13; /* both have a label, and both still say that it is being made */
	assert_false(scene_start(plain));
	writes_left = -1;
	scene_tree("'stripe'", "y x");
	assert_true(scene_start(plain));
	scene_stop();
}

static void a_stop_can_stop_at_any_write(void **state)
{
	struct err err = { 0 };
	int writes;

	for (writes = 0; writes < 4; writes++) {
		two_legs("'mirror'");
		assert_true(scene_start(plain));
		writes_left = writes + 1;
		assert_true(assemble_stop(scene_assembled(), &err) < 0);
		err_finish(&err);
		scene_close();
		writes_left = -1;
		assert_true(scene_start(plain));
		assert_false(scene_assembled()->root->children[0]->failed);
		assert_false(scene_assembled()->root->children[1]->failed);
		scene_stop();
	}
}

static void a_start_opens_and_a_stop_closes_every_label(void **state)
{
	struct label label;
	uint64_t generation;

	two_legs("'stripe'");
	scene_label("b", &label);
	generation = label.generation;
	label_finish(&label);
	assert_true(scene_start(plain));
	scene_label("b", &label);
	assert_int_equal(label.flags, LABEL_SERVED | LABEL_OPEN);
	assert_int_equal(label.generation, generation + 2);
	label_finish(&label);
	scene_assembled()->leaves[1]->label.generation += 10; /* records while live */
	scene_stop();
	scene_label("b", &label);
	assert_int_equal(label.flags, LABEL_SERVED);
	assert_int_equal(label.generation, generation + 14);
	label_finish(&label);
}

static void a_stop_without_a_start_writes_nothing(void **state)
{
	struct err err = { 0 };
	uint64_t sum;

	scene_tree("'stripe'", "a b");
	scene_file("a", SCENE_LEAF_BYTES);
	scene_file("b", SCENE_LEAF_BYTES);
	sum = scene_sum("a b");
	assert_true(scene_assemble(plain));
	assert_int_equal(assemble_stop(scene_assembled(), &err), 0);
	scene_close();
	assert_int_equal(scene_sum("a b"), sum);
}

static void a_mirror_over_a_leaf_without_label_is_refused(void **state)
{
	scene_document(
		"{'id':'m0','type':'mirror','children':[{'id':'s0','type':'stripe','children':["
		"{'id':'d0','type':'file','path':'a','size':'1MiB','direct':false},"
		"{'id':'d1','type':'file','path':'b','size':'1MiB','label':false,'direct':false}"
		"]}]}");
	assert_false(scene_start(plain));
	scene_said("file d1: a mirror needs labels to remember which leg missed a write: d1 can't "
		   "have "
		   "\"label\": false below m0 (tree.json:1, /root/children/0/children/1/path)\n");
	assert_false(scene_has("a"));
}

static void a_leaf_without_label_is_served_from_its_first_byte(void **state)
{
	uint64_t sum;

	scene_file("a", 12345);
	sum = scene_sum("a");
	scene_document("{'id':'d0','type':'file','path':'a','label':false,'direct':false}");
	assert_true(scene_start(plain));
	assert_int_equal(scene_assembled()->leaves[0]->data_offset, 0);
	assert_int_equal(scene_assembled()->root->limits.size, 12288);
	scene_stop();
	assert_int_equal(scene_sum("a"), sum);
}

static void check_tells_what_is_on_a_leaf_without_label(void **state)
{
	char command[512];

	scene_document("{'id':'d0','type':'file','path':'a','label':false,'direct':false}");
	scene_file("a", SCENE_MIB);
	assert_true(scene_assemble(dry));
	scene_noted("d0: a is mapped raw; nothing known is on it\n");
	snprintf(command, sizeof(command), "PATH=$PATH:/sbin mkfs.ext4 -q %s 2>/dev/null",
		scene_path("a"));
	assert_int_equal(system(command), 0);
	assert_true(scene_assemble(dry));
	scene_noted("d0: a is mapped raw and holds an ext4 file system\n");
}

static void a_labelled_leaf_is_not_mapped_raw(void **state)
{
	two_legs("'stripe'");
	scene_document("{'id':'d0','type':'file','path':'a','label':false,'direct':false}");
	assert_false(scene_start(plain));
	scene_said(
		"file d0: a carries a label of the tree t, which \"label\": false would expose to "
		"writes; use --force if that is meant (tree.json:1, /root/path)\n");
	assert_true(scene_start(force));
	scene_stop();
}

static void a_leaf_that_has_shrunk_is_refused_or_left_out(void **state)
{
	two_legs("'mirror'");
	assert_int_equal(truncate(scene_path("b"), (off_t)SCENE_LEAF_BYTES - 512), 0);
	assert_false(scene_start(plain));
	scene_said("file d1: b has shrunk: it has 6290944 bytes and needs 6291456 "
		   "(tree.json:1, /root/children/1/path)\n");
	assert_true(scene_start(degraded));
	scene_noted(
		"mirror r: leg d1 (b) has shrunk: it has 6290944 bytes and needs 6291456 and is "
		"not used; 1 of 2 legs in sync\n");
	scene_stop();
}

static void a_leaf_keeps_its_size(void **state)
{
	two_legs("'stripe'");
	scene_document("{'id':'r','type':'stripe','children':["
		       "{'id':'d0','type':'file','path':'a','size':'2MiB','direct':false},"
		       "{'id':'d1','type':'file','path':'b','direct':false}]}");
	assert_false(scene_start(plain));
	scene_said("file d0: size 2097152 is not the 1048576 that a was formatted with and keeps "
		   "(tree.json:1, /root/children/0/path)\n");
	scene_document("{'id':'r','type':'stripe','children':["
		       "{'id':'d0','type':'file','path':'a','direct':false},"
		       "{'id':'d1','type':'file','path':'b','direct':false}]}");
	assert_int_equal(truncate(scene_path("b"), (off_t)SCENE_LEAF_BYTES + 4096), 0);
	assert_true(scene_start(plain));
	assert_int_equal(scene_assembled()->leaves[1]->node->limits.size, SCENE_MIB);
	assert_int_equal(scene_assembled()->leaves[1]->node->unused, 4096);
	scene_stop();
}

static void a_file_too_small_for_its_size_is_refused(void **state)
{
	scene_file("a", SCENE_LEAF_BYTES - 1);
	scene_tree("'stripe'", "a b");
	assert_false(scene_start(plain));
	scene_said("file d0: a has 6291455 bytes; size 1048576 with its label needs 6291456 "
		   "(tree.json:1, /root/children/0/path)\n");
	assert_false(scene_has("b"));
}

static void a_target_that_refuses_leaves_no_label_and_no_file(void **state)
{
	uint64_t sum;

	scene_file("a", SCENE_LEAF_BYTES);
	sum = scene_sum("a");
	scene_tree("'stripe','chunk_size':'2MiB'", "a b");
	assert_false(scene_start(plain));
	scene_said("stripe: the smallest leg has 1048576 bytes, less than one chunk of 2097152 "
		   "(tree.json:1, /root)\n");
	assert_int_equal(scene_sum("a"), sum);
	assert_false(scene_has("b"));
}

/* mirror(stripe(a,b), stripe(c,d)) and the other way round. */
static void nested_tree(const char *outer, const char *inner)
{
	char root[1024];

	snprintf(root, sizeof(root),
		"{'id':'r','type':'%s','children':["
		"{'id':'x','type':'%s','children':["
		"{'id':'d0','type':'file','path':'a','size':'1MiB','direct':false},"
		"{'id':'d1','type':'file','path':'b','size':'1MiB','direct':false}]},"
		"{'id':'y','type':'%s','children':["
		"{'id':'d2','type':'file','path':'c','size':'1MiB','direct':false},"
		"{'id':'d3','type':'file','path':'d','size':'1MiB','direct':false}]}]}",
		outer, inner, inner);
	scene_document(root);
}

static void a_leg_of_several_leaves_is_left_out_as_a_whole(void **state)
{
	struct label label;

	nested_tree("mirror", "stripe");
	scene_run();
	scene_remove("b");
	assert_true(scene_start(degraded));
	scene_noted(
		"mirror r: leg x is not used, as its d1 (b) is not there; 1 of 2 legs in sync\n");
	assert_true(scene_assembled()->root->children[0]->failed);
	assert_int_equal(scene_assembled()->root->limits.size, 2 * SCENE_MIB);
	scene_stop();
	scene_label("d", &label);
	assert_int_equal(label.peers[0].state, LABEL_PEER_STALE);
	assert_int_equal(label.peers[1].state, LABEL_PEER_STALE);
	assert_int_equal(label.peers[2].state, LABEL_PEER_IN_SYNC);
	label_finish(&label);
}

static void a_stripe_of_mirrors_goes_on_without_one_leg_of_each(void **state)
{
	nested_tree("stripe", "mirror");
	scene_run();
	scene_remove("a");
	scene_rename("d", "away");
	assert_true(scene_start(degraded));
	scene_noted("mirror x: leg d0 (a) is not there and is not used; 1 of 2 legs in sync\n"
		    "mirror y: leg d3 (d) is not there and is not used; 1 of 2 legs in sync\n");
	scene_stop();
	scene_rename("c", "c-away");
	assert_false(scene_start(degraded));
	scene_said("file d2: c does not exist (tree.json:1, /root/children/1/children/0/path)\n"
		   "file d3: d does not exist (tree.json:1, /root/children/1/children/1/path)\n");
	scene_rename("away", "d");
	assert_false(scene_start(degraded)); /* b knows that d missed writes */
	scene_said(
		"mirror y: its legs have diverged, none is known to have all writes: d1 (b) says "
		"that d3 (d) missed writes. Make blank those that are to be given up, and use "
		"--degraded (tree.json:1, /root/children/1)\n");
}

static void a_mirror_of_mirrors_loses_a_leg_when_all_of_that_are_lost(void **state)
{
	nested_tree("mirror", "mirror");
	scene_run();
	scene_remove("a");
	scene_rename("b", "away");
	assert_true(scene_start(degraded));
	scene_noted(
		"mirror r: leg x is not used, as its d0 (a) is not there; 1 of 2 legs in sync\n");
	assert_true(scene_assembled()->root->children[0]->failed);
	scene_stop();
	scene_rename("away", "b");
	assert_true(scene_start(degraded));
	scene_noted(
		"mirror r: leg x is not used, as its d0 (a) is not there; 1 of 2 legs in sync\n");
	scene_stop();
}

static void a_new_tree_is_not_begun_degraded(void **state)
{
	scene_tree("'mirror'", "a b");
	scene_file("a", SCENE_LEAF_BYTES);
	assert_false(scene_start(degraded));
	scene_said("file d1: b does not exist (tree.json:1, /root/children/1/path)\n");
	assert_false(scene_has("b"));
}

static void degraded_is_no_different_when_all_is_there(void **state)
{
	two_legs("'mirror'");
	assert_true(scene_start(degraded));
	scene_noted("");
	scene_stop();
	scene_run();
}

static void force_recognises_what_fits(void **state)
{
	two_legs("'mirror'");
	assert_true(scene_start(force));
	scene_noted("");
	scene_stop();
	assert_string_equal(scene_read("a", DATA), "of a");
}

static void force_takes_leaves_as_the_document_lists_them(void **state)
{
	struct label label;

	scene_tree("'stripe'", "a b c");
	scene_run();
	scene_tree("'stripe'", "b a c");
	scene_file("c", SCENE_LEAF_BYTES);
	assert_true(scene_start(force));
	scene_noted("d0: b is formatted over the label of a tree\n"
		    "d1: a is formatted over the label of a tree\nd2: c is formatted\n");
	scene_stop();
	scene_label("b", &label);
	assert_int_equal(label.place, 0);
	label_finish(&label);
}

static void a_tree_without_leaves_has_nothing_to_assemble(void **state)
{
	scene_document("{'type':'zero','size':'1MiB'}");
	assert_true(scene_start(plain));
	scene_noted("");
	scene_stop();
}

/* Hostile or rotten: any byte of any label changed in any way gives a refusal or the tree, no
 * crash. */
static void no_byte_of_a_label_brings_assembly_down(void **state)
{
	unsigned at;

	two_legs("'mirror'");
	for (at = 0; at < 144; at += 3) {
		scene_copy("b", "copy");
		scene_write("b", at, "\xff\x01");
		scene_write("b", LABEL_COPY_STRIDE + at, "\xff\x01");
		assert_false(scene_assemble(plain));
		assert_true(scene_assemble(degraded));
		scene_close();
		scene_rename("copy", "b");
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(blank_leaves_are_formatted_then_recognised),
		TEST(the_label_says_what_the_document_says),
		TEST(a_dry_run_writes_and_makes_nothing),
		TEST(assembly_alone_writes_nothing),
		TEST(it_may_be_asked_twice),
		TEST(four_leaves_assemble_in_any_order),
		TEST(renamed_files_are_found),
		TEST(files_of_different_sizes_find_their_places),
		TEST(another_trees_leaf_is_refused),
		TEST(another_shape_is_refused),
		TEST(another_number_of_leaves_is_refused),
		TEST(a_copied_leaf_is_refused),
		TEST(a_place_claimed_twice_is_refused),
		TEST(a_newer_label_is_refused),
		TEST(a_damaged_label_is_refused),
		TEST(one_damaged_copy_is_mended),
		TEST(a_blank_leaf_among_labelled_ones_is_refused),
		TEST(a_missing_leaf_among_labelled_ones_is_refused_and_not_made),
		TEST(a_file_system_is_refused_and_overwritten_with_force),
		TEST(a_file_system_over_a_label_is_seen),
		TEST(a_missing_leg_is_left_out_degraded_and_known_as_stale_afterwards),
		TEST(a_stale_leg_is_known_in_any_order),
		TEST(nothing_is_written_to_a_leg_that_is_left_out),
		TEST(a_leg_that_failed_while_live_is_left_out),
		TEST(legs_that_accuse_each_other_are_refused),
		TEST(of_three_legs_a_minority_can_be_right),
		TEST(a_stale_leg_alone_is_not_served_by_mistake),
		TEST(an_older_copy_put_back_is_noticed),
		TEST(an_older_copy_of_a_stripes_leg_is_refused),
		TEST(a_generation_in_flight_at_a_crash_is_no_older_copy),
		TEST(an_unclean_stop_is_remembered_until_a_resync),
		TEST(without_redundancy_nothing_is_unsynced),
		TEST(a_changed_document_goes_into_the_labels),
		TEST(a_change_of_document_can_stop_at_any_write),
		TEST(a_format_can_stop_at_any_write),
		TEST(a_format_that_stopped_gives_way_to_another_document),
		TEST(a_stop_can_stop_at_any_write),
		TEST(a_start_opens_and_a_stop_closes_every_label),
		TEST(a_stop_without_a_start_writes_nothing),
		TEST(a_mirror_over_a_leaf_without_label_is_refused),
		TEST(a_leaf_without_label_is_served_from_its_first_byte),
		TEST(check_tells_what_is_on_a_leaf_without_label),
		TEST(a_labelled_leaf_is_not_mapped_raw),
		TEST(a_leaf_that_has_shrunk_is_refused_or_left_out),
		TEST(a_leaf_keeps_its_size),
		TEST(a_file_too_small_for_its_size_is_refused),
		TEST(a_target_that_refuses_leaves_no_label_and_no_file),
		TEST(a_leg_of_several_leaves_is_left_out_as_a_whole),
		TEST(a_stripe_of_mirrors_goes_on_without_one_leg_of_each),
		TEST(a_mirror_of_mirrors_loses_a_leg_when_all_of_that_are_lost),
		TEST(a_new_tree_is_not_begun_degraded),
		TEST(degraded_is_no_different_when_all_is_there),
		TEST(force_recognises_what_fits),
		TEST(force_takes_leaves_as_the_document_lists_them),
		TEST(a_tree_without_leaves_has_nothing_to_assemble),
		TEST(no_byte_of_a_label_brings_assembly_down),
	};

	return cmocka_run_group_tests_name("assemble", tests, NULL, NULL);
}
