// SPDX-License-Identifier: MIT
/*
 * Stops a device behind its daemon's back, as another administrator's program could:
 * stop_device ubd|ublk ID.
 */
#include "../driver/session.h"
#include "../../../composer/ublk_cmd.h"

int main(int argc, char **argv)
{
	struct ubd_ctrl_cmd stop = { .queue_id = UBD_NO_QUEUE };
	struct io_uring *ring = ring_open(4, IORING_SETUP_SQE128);
	struct io_uring_cqe *cqe;
	char path[64];
	int fd;

	if (argc != 3)
		errx(2, "usage: stop_device ubd|ublk ID");
	snprintf(path, sizeof(path), "/dev/%s-control", argv[1]);
	fd = open(path, O_RDWR);
	if (fd < 0)
		err(1, "%s", path);
	stop.dev_id = (uint32_t)strtoul(argv[2], NULL, 10);
	command(ring, fd, strcmp(argv[1], "ublk") ? UBD_CMD_STOP_DEV : UBLK_CMD_STOP_DEV, &stop,
		sizeof(stop), 0);
	if (io_uring_submit(ring) != 1 || io_uring_wait_cqe(ring, &cqe) < 0)
		errx(1, "the ring is broken");
	if (cqe->res < 0)
		errx(1, "STOP_DEV %s: %s", argv[2], strerror(-cqe->res));
	return failures;
}
