// SPDX-License-Identifier: MIT
/*
 * In some seeds legs that are not used when a life ends are removed: the next start is told to leave them out. They stay
 * out, whatever is there, until a start is told to add.
 */
#include "sim.h"

#include <stdio.h>
#include <string.h>

#define ID_MAX 32

static bool is_chosen; /* the seed */
static char wanted[ID_MAX]; /* a leg that is to be removed; "": none */
static char removed[ID_MAX]; /* one that surely is */
static bool is_tried;

void remove_choose_seed(uint64_t seed)
{
	is_chosen = (seed * UINT64_C(0x9fb21c651e98df25) >> 33) % 4 == 0;
	*wanted = *removed = '\0';
}

bool remove_is_seed(void)
{
	return is_chosen;
}

/* No leg that never fails: it is the only one, perhaps. */
static bool can_go(const struct node *node)
{
	return node->parent && node->parent->type->redundant && (node->failed || node->spare) &&
	       strcmp(node->id, removed) != 0 && !meddle_has_guarded(node);
}

void remove_find(void)
{
	unsigned i, at = random_below(is_chosen ? life.tree->node_count : 1);

	*wanted = '\0';
	is_tried = false;
	for (i = 0; is_chosen && i < life.tree->node_count && !*wanted; i++) {
		const struct node *node = life.tree->nodes[(at + i) % life.tree->node_count];

		if (can_go(node))
			(void)snprintf(wanted, sizeof(wanted), "%s", node->id);
	}
}

void remove_choose(struct assemble_options *options)
{
	if (is_chosen && !options->prefer_count) {
		if (*wanted && !options->grow && (!is_tried || random_below(2))) {
			options->remove = wanted;
			is_tried = true;
		} else if (random_one_in(3)) {
			options->add = true;
		}
	}
	if (options->add)
		*removed = '\0'; /* or not, if that start breaks off */
}

bool remove_is_refused(const struct err *err)
{
	if (!*wanted || !err->text || !strstr(err->text, "only one that has failed, or stands by"))
		return false;
	*wanted = '\0';
	return true;
}

static const struct node *find(const char *id)
{
	unsigned i;

	for (i = 0; i < life.tree->node_count; i++)
		if (!strcmp(life.tree->nodes[i]->id, id))
			return life.tree->nodes[i];
	return NULL;
}

/* One that this start has given up as well stays open for it: its label was to say so first. */
static bool is_open(const struct node *node)
{
	unsigned i;

	for (i = 0; i < node->child_count; i++)
		if (is_open(node->children[i]))
			return true;
	return node->leaf && node->leaf->fd >= 0 && !(node->leaf->label.flags & LABEL_GIVEN_UP);
}

void remove_started(const struct assemble_options *options)
{
	const struct node *leg;

	if (options->remove) {
		(void)snprintf(removed, sizeof(removed), "%s", options->remove);
		totals.removed++;
	}
	leg = *removed ? find(removed) : NULL;
	if (leg && (!node_has_failed(leg) || is_open(leg)))
		sim_fail("leg %s was removed, and is used", removed);
	totals.stayed_out += leg && !options->remove;
}

void remove_forget(void)
{
	*removed = '\0';
}
