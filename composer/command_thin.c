// SPDX-License-Identifier: MIT
/* Which thin of a live device is meant, for the verbs that ask one for something. */
#include "command.h"

#include "json.h"

#include <string.h>

struct found {
	const char *wanted; /* NULL: any */
	const char *member;
	const char *id;
	unsigned count;
};

static void find(struct found *found, const struct json *node)
{
	const struct json *children = json_get(node, "children");
	const char *id = json_get_string(node, "id", "");
	size_t i;

	if (json_get(node, found->member) && (!found->wanted || !strcmp(found->wanted, id))) {
		found->id = id;
		found->count++;
	}
	for (i = 0; i < json_count(children); i++)
		find(found, json_at(children, i));
}

const char *command_find_thin(const struct json *status, const char *id, const char *member,
	const char *what, struct err *err)
{
	const char *device = json_get_string(status, "name", "?");
	struct found found = { .wanted = id, .member = member };

	find(&found, json_get(status, "root"));
	if (found.count == 1)
		return found.id;
	if (id)
		err_add(err, "%s: \"%s\" is no %s; `" PROGRAM " status %s` shows the tree", device, id, what, device);
	else if (found.count)
		err_add(err, "%s has %u thin volumes; name one of them, as `" PROGRAM " status %s` has them", device,
			found.count, device);
	else
		err_add(err, "%s has no %s", device, what);
	return NULL;
}
