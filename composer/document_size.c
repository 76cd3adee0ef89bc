// SPDX-License-Identifier: MIT
/* A document with another size. It knows which places of a text hold one, and nothing of what it means. */
#include "document_size.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The text with `length` bytes at `at` replaced. */
static char *replaced(const char *text, size_t all, size_t at, size_t length, const char *by)
{
	char *made;

	if (asprintf(&made, "%.*s%s%.*s", (int)at, text, by, (int)(all - at - length),
		    text + at + length) < 0)
		abort();
	return made;
}

char *document_sized(const struct tree *tree, uint64_t size, struct err *err)
{
	const struct node *root = tree->root;
	const struct json *old = json_get(root->json, "size");
	size_t all, length = 0, at;
	const char *text = json_text(tree->document, &all);
	char number[64];

	if (root->child_count && !root->type->roles && !old) {
		err_add(err, "%s: the size of %s %s is what its children have: make those larger, "
			"and it takes what is there", tree->name, root->type->name, root->id);
		return NULL;
	}
	if (old) {
		at = (size_t)(json_text(old, &length) - text);
		(void)snprintf(number, sizeof(number), "%" PRIu64, size);
	} else {
		at = (size_t)(json_text(root->json, &length) - text) + 1; /* behind the brace */
		length = 0;
		(void)snprintf(number, sizeof(number), "\"size\": %" PRIu64 ", ", size);
	}
	return replaced(text, all, at, length, number);
}
