/* SPDX-License-Identifier: MIT */
/*
 * Assembly's parts among themselves: assemble.c decides, assemble_look.c sees what each leaf is,
 * assemble_fit.c compares labels with the document, assemble_grow.c makes leaves longer,
 * assemble_legs.c tells who missed what,
 * assemble_judge.c what becomes of them,
 * assemble_spares.c which of them stand by, assemble_removed.c which the user has removed,
 * assemble_add.c gives blank leaves a place, assemble_prefer.c takes the user's word where labels can't tell,
 * assemble_alone.c takes legs back that he had decided against, assemble_say.c says it all,
 * assemble_write.c carries it out when the device goes live.
 */
#ifndef COMPOSER_ASSEMBLE_INTERNAL_H
#define COMPOSER_ASSEMBLE_INTERNAL_H

#include "assemble.h"
#include "identify.h"

enum member_kind {
	MEMBER_RAW, /* "label": false: mapped as it is */
	MEMBER_MISSING, /* not open: leaf->problem says why */
	MEMBER_UNREADABLE, /* an I/O error while looking */
	MEMBER_BLANK, /* nothing known is on it */
	MEMBER_FRESH, /* labelled by a create that never served it: as good as blank */
	MEMBER_FOREIGN, /* libblkid knows it */
	MEMBER_NEWER, /* a label that only a newer program understands */
	MEMBER_CORRUPT, /* a label of which no copy is whole */
	MEMBER_SHRUNK, /* a whole label, for more bytes than are there */
	MEMBER_OURS, /* a whole label, in leaf->label */
};

/* What was seen on the leaf of the same place; goes along when leaves change places. */
struct member {
	enum member_kind kind;
	char what[IDENTIFY_MAX]; /* a noun or clause, as the kind wants */
	bool stale; /* OURS: missed a write, or … */
	bool older; /* … holds an older state: it was put back from a copy */
	bool is_copy; /* the same, whatever else is said of it */
	unsigned accuser; /* stale: the place whose label says so; its own: it was given up */
	bool preferred; /* by the user */
	bool is_added; /* BLANK or FRESH: it gets a label of the tree, and is brought up to date */
	bool removed; /* by the user, now or earlier */
	bool excused; /* it isn't there, and nobody waits for it */
	bool given_up; /* by that decision (assemble_prefer.c) */
	bool is_taken_back; /* it is, or was given up, and is used again (assemble_alone.c) */
	bool vouched; /* likewise: it is used */
};

struct assembly {
	struct tree *tree;
	const struct assemble_options *options;
	struct err *err, *notes;
	struct member *members; /* by place */
	bool *decided; /* by node->index: the user has said which of its legs to use */
	bool *has_own; /* by node->index: it has what the given up leg at or above it wrote last */
	const struct node *alone; /* the given up leg in whose view labels are judged; NULL: the device's */
	char *geometry; /* of the document */
	unsigned ours;
};

/* Fills members. 0, or -1 with messages for what is refused whatever the labels say. */
int assemble_look(struct assembly *assembly);
/* "carries no label", "holds an ext4 file system": the predicate of a sentence about the leaf. */
const char *member_says(const struct member *member, char *text, size_t size);
/* " over an ext4 file system": what formatting would overwrite; "" if nothing. */
const char *member_over(const struct member *member, char *text, size_t size);
/* The name in the label's document, for messages. */
void label_tree_name(const struct label *label, char *text, size_t size);

/* Whether the labels are of one tree, and of this document's shape. 0, or -1 with messages. */
int assemble_compare(struct assembly *assembly);
/* Brings each leaf to the node of its place. Only after assemble_compare(). */
void assemble_place(struct assembly *assembly);
/* Brings each back to the node that the document lists it for. */
void assemble_unplace(struct assembly *assembly);
/* Takes the sizes that the labels say. 0, or -1 with messages where they don't fit. */
int assemble_sizes(struct assembly *assembly);
/* A growth that broke off is to be completed: labels that know nothing of it yet learn of it. */
void assemble_complete_growth(struct assembly *assembly);
/* Makes leaves longer, if that is asked for: after assemble_legs(). 0, or -1 with messages. */
int assemble_grow(struct assembly *assembly);
/* Lets nodes grow, whatever their leaves are. 0, or -1 with messages. */
int assemble_let_grow(const struct assembly *assembly);

/*
 * Tells legs that can't be used: those that missed something, and those that are not there. With
 * `err` NULL it only tells whether the tree can go on without them; else it sets node->failed, or
 * node->rebuilding where they are there, and notes them. 0, or -1 with messages.
 */
int assemble_legs(struct assembly *assembly, struct err *err);
/* Fills stale, older and accuser of every member, by the labels and what the user has decided. */
void assemble_accuse(struct assembly *assembly);
/*
 * The user has decided against the leaf of that place, now or in an earlier life: it doesn't count. In the
 * view of a leg that was given up, only the given up leaves below that one do.
 */
bool leaf_is_given_up(const struct assembly *assembly, unsigned place);
/* Whether a node is that one, or below it. */
bool node_is_below(const struct node *node, const struct node *above);
/* Nothing of it can be used. */
bool node_is_lost(const struct assembly *assembly, const struct node *node);
/* It may have missed writes that nobody tells of, if the last stop was no clean one. */
bool node_is_unsure(const struct assembly *assembly, const struct node *node);
/* The same of a leg that has a fellow which may be used in its place: in doubt it is. */
bool leg_is_unsure(const struct assembly *assembly, const struct node *leg);
/* A leaf that has all writes was left open: the last stop was no clean one. */
bool assemble_was_open(const struct assembly *assembly);

/* Marks the leaves that are added. Each has to be in its place. */
void assemble_find_added(struct assembly *assembly);
/* Once each is in its place: whether they are long enough. 0, or -1 with messages. */
int assemble_check_added(struct assembly *assembly);
/* Once it is known what becomes of their legs: makes their labels. 0, or -1 with messages. */
int assemble_make_added(struct assembly *assembly);

/* A new tree of all leaves, whatever they hold. 0, or -1 with messages. */
int assemble_format(struct assembly *assembly);
/* The document that labels carry, to be freed; NULL: no memory. */
char *assemble_document(const struct tree *tree);
/* A new label of the tree for the leaf. 0, or -1 with a message. */
int assemble_label_make(
	struct leaf *leaf, const struct assembly *assembly, const uuid_t tree_uuid);
/* How long the leaf of a place is by the labels that are there; 0: they don't say. */
uint64_t assemble_length_known(const struct assembly *assembly, unsigned place);

/* Takes the user's word for what labels can't tell. 0, or -1 with messages. */
int assemble_prefer(struct assembly *assembly, struct err *err);

/* Which legs that were given up can be used again, as the user wants. Before assemble_judge(). */
void assemble_choose_taken_back(struct assembly *assembly);
/* What was given up and is used again: it can't be dated, and its label says so no more. */
void assemble_take_back(struct assembly *assembly);

/* Why the node is lost, or unsure, at the leaves that are the reason. */
void assemble_explain(const struct assembly *assembly, const struct node *node, struct err *err);
void assemble_explain_unsure(
	const struct assembly *assembly, const struct node *node, struct err *err);
/* Sets what becomes of a redundant node's legs; parents first. */
void assemble_judge(const struct assembly *assembly, const struct node *node);
/* Notes that a leg of the node is not in sync, and what is done with it. */
void assemble_note_leg(const struct assembly *assembly, const struct node *node,
	const struct node *leg, unsigned in_sync);

/* By its own label the leaf is a spare's: it holds nothing, and what it says of others doesn't count. */
bool leaf_stands_by(const struct leaf *leaf);
/* It does, and not with those that are in sync now, as far as it knows. */
bool leaf_stood_by_elsewhere(const struct assembly *assembly, const struct leaf *leaf);
/* Once it is known which legs of the redundant node are in sync: which stand by, which are taken in. */
void assemble_spares(const struct assembly *assembly, const struct node *node);
/* The same for a tree that is made. */
void assemble_first_spares(struct tree *tree);
/* All say so who missed nothing, and are in use. Once it is known who did. */
bool place_is_spare_to_all(const struct assembly *assembly, unsigned place);

/* Whether the user wants, or by the labels has wanted, that leaf to be left out. Once it is known who missed something. */
bool assemble_is_removed(const struct assembly *assembly, unsigned place);
/* Whether he wants it back, or a blank one in its place. */
bool assemble_may_add(const struct assembly *assembly, unsigned place);
/* Marks those that are removed. 0, or -1 with a message: the one that is to be can't be. */
int assemble_find_removed(struct assembly *assembly, struct err *err);
bool node_is_removed(const struct assembly *assembly, const struct node *node);
/* Whether the leg that is to be added is. 0, or -1 with messages. */
int assemble_check_leg(const struct assembly *assembly);
/* Before all are compared: what stands in a removed leaf's place may belong to another tree by now. */
void assemble_disown_removed(struct assembly *assembly);

bool tree_is_redundant(const struct tree *tree);
/* Carries a label, is open, and neither its node nor one above has failed. */
bool leaf_is_used(const struct leaf *leaf);
/* What labels say of it: its node, or one above, has failed or is still to be brought up to date. */
bool leaf_is_stale(const struct leaf *leaf);

#endif
