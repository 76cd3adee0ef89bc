// SPDX-License-Identifier: MIT
/*
 * Fuzzes the control socket's frames with any bytes (libFuzzer):
 *
 *   clang -std=gnu11 -D_GNU_SOURCE -Icomposer -g -O1 -fsanitize=fuzzer,address,undefined \
 *     tests/fuzz/fuzz_control.c composer/control.c composer/log.c composer/nearest.c composer/err.c
 * \ composer/json*.c -ljson-c -o build/fuzz_control build/fuzz_control -max_total_time=300
 * build/corpus_control tests/fuzz/control
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
	must(request.command == CONTROL_STATUS || request.command == CONTROL_DELETE);
	length = snprintf(frame, sizeof(frame), "{\"command\":\"%s\"}",
		control_command_name(request.command));
	must(!control_parse(frame, (size_t)length, &again) && again.command == request.command);
	control_request_finish(&request);
	control_request_finish(&again);
	return 0;
}
