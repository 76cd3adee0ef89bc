/* SPDX-License-Identifier: MIT */
/*
 * Something that will end: whoever waits embeds one, whoever works calls end() once with the result
 * (bytes or 0, or -errno). In the daemon its address is the user_data of an SQE; in the simulator
 * it stands in a list. end() runs in the queue's thread and never blocks.
 */
#ifndef COMPOSER_EVENT_H
#define COMPOSER_EVENT_H

#include <stddef.h>

struct event {
	void (*end)(struct event *event, int result);
};

#define container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

#endif
