// SPDX-License-Identifier: MIT
/* Stops a device behind its daemon's back, as another administrator's program could: stop_device ID. */
#include "../driver/session.h"

int main(int argc, char **argv)
{
	struct device device;
	int result;

	if (argc != 2)
		errx(2, "usage: stop_device ID");
	device_init(&device, 1, 1);
	device.info.dev_id = (uint32_t)strtoul(argv[1], NULL, 10);
	result = control(&device, UBD_CMD_STOP_DEV, NULL, 0, 0);
	if (result < 0)
		errx(1, "STOP_DEV %s: %s", argv[1], strerror(-result));
	return failures;
}
