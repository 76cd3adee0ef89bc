// SPDX-License-Identifier: MIT
/*
 * What befalls leaves and daemon beside errors, in seeds of their own so that the others mean what they
 * meant: a leaf whose store is full, a leaf that has shrunk while nobody served it, a wrong bit in a
 * mirror's bitmap, and a daemon that is stopped for a while, as by SIGSTOP.
 */
#include "sim.h"

#include "../../targets/mirror.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_full[IMAGES_MAX]; /* by place */
static bool is_leg[IMAGES_MAX]; /* a mirror's bitmap begins where the leaf's data does */
static bool is_short[IMAGES_MAX]; /* something shorter stands where the hidden leaf was */

void hardship_begin(uint64_t seed)
{
	life.is_hard = (seed * UINT64_C(0xd6e8feb86659fd93) >> 33) % 5 == 0;
	memset(is_leg, 0, sizeof(is_leg));
	memset(is_short, 0, sizeof(is_short));
	hardship_forget();
}

void hardship_forget(void)
{
	memset(is_full, 0, sizeof(is_full));
}

/* What is there already has its blocks: labels are written still. */
bool hardship_is_full(const struct sub_io *sub)
{
	bool takes_room = sub->kind == IO_WRITE || sub->kind == IO_WRITE_ZEROES;

	return takes_room && is_full[sub->leaf->place] && sub->offset >= LABEL_FRONT;
}

static void fill_up(void)
{
	unsigned place = random_below(backend.tree->leaf_count);

	if (backend.guarded[place])
		return;
	is_full[place] = !is_full[place];
	totals.filled += is_full[place];
	model_fault();
	sim_note("leaf %u %s", place, is_full[place] ? "is full" : "has room again");
}

/*
 * Nothing of the daemon runs, and leaves end what they have; then it hears of it all, in that order,
 * before its timer tells how late it is. So nothing that was answered may have hung.
 */
static void stop_daemon(void)
{
	unsigned hung = backend_hung();

	totals.stopped++;
	sim_note("the daemon is stopped");
	backend_land_some();
	clock_pass(random_below(3 * TIMEOUT_MS));
	sim_note("it goes on");
	backend_end_landed();
	if (backend_hung() != hung)
		sim_fail("a leaf hung while the daemon was stopped, and had answered");
}

void hardship_step(void)
{
	if (random_one_in(backend.faults.full))
		fill_up();
	if (random_one_in(backend.faults.stopped))
		stop_daemon();
}

void hardship_note_stop(void)
{
	unsigned place;

	for (place = 0; place < life.tree->leaf_count; place++) {
		const struct leaf *leaf = life.tree->leaves[place];

		is_leg[place] = leaf->labelled && leaf->node->parent && leaf->node->parent->type->redundant;
	}
}

/* One bit of one leg's: its sector is seen to be wrong, and the other legs say what it said, or all is copied. */
bool hardship_rots(unsigned place)
{
	struct image *image = backend.images[place];
	uint64_t at = LABEL_FRONT + (random_below(2) ? 0 : PAGE_BYTES) +
		random_below(random_below(4) ? BITMAP_SECTOR : PAGE_BYTES); /* its superblock or its page */
	char bit = (char)(1 << random_below(8));

	if (!life.is_hard || !is_leg[place] || !image)
		return false;
	image->view[at] ^= bit;
	image->durable[at] ^= bit;
	totals.bitmaps++;
	model_upheavals++;
	sim_note("leaf %u has a wrong bit in its bitmap, at %llu", place, (unsigned long long)at);
	return true;
}

/* The leaf was taken away. In its place stands what a truncation would have left of it. */
void hardship_shorten(unsigned place)
{
	char here[300], away[300], *bytes;
	off_t length;
	int from, to;

	if (!life.is_hard || !random_below(2))
		return;
	meddle_path(place, "", here);
	meddle_path(place, ".away", away);
	from = open(away, O_RDONLY | O_CLOEXEC);
	to = open(here, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	length = (off_t)(LABEL_FRONT + LABEL_TAIL) + SECTOR * (off_t)random_below(8);
	bytes = malloc((size_t)length);
	if (from < 0 || to < 0 || !bytes || read(from, bytes, (size_t)length) != length ||
		write(to, bytes, (size_t)length) != length)
		sim_fail("%s: %s", here, strerror(errno));
	free(bytes);
	close(from);
	close(to);
	is_short[place] = true;
	totals.shortened++;
	sim_note("leaf %u has shrunk", place);
}

bool hardship_is_short(unsigned place)
{
	return is_short[place];
}

void hardship_lengthen(unsigned place)
{
	char path[300];
	int fd;

	if (!is_short[place])
		return;
	meddle_path(place, "", path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || unlink(path) < 0)
		sim_fail("%s: %s", path, strerror(errno));
	image_forget(fd);
	close(fd);
	is_short[place] = false;
}
