/* SPDX-License-Identifier: MIT */
/* A mirror with "write_behind" on a live device over real files, one of whose legs is slow. For cmocka tests. */
#ifndef TESTS_BEHIND_H
#define TESTS_BEHIND_H

#include "live.h"
#include "mirror.h"

#define FILE_OF(id, path) "{'id':'" id "','type':'file','path':'" path "','size':'2MiB','direct':false}"
#define BEGIN "{'id':'r','type':'mirror','region_size':4096,'slow_after_ms':10,'write_behind':'16KiB',"
#define PAIR "'children':[" FILE_OF("d0", "a") "," FILE_OF("d1", "b") "]"
#define ROOT BEGIN PAIR "}"
#define THREE BEGIN "'children':[" FILE_OF("d0", "a") "," FILE_OF("d1", "b") "," FILE_OF("d2", "c") "]}"
#define STEPS_MAX 20000 /* of all that a test may do until something is so */
#define SECOND UINT64_C(1000000000)

struct node *behind_root(void);
struct mirror *behind_mirror(void);
void behind_work(void);
/* A write of that region, up to its end. */
void behind_write(uint64_t region, char byte);
/* Full of 'x', and quiet; then that leg is slow, and the mirror is written. */
void behind_begin(const char *document, unsigned slow);
/* … up to the moment from which on it is behind. */
void behind_begun(const char *document, unsigned slow);
/* What is under way ends, unless it goes to that leaf. */
void behind_end_all_but(unsigned place);
void behind_assert_same(const char *one, const char *other);

#endif
