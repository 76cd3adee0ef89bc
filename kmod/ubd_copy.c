// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bytes between a request's pages and the server's buffer. It knows neither tags nor commands.
 *
 * A copy faults no page in: how long that takes is user space's affair (userfaultfd, FUSE), and a
 * tag is BUSY during a copy, which everybody waits for. So who meets a missing page gives the tag
 * back, waits for the page, and tries again.
 *
 * The functions are those for pages, not copy_to_user() and its twin: those judge the kernel's side
 * by the object that it lies in, and a request's page may be anybody's, such as a slab of jbd2's
 * that no user copy is meant for.
 */
#include <linux/bio.h>
#include <linux/highmem.h>
#include <linux/nospec.h>
#include <linux/pagemap.h>
#include <linux/uaccess.h>
#include <linux/uio.h>

#include "ubd_io.h"

bool ubd_copy_to_server(struct request *rq, u64 addr)
{
	struct req_iterator ri;
	struct iov_iter iter;
	struct bio_vec bv;
	bool good = true;

	iov_iter_ubuf(&iter, ITER_DEST, u64_to_user_ptr(addr), blk_rq_bytes(rq));
	pagefault_disable();
	rq_for_each_segment(bv, rq, ri) {
		good = copy_page_to_iter(bv.bv_page, bv.bv_offset, bv.bv_len, &iter) == bv.bv_len;
		if (unlikely(!good))
			break;
	}
	pagefault_enable();
	return good;
}

bool ubd_copy_from_server(struct request *rq, u64 addr, unsigned int length)
{
	struct req_iterator ri;
	struct iov_iter iter;
	struct bio_vec bv;
	bool good = true;

	if (!access_ok(u64_to_user_ptr(addr), length))
		return false;
	barrier_nospec(); /* the copies below check, but could be run ahead of their checks */
	iov_iter_ubuf(&iter, ITER_SOURCE, u64_to_user_ptr(addr), length);
	pagefault_disable();
	rq_for_each_segment(bv, rq, ri) {
		unsigned int part = min_t(size_t, bv.bv_len, iov_iter_count(&iter));

		good = copy_page_from_iter(bv.bv_page, bv.bv_offset, part, &iter) == part;
		flush_dcache_page(bv.bv_page);
		if (unlikely(!good) || !iov_iter_count(&iter))
			break;
	}
	pagefault_enable();
	return good;
}

bool ubd_copy_fault_in(u64 addr, unsigned int length, bool writes)
{
	char __user *user = u64_to_user_ptr(addr);

	if (!access_ok(user, length))
		return false;
	return writes ? !fault_in_safe_writeable(user, length) : !fault_in_readable(user, length);
}
