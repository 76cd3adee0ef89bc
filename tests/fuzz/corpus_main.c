// SPDX-License-Identifier: MIT
/*
 * Runs a fuzz target on the files that are named, one after the other: libFuzzer's main() without
 * the fuzzing, for any compiler. Whatever is wrong ends the program, which has named the file.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int run(const char *path)
{
	FILE *file = fopen(path, "r");
	uint8_t *data = NULL;
	size_t size = 0, got = 0;
	int result = -1;

	if (file && fseek(file, 0, SEEK_END) == 0) {
		size = (size_t)ftell(file);
		rewind(file);
		data = malloc(size + 1);
		got = data ? fread(data, 1, size, file) : 0;
	}
	if (data && got == size)
		result = LLVMFuzzerTestOneInput(data, size);
	else
		perror(path);
	if (file)
		fclose(file);
	free(data);
	return result;
}

int main(int count, char **words)
{
	int i;

	for (i = 1; i < count; i++) {
		printf("%s\n", words[i]);
		fflush(stdout);
		if (run(words[i]) != 0)
			return 1;
	}
	return 0;
}
