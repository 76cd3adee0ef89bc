// SPDX-License-Identifier: MIT
/* Images as legs of a mirror: it goes on without one whose leaf isn't there. */
#include "scene.h"

#include <json-c/json.h>

#define IMAGE(id, leaf)                                                                            \
	"{'id':'" id "','type':'thin'," leaf "}"
#define LEAF(name) "'data':{'type':'file','path':'" name "','size':8388608,'direct':false,'label':true}"

static void two_images(const char *first_size)
{
	char root[512];

	(void)snprintf(root, sizeof(root), "{'id':'m0','type':'mirror','children':[" IMAGE("t0", "'size':4194304," LEAF("a"))
		"," IMAGE("t1", "%s" LEAF("b")) "]}", first_size);
	scene_document(root);
}

/* Of the second leg. */
static struct json_object *told(const struct node *node)
{
	struct json_object *status = json_object_new_object();

	node->type->status(node, status);
	return status;
}

static void expect_no_answer(struct node *node, const char *message)
{
	static const char *const verbs[] = { "map", "trim", "flatten", "snapshot-list" };
	unsigned i;

	for (i = 0; i < LENGTH_OF(verbs); i++) {
		struct json_object *answer = json_object_new_object();
		struct err err = { 0 };

		assert_int_equal(node->type->command(node, verbs[i], NULL, answer, &err), -1);
		assert_string_equal(err.text, message);
		err_finish(&err);
		json_object_put(answer);
	}
}

static void a_mirror_goes_on_without_an_image(void **state)
{
	struct json_object *status;
	struct node *leg;

	two_images("'size':4194304,");
	scene_run();
	two_images(""); /* what it is one learns from the image, which isn't there */
	scene_rename("b", "away");
	assert_true(scene_start(scene_degraded));
	assert_int_equal(scene_assembled()->root->limits.size, 4194304 - SCENE_MIB);
	leg = scene_assembled()->root->children[1];
	assert_true(leg->failed);
	status = told(leg);
	assert_int_equal(json_object_object_length(status), 1);
	json_object_put(status);
	expect_no_answer(leg, "thin t1: its leg has failed, and its image isn't open\n");
	scene_stop();
	scene_rename("away", "b");
	two_images("'size':4194304,"); /* nothing was served, so that none has been made */
	assert_true(scene_start(scene_plain));
	leg = scene_assembled()->root->children[1];
	assert_true(leg->rebuilding);
	status = told(leg);
	assert_true(json_object_object_length(status) > 5);
	json_object_put(status);
	scene_stop();
}

/* Of the leg that can't be used neither image is looked at, though one is there. */
static void as_without_a_stripe_of_images(void **state)
{
	scene_document("{'id':'m0','type':'mirror','children':[{'type':'stripe','id':'s0','children':[" IMAGE("t0",
		"'size':4194304," LEAF("a")) "," IMAGE("t1", "'size':4194304," LEAF("b")) "]},"
		"{'id':'f0','type':'file','path':'c','size':8388608,'direct':false}]}");
	scene_run();
	scene_rename("b", "away");
	assert_true(scene_start(scene_degraded));
	assert_int_equal(scene_assembled()->root->limits.size, 8388608 - SCENE_MIB);
	assert_true(scene_assembled()->root->children[0]->failed);
	scene_stop();
	scene_rename("away", "b");
	scene_run();
}

static void a_leaf_without_a_label_is_told_what_it_needs(void **state)
{
	scene_document("{'id':'m0','type':'mirror','children':[" IMAGE("t0",
		"'size':4194304,'data':{'id':'d0','type':'file','path':'a','size':8388608,'direct':false}") "]}");
	assert_false(scene_start(scene_plain));
	scene_said("file d0: a mirror needs labels to remember which leg missed a write: d0 needs \"label\": true below "
		   "m0; right below a thin a leaf has none by itself (tree.json:1, /root/children/0/data/path)\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_mirror_goes_on_without_an_image),
		TEST(as_without_a_stripe_of_images),
		TEST(a_leaf_without_a_label_is_told_what_it_needs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
