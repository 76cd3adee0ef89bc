// SPDX-License-Identifier: MIT
/*
 * thin's larger device: an image whose document asks for more than its header says, in a start that may
 * grow; or below a leg that is stale, if it can: its image may be of before the device grew, which it is
 * not to make smaller. probe() takes the new size for what it allocates, load() makes it durable. The L1
 * table stays where it is and uses more of its clusters: with clusters of 64 KiB there is room for 4 TiB in one.
 *
 * Crash story: the new L1 entries are zeroes and written as such, since other programs need not leave
 * zeroes behind a table; a flush; then the header says the new size and the new count of entries, in one
 * sector; a flush. Until then the entries are nobody's. What the device had is mapped as before at every
 * moment, and what is new reads as zeroes: where a backing file would show through there, it is refused.
 */
#include "thin_open.h"

#include "child_io.h"

#include <inttypes.h>

#define SECTOR 512u
#define VERSION_SNAPSHOTS_HAVE_SIZES 3u

static int refuse(struct node *node, uint64_t wanted, struct err *err)
{
	const struct thin *thin = thin_of(node);
	const struct qcow2_header *header = &thin->header;
	const struct json *place = json_get(node->json, "size");
	uint64_t cluster = qcow2_cluster_size(header);
	uint64_t room = (header->l1_size * UINT64_C(8) + cluster - 1) / cluster * cluster / 8;
	uint64_t most = room * qcow2_l2_entries(header) * cluster;

	if (qcow2_has_data_file(header))
		return json_err(place, err,
			"thin %s: it can't become larger than %" PRIu64 " bytes here, as its data is in an external data "
			"file; see qemu-img resize",
			node->id, header->size);
	if (thin_has_backing(node) && thin_backing(node)->limits.size > header->size)
		return json_err(place, err,
			"thin %s: it can't become larger than %" PRIu64 " bytes: its backing has %" PRIu64
			", which would show through",
			node->id, header->size, thin_backing(node)->limits.size);
	if (header->version < VERSION_SNAPSHOTS_HAVE_SIZES && header->snapshot_count)
		return json_err(place, err,
			"thin %s: its image has snapshots that don't say their size, as it is of version "
			"%" PRIu32 "; see qemu-img amend",
			node->id, header->version);
	if (qcow2_l1_needed(header, wanted) > room || room > QCOW2_L1_MAX)
		return json_err(place, err,
			"thin %s: size %" PRIu64 " is more than the %" PRIu64
			" that its image's L1 table has room for; see qemu-img resize",
			node->id, wanted, most);
	return 0;
}

int thin_resize_plan(struct node *node, struct err *err)
{
	struct thin *thin = thin_of(node);
	struct qcow2_header *header = &thin->header;
	uint64_t wanted = json_get_size(node->json, "size", 0), needed;
	struct err unasked = { 0 };
	int result;

	wanted -= wanted % SECTOR;
	if (!(node->grows || node_is_stale(node)) || !thin->can_write || wanted <= header->size)
		return 0;
	result = refuse(node, wanted, node->grows ? err : &unasked);
	err_finish(&unasked);
	if (result < 0)
		return node->grows ? -1 : 0;
	needed = qcow2_l1_needed(header, wanted);
	thin->resize.is_planned = true;
	thin->resize.l1_size = header->l1_size;
	if (header->l1_size < needed)
		header->l1_size = (uint32_t)needed;
	header->size = wanted;
	return 0;
}

void thin_resize_clear(struct thin *thin)
{
	if (thin->resize.is_planned)
		memset(thin->l1 + thin->resize.l1_size * UINT64_C(8), 0,
			(thin->header.l1_size - thin->resize.l1_size) * UINT64_C(8));
}

int thin_resize(struct node *node)
{
	struct thin *thin = thin_of(node);
	struct node *child = node->children[THIN_DATA];
	int result = thin_write_top(node);

	if (result == 0)
		result = child_flush(child);
	if (result < 0)
		return result;
	qcow2_header_set_size(thin->header_page, &thin->header);
	result = child_write(child, 0, thin->header_page, thin->page);
	if (result == 0)
		result = child_flush(child);
	thin->resize.is_planned = result < 0;
	return result;
}
