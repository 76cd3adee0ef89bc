// SPDX-License-Identifier: MIT
/*
 * Assembly: legs put together from different moments of their history, in every combination and
 * order. Whatever is taken from where, what is used has all that any leg there has; or nothing is
 * used, with a sentence.
 *
 * A history is a script: lives of a device, in which legs are there or not, fail, and are stopped
 * or crash. Each leg's data are the writes that have reached it, as a text: an upper-case letter
 * for each life, which all legs in use get, and a lower-case one for each further write. A leg is
 * stale beside another one when its text is a proper beginning of that one's, and they have
 * diverged when neither begins with the other. A moment is kept as a copy of each leaf that has
 * changed.
 *
 * Moments are those at which a label has changed since the last one: after a failure was recorded,
 * a stop, a crash. Two copies of legs that were written on in between look the same to any label;
 * only a crash can leave them so, and then no write of that difference was acknowledged.
 */
#include "scene.h"

#include <ctype.h>
#include <unistd.h>

#define LEAVES_MAX 4
#define MOMENTS_MAX 16
#define TEXT_MAX 64
#define AWAY MOMENTS_MAX /* instead of a moment: the leaf isn't there */

/* The files need not outlive the test. */
int fdatasync(int fd)
{
	return 0;
}

int fsync(int fd)
{
	return 0;
}

/* What a try came to. */
static struct {
	unsigned tried, served, refused, asked;
} count;

static struct shape {
	unsigned leaves, mirrors; /* consecutive leaves make a mirror */
	const char *document; /* %s for each leaf's path */
} shape;

static unsigned moments[LEAVES_MAX]; /* kept of each leaf */
static uint64_t kept_sum[LEAVES_MAX];
static char texts[LEAVES_MAX][MOMENTS_MAX][TEXT_MAX];

static unsigned mirror_of(unsigned leaf)
{
	return leaf / (shape.leaves / shape.mirrors);
}

static void document(const char *const names[LEAVES_MAX])
{
	char root[2048];

	snprintf(root, sizeof(root), shape.document, names[0], names[1], names[2], names[3]);
	scene_document(root);
}

static const char *live_name(unsigned leaf)
{
	static const char *const names[LEAVES_MAX] = { "a", "b", "c", "d" };

	return names[leaf];
}

static const char *kept_name(unsigned leaf, unsigned moment)
{
	static char names[LEAVES_MAX][8];

	if (moment == AWAY)
		return "none";
	snprintf(names[leaf], sizeof(names[leaf]), "%s%u", live_name(leaf), moment);
	return names[leaf];
}

/* Keeps a copy of each leaf that is not as it was at its last moment. */
static void keep(void)
{
	unsigned leaf;

	for (leaf = 0; leaf < shape.leaves; leaf++) {
		bool is_away = !scene_has(live_name(leaf));
		uint64_t sum = is_away ? kept_sum[leaf] : scene_sum(live_name(leaf));

		if (sum == kept_sum[leaf])
			continue;
		kept_sum[leaf] = sum;
		assert_true(moments[leaf] < MOMENTS_MAX);
		strcpy(texts[leaf][moments[leaf]], scene_read(live_name(leaf), SCENE_DATA));
		scene_copy(live_name(leaf), kept_name(leaf, moments[leaf]++));
	}
}

/* A write: to the legs of one mirror, or of all (-1), that are in use. */
static void write_letter(int mirror, char letter)
{
	const struct tree *tree = scene_assembled();
	unsigned leaf;

	for (leaf = 0; leaf < shape.leaves; leaf++) {
		char text[TEXT_MAX];

		if (node_is_stale(tree->leaves[leaf]->node) || tree->leaves[leaf]->fd < 0 ||
			(mirror >= 0 && mirror_of(leaf) != (unsigned)mirror))
			continue;
		snprintf(text, sizeof(text), "%s%c", scene_read(live_name(leaf), SCENE_DATA),
			letter);
		scene_write(live_name(leaf), SCENE_DATA, text);
	}
}

/* What the mirror and record.c do when a leg fails: the others of that mirror write it down. */
static void fail_leg(unsigned failed)
{
	const struct tree *tree = scene_assembled();
	unsigned leaf, copy;

	tree->leaves[failed]->node->failed = true;
	for (leaf = 0; leaf < shape.leaves; leaf++) {
		struct leaf *other = tree->leaves[leaf];

		if (mirror_of(leaf) != mirror_of(failed) || node_is_stale(other->node) ||
			other->fd < 0)
			continue;
		other->label.peers[failed].state = LABEL_PEER_STALE;
		for (copy = 0; copy < LABEL_COPIES; copy++)
			assert_int_equal(label_update(other->fd, &other->label), 0);
	}
}

/* As record.c does: the labels of that mirror's legs in use say what the tree knows, one after the other. */
static void record(unsigned mirror)
{
	const struct tree *tree = scene_assembled();
	unsigned leaf, peer, copy;

	for (leaf = 0; leaf < shape.leaves; leaf++) {
		struct label *label = &tree->leaves[leaf]->label;

		if (mirror_of(leaf) != mirror || node_has_failed(tree->leaves[leaf]->node))
			continue;
		for (peer = 0; peer < shape.leaves; peer++) {
			const struct leaf *of = tree->leaves[peer];
			const struct label_peer *own = &of->label.peers[peer];

			label->peers[peer].joins = own->joins +
				(own->state != LABEL_PEER_IN_SYNC && !node_is_stale(of->node));
			label->peers[peer].state = leaf_peer_state(of);
			if (!node_is_stale(of->node))
				label->peers[peer].generation = of->label.generation;
		}
		for (copy = 0; copy < LABEL_COPIES; copy++)
			assert_int_equal(label_update(tree->leaves[leaf]->fd, label), 0);
		keep();
	}
}

/* What the mirror does with a leg that has failed and is added while the device is live. */
static void add_leg(unsigned added)
{
	const struct tree *tree = scene_assembled();
	struct node *node = tree->leaves[added]->node;
	unsigned from = 0;

	node->failed = false;
	node->rebuilding = true;
	record(mirror_of(added));
	while (mirror_of(from) != mirror_of(added) || node_is_stale(tree->leaves[from]->node))
		from++;
	scene_write(live_name(added), SCENE_DATA, scene_read(live_name(from), SCENE_DATA));
	node->rebuilding = false;
	record(mirror_of(added));
}

/*
 * Runs a script of words: "+abc" a life of these leaves begins (others are away), with --degraded
 * and, if need be, --prefer all of them; "-ax" leg a fails, and the others of its mirror get the
 * write that it missed; "*a" it is brought up to date; "." the life ends with a clean stop, "!" with a crash.
 */
static void run(const char *script)
{
	static const char *names[LEAVES_MAX] = { "a", "b", "c", "d" };
	static char away[LEAVES_MAX][8];
	const char *prefer[LEAVES_MAX];
	struct assemble_options options = { .degraded = true, .prefer = prefer };
	char life = 'A', letter = 'a';
	int mirror = -1;
	unsigned leaf;

	document(names);
	for (; *script; script++) {
		switch (*script) {
		case '+':
			options.prefer_count = 0;
			for (leaf = 0; leaf < shape.leaves; leaf++) {
				bool is_there =
					strchr(script, *names[leaf]) &&
					strchr(script, *names[leaf]) < strchrnul(script, ' ');

				snprintf(away[leaf], sizeof(away[leaf]), "%s.away", names[leaf]);
				if (is_there && scene_has(away[leaf]))
					scene_rename(away[leaf], names[leaf]);
				if (!is_there && scene_has(names[leaf]))
					scene_rename(names[leaf], away[leaf]);
				if (is_there)
					prefer[options.prefer_count++] = names[leaf];
			}
			script += strcspn(script, " ") - 1;
			if (life == 'A') /* a new tree is not begun degraded */
				options = (struct assemble_options){ 0 };
			if (!scene_start(options))
				fail_msg("the script can't go on");
			options = (struct assemble_options){ .degraded = true, .prefer = prefer };
			write_letter(-1, life++);
			mirror = -1;
			break;
		case '-':
			leaf = (unsigned)(*++script - 'a');
			fail_leg(leaf);
			mirror = (int)mirror_of(leaf);
			break;
		case '*':
			add_leg((unsigned)(*++script - 'a'));
			break;
		case 'x':
			write_letter(mirror, letter++);
			keep();
			break;
		case '.':
			scene_stop();
			keep();
			break;
		case '!':
			scene_close();
			keep();
			break;
		default:
			break;
		}
	}
	for (leaf = 0; leaf < shape.leaves; leaf++)
		kept_sum[leaf] = 0;
}

static bool begins_with(const char *text, const char *beginning)
{
	return !strncmp(text, beginning, strlen(beginning));
}

/* The letters of lives alone: what every leaf in use has got. */
static const char *lives(const char *text, char *out)
{
	char *to = out;

	for (; *text; text++)
		if (isupper((unsigned char)*text))
			*to++ = *text;
	*to = '\0';
	return out;
}

/* The assembled tree uses nothing that lacks what another leaf has. */
static void judge(const unsigned chosen[LEAVES_MAX])
{
	const struct tree *tree = scene_assembled();
	char mine[TEXT_MAX], others[TEXT_MAX];
	unsigned leaf, other;

	for (leaf = 0; leaf < shape.leaves; leaf++) {
		const struct leaf *used = tree->leaves[leaf];
		const char *text = chosen[leaf] == AWAY ? "" : texts[leaf][chosen[leaf]];

		if (node_is_stale(used->node) || used->fd < 0)
			continue;
		for (other = 0; other < shape.leaves; other++) {
			const char *there =
				chosen[other] == AWAY ? "" : texts[other][chosen[other]];

			if (mirror_of(leaf) == mirror_of(other)
					? begins_with(text, there)
					: begins_with(lives(text, mine), lives(there, others)))
				continue;
			fail_msg("leaf %u at moment %u, \"%s\", is used, while leaf %u at moment "
				 "%u has "
				 "\"%s\"",
				leaf, chosen[leaf], text, other, chosen[other], there);
		}
	}
}

static void try_one(const unsigned chosen[LEAVES_MAX], const unsigned order[LEAVES_MAX])
{
	const char *names[LEAVES_MAX] = { "", "", "", "" };
	unsigned leaf;

	for (leaf = 0; leaf < shape.leaves; leaf++)
		names[leaf] = kept_name(order[leaf], chosen[order[leaf]]);
	document(names);
	count.tried++;
	if (scene_assemble((struct assemble_options){ .degraded = true, .dry = true })) {
		count.served++;
		judge(chosen);
	} else if (scene_has_said("nobody is left to say")) {
		count.asked++;
	} else {
		count.refused++;
	}
	scene_close();
}

/* Every order of the leaves in the document, by Heap's way of permuting. */
static void try_orders(const unsigned chosen[LEAVES_MAX], unsigned order[LEAVES_MAX], unsigned rest)
{
	unsigned i;

	if (rest == 1) {
		try_one(chosen, order);
		return;
	}
	for (i = 0; i < rest; i++) {
		unsigned other = rest % 2 ? 0 : i, leaf;

		try_orders(chosen, order, rest - 1);
		leaf = order[other];
		order[other] = order[rest - 1];
		order[rest - 1] = leaf;
	}
}

/* Every combination of moments; of each, every order, or two of them. */
static void try_all(bool every_order)
{
	unsigned chosen[LEAVES_MAX] = { 0 }, leaf;

	for (;;) {
		unsigned order[LEAVES_MAX] = { 0, 1, 2, 3 }, back[LEAVES_MAX], away = 0;

		for (leaf = 0; leaf < shape.leaves; leaf++) {
			back[leaf] = shape.leaves - 1 - leaf;
			away += chosen[leaf] == AWAY;
		}
		if (away == shape.leaves)
			return;
		if (every_order) {
			try_orders(chosen, order, shape.leaves);
		} else {
			try_one(chosen, order);
			try_one(chosen, back);
		}
		for (leaf = 0; leaf < shape.leaves; leaf++) {
			if (chosen[leaf] != AWAY) {
				chosen[leaf] =
					chosen[leaf] + 1 < moments[leaf] ? chosen[leaf] + 1 : AWAY;
				break;
			}
			chosen[leaf] = 0;
		}
	}
}

/* Of what a machine that crashed at the end has: no word is needed. */
static bool latest_is_served(void)
{
	unsigned chosen[LEAVES_MAX], order[LEAVES_MAX] = { 0, 1, 2, 3 }, leaf, served = count.served;

	for (leaf = 0; leaf < shape.leaves; leaf++)
		chosen[leaf] = moments[leaf] - 1;
	try_one(chosen, order);
	return count.served > served;
}

static void try_history(const char *script, bool every_order)
{
	memset(moments, 0, sizeof(moments));
	memset(&count, 0, sizeof(count));
	run(script);
	try_all(every_order);
	print_message("%s: %u combinations: %u served, %u refused, %u asked whom to prefer\n",
		script, count.tried, count.served, count.refused, count.asked);
	assert_true(count.served > 0 && count.refused > 0);
}

#define LEAF(id) "{'id':'" id "','type':'file','path':'%s','size':'2MiB','direct':false}"
#define PAIR LEAF("a") "," LEAF("b")

static const struct shape two_legs = { 2, 1, "{'id':'r','type':'mirror','children':[" PAIR "]}" };
static const struct shape three_legs = { 3, 1,
	"{'id':'r','type':'mirror','children':[" PAIR "," LEAF("c") "]}" };
static const struct shape two_mirrors = { 4, 2,
	"{'id':'r','type':'stripe','children':[{'id':'x','type':'mirror','children':[" PAIR
	"]},{'id':'y','type':'mirror','children':[" LEAF("c") "," LEAF("d") "]}]}" };

static void two_legs_from_any_moments(void **state)
{
	shape = two_legs;
	try_history("+ab . +ab -bx . +a . +b .", true);
}

static void two_legs_from_any_moments_around_crashes(void **state)
{
	shape = two_legs;
	try_history("+ab . +ab ! +ab -ax ! +b . +b ! +b . +a .", true);
}

static void three_legs_from_any_moments(void **state)
{
	shape = three_legs;
	try_history("+abc . +abc -cx -bx . +a . +b . +c .", true);
}

static void three_legs_from_any_moments_around_crashes(void **state)
{
	shape = three_legs;
	try_history("+abc . +abc -ax ! +bc . +bc -cx ! +b ! +a .", true);
}

/* The last one accuses all, and each is accused, by one that has been away itself. */
static void three_legs_from_any_moments_around_joins(void **state)
{
	shape = three_legs;
	try_history("+abc . +abc -ax -bx *a -cx !", true);
	assert_true(latest_is_served());
}

static void a_stripe_of_mirrors_from_any_moments(void **state)
{
	shape = two_mirrors;
	try_history("+abcd . +abcd -bx . +abcd -cx ! +ad .", false);
}

static void a_stripe_of_mirrors_that_went_on_in_halves(void **state)
{
	shape = two_mirrors;
	try_history("+abcd . +ac . +bd .", false);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(two_legs_from_any_moments),
		TEST(two_legs_from_any_moments_around_crashes),
		TEST(three_legs_from_any_moments),
		TEST(three_legs_from_any_moments_around_crashes),
		TEST(three_legs_from_any_moments_around_joins),
		TEST(a_stripe_of_mirrors_from_any_moments),
		TEST(a_stripe_of_mirrors_that_went_on_in_halves),
	};

	return cmocka_run_group_tests_name("assemble: moments", tests, NULL, NULL);
}
