// SPDX-License-Identifier: MIT
/* The ubd driver's control node. It knows no tree. */
#include "ubd_control.h"

#include <string.h>

#define CONTROL_PATH "/dev/ubd-control"
#define FEATURES (UBD_F_PARAMS | UBD_F_BATCHES)

static int control_features(struct driver_control *control, struct err *err)
{
	int result = driver_control_command(control, UBD_CMD_GET_FEATURES, DRIVER_NO_DEVICE,
		&control->features, sizeof(control->features), 0);

	if (result < 0)
		return err_add(err, "%s: the driver doesn't tell its features: %s", CONTROL_PATH,
			strerror(-result));
	if ((control->features & FEATURES) != FEATURES)
		return err_add(err, "%s: the driver is too old: features 0x%llx, 0x%llx needed",
			CONTROL_PATH, (unsigned long long)control->features,
			(unsigned long long)FEATURES);
	return 0;
}

int ubd_control_open(struct driver_control *control, struct err *err)
{
	if (driver_control_open(control, CONTROL_PATH, "ubd", err) < 0)
		return -1;
	if (control_features(control, err) < 0) {
		driver_control_close(control);
		return -1;
	}
	return 0;
}
