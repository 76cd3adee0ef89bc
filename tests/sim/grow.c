// SPDX-License-Identifier: MIT
/*
 * Devices that become larger between two lives: a document with larger sizes, on files that have the
 * room. A start that is to grow may break off like any; the next tries may go on with it, or serve what the
 * labels say by then. What a device once had it keeps, and what is new reads as zeroes.
 *
 * One seed in so many has such starts, by its number alone, so that the others mean what they meant.
 */
#include "sim.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STEP 4096u
#define STEPS_MAX 6u
#define GROWTHS_MAX 2u /* with STEPS_MAX: thins fit into GROW_ROOM, with their tables */

static struct document wanted; /* text NULL: none */
static bool is_tried; /* labels may say what it says, or the old document */
static unsigned growths;

void grow_choose_seed(uint64_t seed)
{
	unsigned draw = (unsigned)((seed * UINT64_C(0xda942042e4dd58b5) >> 32) % 12);

	life.grows = draw == 0;
	growths = 0;
	is_tried = false;
}

void grow_prepare(void)
{
	char path[300];
	unsigned i;
	int fd;

	life.grows &= !life.lies && !life.document.has_shadow && !life.document.has_data_file;
	for (i = 0; i < life.document.leaf_count && life.grows; i++) {
		if (life.document.is_raw[i])
			continue;
		meddle_path(i, "", path);
		fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd < 0 || ftruncate(fd, (off_t)(LABEL_FRONT + life.document.sizes[i] + GROW_ROOM +
					    LABEL_TAIL)) < 0)
			sim_fail("%s can't be made", path);
		close(fd);
	}
}

static char *find_number(char *text, const char *word, unsigned place)
{
	char key[64], *at;

	(void)snprintf(key, sizeof(key), word, place);
	at = strstr(text, key);
	return at ? at + strlen(key) : NULL;
}

/* The text with `more` added to the number there. */
static char *added(char *text, char *at, uint32_t more)
{
	char *end, *made;
	unsigned long number = strtoul(at, &end, 10);

	if (asprintf(&made, "%.*s%lu%s", (int)(at - text), text, number + more, end) < 0)
		sim_fail("out of memory");
	free(text);
	return made;
}

void grow_choose(void)
{
	uint32_t more = STEP * (1 + random_below(STEPS_MAX));
	unsigned i;
	char *at;

	if (!life.grows || growths == GROWTHS_MAX || !random_one_in(3))
		return;
	growths++;
	totals.growths++;
	free(wanted.text);
	wanted = life.document;
	wanted.text = strdup(life.document.text);
	at = find_number(wanted.text, "\"discard\":\"unmap\",\"size\":", 0);
	if (!at)
		at = find_number(wanted.text, "\"discard\":\"ignore\",\"size\":", 0);
	if (at && strstr(wanted.text, "\"backing\"") == NULL)
		wanted.text = added(wanted.text, at, more);
	for (i = 0; i < wanted.leaf_count; i++) {
		if (!wanted.can_grow[i] || random_one_in(6))
			continue;
		at = find_number(wanted.text, "\"leaf%02u\",\"size\":", i);
		if (!at)
			sim_fail("leaf %u is not in the document", i);
		wanted.text = added(wanted.text, at, more);
		wanted.sizes[i] += more;
	}
	is_tried = false;
	sim_note("to grow: %s", wanted.text);
}

char *grow_document(struct assemble_options *options, bool permute)
{
	const struct document *document = &life.document;

	if (wanted.text && (!is_tried || random_below(2))) {
		options->grow = true;
		is_tried = true;
		document = &wanted;
	} else if (life.grows) {
		options->sizes_by_label = true;
		if (wanted.text && random_below(2))
			document = &wanted;
	}
	return document_permuted(document, permute);
}

bool grow_is_refused(const struct err *err)
{
	if (!wanted.text || !err->text || !strstr(err->text, "nothing grows while"))
		return false;
	free(wanted.text);
	wanted.text = NULL;
	return true;
}

void grow_started(unsigned sectors)
{
	if (!life.grows)
		return;
	if (wanted.text) {
		document_finish(&life.document);
		life.document = wanted;
		wanted.text = NULL;
	}
	if (sectors <= life.sectors)
		return;
	totals.grown++;
	sim_note("has grown from %u to %u sectors", life.sectors, sectors);
	model_extend(sectors);
	judge_tell_void(life.sectors, sectors);
	life.sectors = sectors;
}

void grow_finish(void)
{
	free(wanted.text);
	wanted.text = NULL;
}
