// SPDX-License-Identifier: MIT
/*
 * Fuzzes the control socket's frames with any bytes (libFuzzer): make fuzz T=control MINUTES=10.
 *
 * What must hold: a frame is either read as one of the commands or named by its fault; the same
 * frame gives the same twice; a command's own frame is read as that command.
 */
#include "control.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(int what)
{
	if (!what)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct control_request request, again;
	const char *wrong = control_parse((const char *)data, size, &request);
	char frame[64];
	int length;

	if (wrong) {
		must(control_parse((const char *)data, size, &again) == wrong);
		control_request_finish(&request);
		control_request_finish(&again);
		return 0;
	}
	if (request.command == CONTROL_NODE) {
		must(request.node && request.verb);
		control_request_finish(&request);
		return 0;
	}
	must(request.command <= CONTROL_FOLLOW);
	length = snprintf(frame, sizeof(frame), "{\"command\":\"%s\"}",
		control_command_name(request.command));
	must(!control_parse(frame, (size_t)length, &again) && again.command == request.command);
	control_request_finish(&request);
	control_request_finish(&again);
	return 0;
}
