// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bytes between a request's pages and the server's buffer. It knows neither tags nor commands.
 *
 * We go page by page: copying a segment of many pages in one go trips over hardened usercopy, and
 * copy_page_to_iter() and its twin warn of it. They check the user's range and return what they
 * copied.
 */
#include <linux/bio.h>
#include <linux/uio.h>

#include "ubd.h"

bool ubd_copy_to_server(struct request *rq, u64 addr)
{
	struct req_iterator ri;
	struct iov_iter iter;
	struct bio_vec bv;

	iov_iter_ubuf(&iter, ITER_DEST, u64_to_user_ptr(addr), blk_rq_bytes(rq));
	rq_for_each_segment(bv, rq, ri) {
		if (copy_page_to_iter(bv.bv_page, bv.bv_offset, bv.bv_len, &iter) != bv.bv_len)
			return false;
	}
	return true;
}

bool ubd_copy_from_server(struct request *rq, u64 addr, unsigned int length)
{
	struct req_iterator ri;
	struct iov_iter iter;
	struct bio_vec bv;

	iov_iter_ubuf(&iter, ITER_SOURCE, u64_to_user_ptr(addr), length);
	rq_for_each_segment(bv, rq, ri) {
		size_t part = min_t(size_t, bv.bv_len, iov_iter_count(&iter));

		if (!part)
			break;
		if (copy_page_from_iter(bv.bv_page, bv.bv_offset, part, &iter) != part)
			return false;
		flush_dcache_page(bv.bv_page);
	}
	return true;
}
