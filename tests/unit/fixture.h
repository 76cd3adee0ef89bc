/* SPDX-License-Identifier: MIT */
/*
 * What tests of plans, targets and the engine share: trees whose leaves are nothing but limits, and
 * the course of one plan as text. For cmocka tests; fails the test where it can't do what it
 * should.
 */
#ifndef TESTS_FIXTURE_H
#define TESTS_FIXTURE_H

#include "tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LENGTH_OF(array) (sizeof(array) / sizeof(*(array)))

/*
 * The text of a document whose root this is. Single quotes stand for double ones, @SIZE for a file
 * leaf of that size, and @+SIZE for one with 1 MiB more, which a mirror above keeps. The caller frees
 * it.
 */
char *fixture_document(const char *device, const char *root);

/* An open tree. A leaf's "annotations" may give it a "block" size, and "zeroes": 0, "discard": 0.
 */
struct tree *fixture_tree(const char *root);
/* The same with the members of "device", and NULL with messages where there is no such tree. */
struct tree *fixture_try(const char *device, const char *root, struct err *err);

/* The messages that a root gives; the caller frees the text. "" when there are none. */
char *fixture_messages(const char *device, const char *root);

struct request fixture_request(enum io_kind kind, unsigned flags, uint64_t offset, uint64_t length);

/* A plan with room for what the node needs, mapped and carried on by hand. */
struct fixture_plan {
	struct node *node;
	struct request request;
	struct plan plan;
	uint16_t begun, judged;
};
void fixture_map(struct fixture_plan *course, struct node *node, struct request request);
void fixture_finish(struct fixture_plan *course);

/*
 * Carries a request's plan to its end as the engine would, giving the started ops the results that
 * the string lists ("0 -5 0"; 0 when it has ended), and writes down plans, results and the outcome:
 *   wave 0: child 0 write 0 512 from 0
 *   = -5
 *   result -5
 * The text is valid until the next call.
 */
const char *fixture_story(struct node *node, struct request request, const char *results);

#endif
