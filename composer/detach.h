/* SPDX-License-Identifier: MIT */
/*
 * A child that goes on alone, and the report that its parent waits for: whether the device is live.
 */
#ifndef COMPOSER_DETACH_H
#define COMPOSER_DETACH_H

#include "err.h"

#include <stdbool.h>

/*
 * Forks. In the child, which has a session of its own and stdin and stdout at /dev/null, returns 0
 * and *report is where detach_report() writes. In the parent returns the child's pid and *report is
 * what detach_wait() reads. -1 with a message.
 */
int detach(int *report, struct err *err);

/*
 * The child's report, once: a success with the result for stdout, or a failure; `text` are
 * messages. Closes report. With `quiet` stderr is given up too. -1: the parent is gone.
 */
int detach_report(int report, bool success, const char *result, const char *text, bool quiet);

/*
 * Waits for the report. 0: success, *result to be freed, messages in `notes`. -1: messages in err,
 * made here if the child has died without a word.
 */
int detach_wait(int report, int pid, char **result, struct err *err, struct err *notes);

#endif
