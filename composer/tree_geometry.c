// SPDX-License-Identifier: MIT
/* A tree's geometry as text: what of the document decides where bytes lie. Labels hold it. */
#include "tree.h"

#include <stdio.h>
#include <stdlib.h>

static void geometry_print(const struct node *node, FILE *out)
{
	unsigned i;

	if (node->leaf) {
		fprintf(out, "leaf");
		return;
	}
	fprintf(out, "%s", node->type->name);
	if (node->type->geometry) {
		fprintf(out, "(");
		node->type->geometry(node, out);
		fprintf(out, ")");
	}
	for (i = 0; i < node->child_count; i++) {
		fprintf(out, i ? "," : "[");
		geometry_print(node->children[i], out);
	}
	if (i)
		fprintf(out, "]");
}

char *tree_geometry(const struct tree *tree)
{
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);

	if (!out)
		return NULL;
	geometry_print(tree->root, out);
	if (fclose(out) != 0) {
		free(text);
		return NULL;
	}
	return text;
}
