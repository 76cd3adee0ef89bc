// SPDX-License-Identifier: MIT
/* Sends one control command without a buffer and prints its result: ubd_control DEVICE CODE [DATA]. */
#include "session.h"

int main(int argc, char **argv)
{
	struct device device;

	if (argc != 3 && argc != 4)
		errx(2, "usage: ubd_control DEVICE CODE [DATA]");
	device_init(&device, 1, 1);
	device.info.dev_id = (uint32_t)strtoul(argv[1], NULL, 0);
	printf("%d\n", control(&device, strtoul(argv[2], NULL, 0), NULL, 0,
			       argc == 4 ? strtoull(argv[3], NULL, 0) : 0));
	return failures;
}
