// SPDX-License-Identifier: MIT
/*
 * Runs seeds, in a child, so that whatever ends it the seed is known and no file stays behind.
 */
#include "sim.h"

#include <malloc.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NOTES_MAX 48
#define NOTE_BYTES 2048
#define VIOLATION_MAX 200
#define SEED_SECONDS 60 /* a seed that takes longer hangs */

static const char usage[] =
	"usage: sim [--seed N] [--count N] [--seconds N] [--trace] [--leaves N] [--lives N] "
	"[--requests N] [--lies none|data|any] [--faulty-starts] [--longer N] [--images DIRECTORY]\n"
	"       sim --shrink [--seconds N]\n"
	"Runs seeds from N (at random without --seed): one after the other, until COUNT have run "
	"or\n"
	"SECONDS have passed. Exit 1 and a report when something is violated. --shrink looks for "
	"the\n"
	"smallest run that violates something, and where seed N does, that same thing: few leaves,\n"
	"few lives, few requests, then more; SECONDS (10) for each size.\n"
	"--lies says for all seeds what leaves lie about, instead of one in seven.\n"
	"--faulty-starts has leaves fail while they are started or stopped in all seeds, instead of one in 20.\n"
	"--longer gives each life N times the requests: more of them for each start.\n"
	"--images puts there what each crash leaves of a thin's image, for qemu-img to judge.\n";

struct shared {
	uint64_t seed;
	struct totals totals;
	char violation[VIOLATION_MAX + 1]; /* without its numbers */
};

static struct shared *shared;
static char notes[NOTES_MAX][NOTE_BYTES];
static unsigned note_count;
static char directory[64];
static const char *program;
const char *sim_directory = directory;
bool sim_is_traced, sim_has_faulty_starts;
struct caps sim_caps = { 9, 8, UINT32_MAX, -1 };
static const char *const lies[] = { "none", "data", "any" }; /* enum lies */
struct totals totals;
const char *sim_images;
unsigned sim_longer = 1;

void sim_note(const char *format, ...)
{
	char *note = notes[note_count++ % NOTES_MAX];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(note, NOTE_BYTES, format, arguments);
	va_end(arguments);
	if (sim_is_traced)
		fprintf(stderr, "%s\n", note);
}

static void print_report(void)
{
	unsigned i = note_count > NOTES_MAX ? note_count - NOTES_MAX : 0;

	for (; i < note_count && !sim_is_traced; i++)
		fprintf(stderr, "%s\n", notes[i % NOTES_MAX]);
	backend_print(stderr);
}

void sim_fail(const char *format, ...)
{
	char text[NOTE_BYTES], *from, *to;
	va_list arguments;

	print_report();
	va_start(arguments, format);
	(void)vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	fprintf(stderr, "violated: %s\n", text);
	for (from = to = text; *from; from++)
		if (*from < '0' || *from > '9')
			*to++ = *from;
	*to = '\0';
	(void)snprintf(shared->violation, sizeof(shared->violation), "%.*s", VIOLATION_MAX, text);
	_exit(1);
}

static void aborted(int signal_number)
{
	print_report();
	signal(signal_number, SIG_DFL);
	raise(signal_number);
}

static double seconds_now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void run(uint64_t seed, uint64_t count, double seconds)
{
	double end = seconds_now() + seconds;
	uint64_t i;

	signal(SIGABRT, aborted);
	(void)mallopt(M_MMAP_THRESHOLD, 64 << 20); /* give nothing back in between: only speed */
	(void)mallopt(M_TRIM_THRESHOLD, 64 << 20);
	for (i = 0; i < count && (seconds == 0 || seconds_now() < end); i++) {
		shared->seed = seed + i;
		alarm(SEED_SECONDS);
		seed_run(seed + i);
		shared->totals = totals;
	}
	alarm(0);
}

static void remove_directory(void)
{
	char path[100];
	unsigned i;

	for (i = 0; i < IMAGES_MAX; i++) {
		(void)snprintf(path, sizeof(path), "%s/leaf%02u", directory, i);
		(void)unlink(path);
		(void)snprintf(path, sizeof(path), "%s/leaf%02u.away", directory, i);
		(void)unlink(path);
	}
	(void)rmdir(directory);
}

static void print_totals(double seconds)
{
	const struct totals *t = &shared->totals;
	uint64_t restarts = t->lives;

	printf("sim: %llu seeds, %llu operations (%.0f/s), %llu sub-I/Os, %llu starts (%.0f/s): "
	       "after "
	       "%llu kills, %llu power cuts, %llu stops; %llu linked, %llu passed, %llu restarted, "
	       "%llu merged, %llu held, %llu resumed, %llu works, %llu ticks, %llu leaves taken away, "
	       "%llu put back, %llu labels rotten, %llu starts that asked whom to prefer, %llu "
	       "requests failed as they may, %llu for want of room; %llu times one waited for room; "
	       "%llu MiB of mirrors compared, %llu pieces twice\n",
		(unsigned long long)t->seeds, (unsigned long long)t->operations,
		(double)t->operations / seconds, (unsigned long long)t->sub_ios,
		(unsigned long long)restarts, (double)restarts / seconds,
		(unsigned long long)t->crashes, (unsigned long long)t->cuts,
		(unsigned long long)t->stops, (unsigned long long)t->linked,
		(unsigned long long)t->passed, (unsigned long long)t->restarted,
		(unsigned long long)t->merged, (unsigned long long)t->held,
		(unsigned long long)t->resumed, (unsigned long long)t->works,
		(unsigned long long)t->ticks, (unsigned long long)t->hidden,
		(unsigned long long)t->restored, (unsigned long long)t->rotten,
		(unsigned long long)t->asked,
		(unsigned long long)t->failed_requests, (unsigned long long)t->full,
		(unsigned long long)t->put_off,
		(unsigned long long)t->scrubbed >> 20, (unsigned long long)t->looked_again);
	printf("sim: %llu legs were slow, %llu writes behind them; %llu leaves hung, %llu sub-I/Os of theirs ended late; %llu "
	       "legs were taken back, %llu times one had late I/O\n",
		(unsigned long long)t->slow, (unsigned long long)t->behind, (unsigned long long)t->hung,
		(unsigned long long)t->late, (unsigned long long)t->taken_back,
		(unsigned long long)t->too_late);
	printf("sim: %llu leaves were full, %llu had shrunk, %llu bitmaps were rotten; the daemon was stopped %llu times\n",
		(unsigned long long)t->filled, (unsigned long long)t->shortened,
		(unsigned long long)t->bitmaps, (unsigned long long)t->stopped);
	printf("sim: %llu legs went on alone, %llu of them of mirrors; %llu overlays were saved of them, %llu of legs within, %llu of legs that stand by now\n",
		(unsigned long long)t->splits, (unsigned long long)t->split_mirrors,
		(unsigned long long)t->overlays, (unsigned long long)t->overlays_below,
		(unsigned long long)t->overlays_of_spares);
	printf("sim: leaves lied in %llu of the seeds: %llu writes lost, %llu misdirected, %llu with a "
	       "wrong bit, %llu sectors rotten, %llu flushes that weren't; %llu sectors were read from "
	       "there, %llu starts refused\n",
		(unsigned long long)t->liars, (unsigned long long)t->lost,
		(unsigned long long)t->misdirected, (unsigned long long)t->flipped,
		(unsigned long long)t->rotted, (unsigned long long)t->lied_flushes,
		(unsigned long long)t->lied_reads, (unsigned long long)t->refused);
	printf("sim: %llu trees had several queues, of which one was woken by another %llu times\n",
		(unsigned long long)t->of_queues, (unsigned long long)t->woken);
	printf("sim: %llu spares were in use when all was settled; %llu starts did without one that was away\n",
		(unsigned long long)t->taken, (unsigned long long)t->without);
	printf("sim: %llu legs were failed by hand, %llu added, %llu were to be replaced, %llu had been when all was settled\n",
		(unsigned long long)t->failed_by_hand, (unsigned long long)t->added,
		(unsigned long long)t->replacing, (unsigned long long)t->let_go);
	printf("sim: %llu pages of thin's maps were brought; %llu thins took in their backing; they gave back %llu KiB when asked to\n",
		(unsigned long long)t->brought, (unsigned long long)t->flattened, (unsigned long long)t->trimmed >> 10);
	printf("sim: thins wrote %llu KiB into their backings, %llu times all that they had\n",
		(unsigned long long)t->committed >> 10, (unsigned long long)t->commits);
	printf("sim: what thins stand on became larger %llu times, %llu times while somebody waited for room; %llu had data files; %llu trees had images as legs\n",
		(unsigned long long)t->stores, (unsigned long long)t->stores_awaited, (unsigned long long)t->data_files,
		(unsigned long long)t->images);
	printf("sim: %llu stops left requests unanswered, %llu of them some that waited for room; %llu requests came again to the next life\n",
		(unsigned long long)t->left, (unsigned long long)t->left_waiting, (unsigned long long)t->again);
	printf("sim: %llu snapshots were made, and found as they were %llu times; %llu were deleted, %llu gone "
	       "back to\n",
		(unsigned long long)t->snapshots, (unsigned long long)t->pasts, (unsigned long long)t->pasts_gone,
		(unsigned long long)t->pasts_back);
	printf("sim: leaves failed %llu times during starts and stops; %llu starts were refused; %llu leaves were "
	       "lost for good, and blank ones took their place\n",
		(unsigned long long)t->start_faults, (unsigned long long)t->failed_starts,
		(unsigned long long)t->replaced);
	printf("sim: %llu times a leg was to be removed from a live mirror, %llu were at a start, and stayed out at %llu more\n",
		(unsigned long long)t->to_be_removed,
		(unsigned long long)t->removed, (unsigned long long)t->stayed_out);
	printf("sim: %llu starts were to grow, %llu devices became larger\n",
		(unsigned long long)t->growths, (unsigned long long)t->grown);
}

static uint64_t random_seed(void)
{
	uint64_t seed = 0;

	if (getentropy(&seed, 4) < 0)
		seed = (uint64_t)time(NULL);
	return seed;
}

/* In a child. True: nothing was violated. */
static bool run_child(uint64_t seed, uint64_t count, double seconds)
{
	double begun = seconds_now();
	int status = 0;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child == 0) {
		run(seed, count, seconds);
		exit(0);
	}
	if (child < 0 || waitpid(child, &status, 0) < 0)
		perror("sim");
	print_totals(seconds_now() - begun);
	if (child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return true;
	if (WIFSIGNALED(status)) {
		(void)snprintf(shared->violation, sizeof(shared->violation), "%s",
			WTERMSIG(status) == SIGALRM ? "it hangs" : strsignal(WTERMSIG(status)));
		fprintf(stderr, "sim: %s\n", shared->violation);
	}
	fprintf(stderr,
		"sim: FAILED; again with: %s --trace --seed %llu --leaves %u --lives %u --requests "
		"%u%s%s%s --longer %u\n",
		program, (unsigned long long)shared->seed, sim_caps.leaves, sim_caps.lives,
		sim_caps.requests, sim_caps.lies < 0 ? "" : " --lies ",
		sim_caps.lies < 0 ? "" : lies[sim_caps.lies],
		sim_has_faulty_starts ? " --faulty-starts" : "", sim_longer);
	return false;
}

/* Seeds from there on for a while, until one violates what is wanted; "": anything. */
static bool find(uint64_t seed, double seconds, const char *wanted)
{
	double end = seconds_now() + seconds;

	for (; seconds_now() < end; seed = shared->seed + 1)
		if (!run_child(seed, UINT64_MAX, end - seconds_now()) &&
			(!*wanted || !strcmp(wanted, shared->violation)))
			return true;
	return false;
}

/* Small runs first: what fails there is read in a minute. */
static bool shrink(uint64_t seed, double seconds)
{
	char wanted[sizeof(shared->violation)] = "";
	static const struct caps ladder[] = { { 1, 1, 4, 0 }, { 2, 1, 4, 0 }, { 2, 2, 4, 0 },
		{ 2, 2, 16, 0 }, { 3, 2, 16, 0 }, { 4, 3, 32, 0 }, { 6, 4, 64, 0 },
		{ 9, 8, 256, 0 }, { 9, 8, 256, LIES_DATA }, { 9, 8, 256, LIES_ANY } };
	unsigned i;

	if (!run_child(seed, 1, 0))
		memcpy(wanted, shared->violation, sizeof(wanted));
	for (i = 0; i < sizeof(ladder) / sizeof(*ladder); i++) {
		sim_caps = ladder[i];
		if (find(seed, seconds ? seconds : 10, wanted))
			return false;
	}
	return !*wanted;
}

int main(int count, char **words)
{
	uint64_t seed = random_seed(), seeds = 1;
	bool is_shrinking = false, is_fine;
	double seconds = 0;
	int i;

	program = words[0];
	for (i = 1; i < count; i++) {
		const char *word = words[i], *value = i + 1 < count ? words[i + 1] : "";

		if (!strcmp(word, "--trace") || !strcmp(word, "--shrink") ||
			!strcmp(word, "--faulty-starts")) {
			sim_is_traced |= !strcmp(word, "--trace");
			is_shrinking |= !strcmp(word, "--shrink");
			sim_has_faulty_starts |= !strcmp(word, "--faulty-starts");
			continue;
		}
		i++;
		if (!strcmp(word, "--seed"))
			seed = strtoull(value, NULL, 0);
		else if (!strcmp(word, "--count"))
			seeds = strtoull(value, NULL, 0);
		else if (!strcmp(word, "--seconds"))
			seconds = strtod(value, NULL), seeds = UINT64_MAX;
		else if (!strcmp(word, "--leaves"))
			sim_caps.leaves = (unsigned)strtoul(value, NULL, 0);
		else if (!strcmp(word, "--lives"))
			sim_caps.lives = (unsigned)strtoul(value, NULL, 0);
		else if (!strcmp(word, "--longer"))
			sim_longer = (unsigned)strtoul(value, NULL, 0);
		else if (!strcmp(word, "--images"))
			sim_images = value;
		else if (!strcmp(word, "--lies"))
			sim_caps.lies = !strcmp(value, lies[LIES_DATA]) ? LIES_DATA :
					!strcmp(value, lies[LIES_ANY])	? LIES_ANY :
									  LIES_NONE;
		else if (!strcmp(word, "--requests"))
			sim_caps.requests = (unsigned)strtoul(value, NULL, 0);
		else
			return fputs(usage, stderr), 2;
	}
	shared = mmap(
		NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	strcpy(directory, "/dev/shm/ubd-sim.XXXXXX");
	if (shared == MAP_FAILED || !mkdtemp(directory)) {
		perror("sim");
		return 2;
	}
	is_fine = is_shrinking ? shrink(seed, seconds) : run_child(seed, seeds, seconds);
	remove_directory();
	return is_fine ? 0 : 1;
}
