// SPDX-License-Identifier: MIT
/*
 * The load of ackload.h by itself:
 *
 *   ackload [-e] [-j JOBS] [-d DEPTH] [-b BLOCKS] run RECORD DISK    until SIGTERM or an I/O error
 *   ackload [-b BLOCKS] verify RECORD DISK
 *
 * -e: an I/O error is a failure. Otherwise it is the disk's end, and status 0.
 */
#define _GNU_SOURCE
#include "ackload.h"

int main(int argc, char **argv)
{
	uint64_t issued;
	int option;

	setpgid(0, 0);
	while ((option = getopt(argc, argv, "ej:d:b:")) != -1) {
		switch (option) {
		case 'e': errors_matter = 1; break;
		case 'j': jobs = atoi(optarg); break;
		case 'd': depth = atoi(optarg); break;
		case 'b': blocks = atoi(optarg); break;
		default: errx(2, "see the head of ackload.c");
		}
	}
	if (argc - optind != 3 || blocks / jobs <= (uint32_t)depth || blocks % AT_ONCE)
		errx(2, "see the head of ackload.c");
	records_open(argv[optind + 1]);
	disk_open(argv[optind + 2]);
	if (strcmp(argv[optind], "verify"))
		return run_all();
	issued = verify("at the end");
	printf("%llu writes issued, all acknowledged ones are there\n", (unsigned long long)issued);
	return issued ? 0 : 5; /* nothing was ever written: nothing was tested */
}
