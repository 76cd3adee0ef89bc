// SPDX-License-Identifier: MIT
/*
 * What a user does to legs of a live device: legs that hung are added again, and, in some seeds, any leg may
 * be failed, added, replaced, or on its way out at any moment.
 */
#include "sim.h"

#include "../../targets/mirror.h"

#include <json-c/json_object.h>
#include <string.h>

#define EVENTS_PER_VERB 30

static bool is_chosen; /* the seed */

void hand_choose_seed(uint64_t seed)
{
	is_chosen = (seed * UINT64_C(0x2127599bf4325c37) >> 33) % 3 == 0;
}

/* False: it is refused. */
static bool ask(struct node *node, const char *verb, const struct node *leg)
{
	struct json_object *answer = json_object_new_object();
	struct err err = { 0 };
	char text[100];
	struct json *arguments;
	bool result;

	(void)snprintf(text, sizeof(text), "{\"leg\":\"%s\"}", leg->id);
	arguments = json_parse("", text, strlen(text), &err);
	result = node->type->command(node, verb, arguments, answer, &err) == 0;
	sim_note("%s: %s %s%s%s", node->id, verb, leg->id, result ? "" : " is refused: ",
		result ? "" : err.text);
	model_upheavals += result; /* another is read, now or one day */
	err_finish(&err);
	json_destroy(arguments);
	json_object_put(answer);
	queue_wake_node(node);
	return result;
}

static bool has_hung(const struct node *node)
{
	unsigned i;

	for (i = 0; i < node->child_count; i++)
		if (has_hung(node->children[i]))
			return true;
	return node->leaf && leaf_is_hung(node->leaf);
}

/* Not where mirrors stand on each other: labels of other mirrors would not hear of it (HACKING.md). */
static void take_back(void)
{
	unsigned i, j, mirrors = 0;

	for (i = 0; i < life.tree->node_count; i++)
		mirrors += life.tree->nodes[i]->type->redundant;
	for (i = 0; mirrors == 1 && i < life.tree->node_count; i++) {
		struct node *node = life.tree->nodes[i];

		for (j = 0; node->type->redundant && j < node->child_count; j++) {
			if (!node->children[j]->failed || !has_hung(node->children[j]))
				continue;
			if (ask(node, "add", node->children[j]))
				totals.taken_back++;
			else
				totals.too_late++;
		}
	}
}

static bool is_any_free(void)
{
	unsigned place;

	for (place = 0; place < life.tree->leaf_count; place++)
		if (!backend.guarded[place])
			return true;
	return false;
}

/* A leg that never fails is the only one, perhaps, so that its mirror never does; unless nobody ever fails. */
static bool may_lose(const struct node *leg)
{
	return !meddle_has_guarded(leg) || !is_any_free();
}

static struct node *any_mirror(void)
{
	unsigned i, at = random_below(life.tree->node_count);

	for (i = 0; i < life.tree->node_count; i++) {
		struct node *node = life.tree->nodes[(at + i) % life.tree->node_count];

		if (node->type->redundant)
			return node;
	}
	return NULL;
}

static void ask_any(void)
{
	static const char *const verbs[] = { "fail", "add", "add", "replace", "replace", "remove" };
	uint64_t *const counts[] = { &totals.failed_by_hand, &totals.added, &totals.added,
		&totals.replacing, &totals.replacing, &totals.to_be_removed };
	unsigned verb = random_below(remove_is_seed() ? 6 : 5);
	struct node *node = any_mirror();
	const struct node *leg;

	if (!node)
		return;
	leg = node->children[random_below(node->child_count)];
	if (!strcmp(verbs[verb], "add") || may_lose(leg))
		*counts[verb] += ask(node, verbs[verb], leg);
}

void hand_meddle(void)
{
	if (life.document.has_timeout && random_one_in(60))
		take_back();
	if (is_chosen && random_one_in(EVENTS_PER_VERB))
		ask_any();
}
