/* SPDX-License-Identifier: MIT */
/* The word that a mistyped one was probably meant to be, for messages. */
#ifndef COMPOSER_NEAREST_H
#define COMPOSER_NEAREST_H

/* The candidate nearest to `word`, of those ended by NULL; NULL if none is near enough. */
const char *nearest_word(const char *word, const char *const *candidates);

#endif
