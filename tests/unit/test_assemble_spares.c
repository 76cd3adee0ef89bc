// SPDX-License-Identifier: MIT
/* Assembly: legs that stand by. */
#include "scene.h"

#include "lifetime.h"

#define FILE_OF(id, path) "{'id':'" id "','type':'file','path':'" path "','size':'2MiB','direct':false}"
#define ROOT                                                                                       \
	"{'id':'r','type':'mirror','children':[" FILE_OF("d0", "a") "," FILE_OF("d1", "b") "],"     \
	"'spares':[" FILE_OF("s0", "s") "]}"

static struct node *leg(unsigned place)
{
	return scene_assembled()->root->children[place];
}

static void start(struct assemble_options options)
{
	if (!scene_start(options))
		scene_said("");
}

/* A new tree after a clean stop. */
static void make(void)
{
	scene_document(ROOT);
	scene_run();
}

static void assert_legs(const char *states) /* in sync, rebuilding, spare, failed, Failed spare */
{
	unsigned i;

	for (i = 0; states[i]; i++) {
		const struct node *node = leg(i);
		char state = node->failed ? (node->spare ? 'F' : 'f')
			     : node->spare ? 's'
			     : node->rebuilding ? 'r'
						: 'i';

		if (state != states[i])
			fail_msg("leg %u is %c, not %c of %s", i, state, states[i], states);
	}
}

/* As the mirror does when a leg fails, with the records of it on those that are in use. */
static void exchange(unsigned failed, unsigned spare)
{
	unsigned i, copy;

	leg(failed)->failed = leg(failed)->spare = true;
	leg(spare)->spare = false;
	leg(spare)->rebuilding = true;
	for (i = 0; i < scene_assembled()->leaf_count; i++) {
		struct leaf *leaf = scene_assembled()->leaves[i];
		unsigned of;

		for (of = 0; of < scene_assembled()->leaf_count && !node_has_failed(leaf->node); of++)
			leaf->label.peers[of].state = leaf_peer_state(scene_assembled()->leaves[of]);
		for (copy = 0; copy < LABEL_COPIES && !node_has_failed(leaf->node); copy++)
			assert_int_equal(label_update(leaf->fd, &leaf->label), 0);
	}
}

static void join(unsigned place)
{
	struct err err = { 0 };
	unsigned i;

	leg(place)->rebuilding = false;
	for (i = 0; i < scene_assembled()->leaf_count; i++)
		scene_assembled()->leaves[i]->label.peers[place].joins++;
	assert_int_equal(assemble_stop(scene_assembled(), &err), 0);
	scene_close();
}

static void the_documents_spares_stand_by_from_the_first_start_on(void **state)
{
	scene_document(ROOT);
	start(scene_plain);
	assert_legs("iis");
	scene_close(); /* a crash */
	assert_int_equal(scene_says("a", 2), LABEL_PEER_SPARE);
	assert_int_equal(scene_says("s", 2), LABEL_PEER_SPARE);
	assert_int_equal(scene_says("s", 0), LABEL_PEER_IN_SYNC);
	start(scene_plain);
	scene_noted("t was not stopped cleanly\n");
	assert_legs("iis");
	scene_stop();
}

static void a_missing_spare_is_told_and_no_reason_to_refuse(void **state)
{
	make();
	scene_rename("s", "away");
	start(scene_plain);
	scene_noted("mirror r: spare s0 (s) carries no label and is not used; 2 of 2 legs in sync\n");
	assert_legs("iiF");
	assert_false(scene_has("s")); /* nothing is made in its place */
	scene_stop();
	scene_rename("away", "s");
	start(scene_plain);
	assert_legs("iis");
	scene_stop();
}

static void a_missing_leg_is_a_reason_to_refuse_with_a_spare_too(void **state)
{
	make();
	scene_rename("b", "away");
	assert_false(scene_start(scene_plain));
	assert_true(scene_has_said("use --add to bring it up to date, or --degraded to go on without it"));
}

static void a_start_takes_a_spare_for_a_leg_that_is_away(void **state)
{
	make();
	scene_rename("b", "away");
	start(scene_degraded);
	scene_noted("mirror r: spare s0 is taken in\n"
		    "mirror r: spare d1 (b) is not there and is not used; 1 of 2 legs in sync\n"
		    "mirror r: leg s0 (s) missed writes and is brought up to date; 1 of 2 legs in sync\n");
	assert_legs("iFr");
	assert_false(leg(2)->rebuild_all); /* it is the mirror that knows: it goes on where it was */
	scene_close();
	scene_rename("away", "b");
	start(scene_plain); /* the same one goes on */
	assert_legs("isr");
	join(2);
	start(scene_plain);
	assert_legs("isi");
	scene_stop();
	assert_int_equal(scene_says("b", 1), LABEL_PEER_SPARE);
}

static void a_spare_that_was_taken_live_is_the_leg_from_then_on(void **state)
{
	make();
	start(scene_plain);
	exchange(1, 2);
	scene_close();
	start(scene_plain);
	assert_legs("isr");
	join(2);
	scene_remove("b"); /* it is not missed any more */
	start(scene_plain);
	assert_legs("iFi");
	scene_stop();
}

/* As far as either label got: one of both is brought up to date, the other stands by. */
static void a_crash_between_the_records_is_one_choice_or_the_other(void **state)
{
	make();
	scene_copy("s", "old_s");
	start(scene_plain);
	exchange(1, 2);
	scene_close();
	scene_copy("old_s", "s"); /* its own was not written */
	start(scene_plain);
	assert_legs("isr");
	scene_close();
}

static void what_a_spare_says_of_others_is_old(void **state)
{
	struct label label;

	make();
	scene_label("s", &label);
	label.peers[0].state = LABEL_PEER_STALE;
	label.peers[1].generation += 1000;
	scene_relabel("s", &label);
	label_finish(&label);
	start(scene_plain);
	assert_legs("iis");
	scene_stop();
}

static void a_spare_is_nobody_to_go_on_with(void **state)
{
	make();
	scene_remove("a");
	scene_remove("b");
	assert_false(scene_start(scene_degraded));
	assert_false(scene_start(scene_prefer("s0")));
	scene_said("--prefer=s0: by its label it stands by as a spare, and holds nothing\n");
}

static void a_blank_spare_is_taken_in_if_that_is_asked_for(void **state)
{
	make();
	scene_file("s", SCENE_LEAF_BYTES);
	start(scene_plain);
	assert_legs("iiF");
	scene_stop();
	start((struct assemble_options){ .add = true });
	assert_legs("iis");
	scene_stop();
	assert_int_equal(scene_says("s", 2), LABEL_PEER_SPARE);
	start(scene_plain);
	assert_legs("iis");
	scene_stop();
}

/* A blank leaf in the failed one's place stands by: its place was taken. */
static void a_blank_leaf_for_one_whose_place_was_taken_stands_by(void **state)
{
	make();
	start(scene_plain);
	exchange(1, 2);
	join(2);
	scene_file("b", SCENE_LEAF_BYTES);
	start((struct assemble_options){ .add = true });
	assert_legs("isi");
	scene_stop();
}

static void too_many_legs_are_refused(void **state)
{
	char root[4096] = "{'type':'mirror','children':[", *end = root + strlen(root);
	unsigned i;

	for (i = 0; i < 17; i++)
		end += sprintf(end, "%s{'type':'file','path':'f%u','size':'2MiB'}",
			i == 10 ? "],'spares':[" : i ? "," : "", i);
	strcpy(end, "]}");
	scene_document(root);
	assert_false(scene_assemble(scene_plain));
	assert_true(scene_has_said("mirror: 10 children and 7 spares are more than 16"));
}

static void spares_grow_with_the_others(void **state)
{
	make();
	scene_document("{'id':'r','type':'mirror','children':[{'id':'d0','type':'file','path':'a','size':"
		       "'3MiB','direct':false},{'id':'d1','type':'file','path':'b','size':'3MiB','direct':"
		       "false}],'spares':[{'id':'s0','type':'file','path':'s','size':'3MiB','direct':false}]}");
	start((struct assemble_options){ .grow = true });
	assert_legs("iis");
	assert_int_equal(leg(2)->limits.size, 3 * SCENE_MIB);
	scene_stop();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_documents_spares_stand_by_from_the_first_start_on),
		TEST(a_missing_spare_is_told_and_no_reason_to_refuse),
		TEST(a_missing_leg_is_a_reason_to_refuse_with_a_spare_too),
		TEST(a_start_takes_a_spare_for_a_leg_that_is_away),
		TEST(a_spare_that_was_taken_live_is_the_leg_from_then_on),
		TEST(a_crash_between_the_records_is_one_choice_or_the_other),
		TEST(what_a_spare_says_of_others_is_old),
		TEST(a_spare_is_nobody_to_go_on_with),
		TEST(a_blank_spare_is_taken_in_if_that_is_asked_for),
		TEST(a_blank_leaf_for_one_whose_place_was_taken_stands_by),
		TEST(too_many_legs_are_refused),
		TEST(spares_grow_with_the_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
