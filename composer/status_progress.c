// SPDX-License-Identifier: MIT
/* Progress as people read it, and screens that are drawn again and again. It knows no node's type.
 */
#include "status.h"

#include <inttypes.h>
#include <string.h>

#define BAR_CELLS 30
#define HOME "\033[H"
#define CLEAR_LINE "\033[K"
#define CLEAR_BELOW "\033[J"
#define WRAP_OFF "\033[?7l"
#define WRAP_ON "\033[?7h"

const char *duration_text(uint64_t ms, char text[SIZE_TEXT_MAX])
{
	uint64_t seconds = ms / 1000, minutes = seconds / 60, hours = minutes / 60;

	if (minutes == 0)
		snprintf(text, SIZE_TEXT_MAX, "%" PRIu64 " s", seconds);
	else if (hours == 0)
		snprintf(text, SIZE_TEXT_MAX, "%" PRIu64 " min %" PRIu64 " s", minutes,
			seconds % 60);
	else if (hours < 48)
		snprintf(text, SIZE_TEXT_MAX, "%" PRIu64 " h %" PRIu64 " min", hours, minutes % 60);
	else
		snprintf(text, SIZE_TEXT_MAX, "%" PRIu64 " days", hours / 24);
	return text;
}

/* part * scale / whole, rounded down, for any 64 bits; part <= whole, whole > 0. */
static unsigned share(uint64_t part, uint64_t whole, unsigned scale)
{
	return (unsigned)((unsigned __int128)part * scale / whole);
}

void status_print_progress(const struct json *progress, FILE *out)
{
	uint64_t done = json_get_unsigned(progress, "done", 0);
	uint64_t total = json_get_unsigned(progress, "total", 0);
	uint64_t rate = json_get_unsigned(progress, "rate", 0);
	char size[SIZE_TEXT_MAX], whole[SIZE_TEXT_MAX], speed[SIZE_TEXT_MAX], left[SIZE_TEXT_MAX];
	unsigned cells, permille, i;

	if (done > total)
		done = total;
	cells = total ? share(done, total, BAR_CELLS) : BAR_CELLS;
	permille = total ? share(done, total, 1000) : 1000;
	fprintf(out, "%s [", json_get_string(progress, "what", "?"));
	for (i = 0; i < BAR_CELLS; i++)
		fputc(i < cells ? '#' : '.', out);
	fprintf(out, "] %u.%u %%, %s of %s", permille / 10, permille % 10, size_text(done, size),
		size_text(total, whole));
	if (rate)
		fprintf(out, ", %s/s, %s left", size_text(rate, speed),
			duration_text((total - done) / rate > UINT64_MAX / 1000
					      ? UINT64_MAX
					      : (total - done) / rate * 1000,
				left));
	fprintf(out, "\n");
}

void status_print_screen(const char *text, unsigned rows, FILE *out)
{
	unsigned row;

	fprintf(out, HOME WRAP_OFF);
	for (row = 0; *text && (rows == 0 || row + 1 < rows); row++) {
		size_t length = strcspn(text, "\n");

		fprintf(out, "%.*s" CLEAR_LINE "\n", (int)length, text);
		text += length + (text[length] == '\n');
	}
	fprintf(out, CLEAR_BELOW WRAP_ON);
}
