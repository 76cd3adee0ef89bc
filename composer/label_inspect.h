/* SPDX-License-Identifier: MIT */
/*
 * Looking at a label that may be damaged: both copies, each as far as it goes. For `examine` and
 * `wipe`; what assembly may use is label_read()'s to say. Main thread; reads only.
 */
#ifndef COMPOSER_LABEL_INSPECT_H
#define COMPOSER_LABEL_INSPECT_H

#include "label.h"

#define LABEL_WHY_MAX 200

struct label_copy {
	enum label_found found; /* LABEL_FOUND: whole. NONE: our magic is not there */
	enum label_fault fault; /* FOUND: none; CORRUPT: the first one; NEWER: either */
	char why[LABEL_WHY_MAX]; /* a clause, where it is not whole */
	uint32_t version;
	bool head_whole, peers_whole, document_whole; /* by their own checksums */
	/*
	 * FOUND, NEWER, CORRUPT: the fields, whatever they say; believe them only with head_whole.
	 * The peers, the document (if it isn't whole, what stands where it was) and the geometry
	 * may be NULL: not to be had.
	 */
	struct label label;
};

/* Reads both. 0, or -ENOMEM. label_copies_finish() frees what it has filled, also then. */
int label_inspect(int fd, uint64_t bytes, struct label_copy copies[LABEL_COPIES]);
void label_copies_finish(struct label_copy copies[LABEL_COPIES]);

/* Which of the copies tells most. */
unsigned label_best(const struct label_copy copies[LABEL_COPIES]);

#endif
