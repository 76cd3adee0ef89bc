// SPDX-License-Identifier: MIT
/* Options and operands by table, help, and messages. It knows no verb. */
#include "command.h"

#include "device_name.h"
#include "json.h"
#include "log.h"
#include "nearest.h"
#include "status.h"

#include <errno.h>
#include <json-c/json_object.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define HELP_COLUMN 20

static unsigned option_count(const struct command *command)
{
	unsigned count = 0;

	while (command->options && command->options[count].name)
		count++;
	return count;
}

static void print_lines(const char *text, FILE *out)
{
	while (*text) {
		size_t length = strcspn(text, "\n");

		fprintf(out, PROGRAM ": %.*s\n", (int)length, text);
		text += length + (text[length] == '\n');
	}
}

int command_fail(struct err *err)
{
	if (err->text)
		print_lines(err->text, stderr);
	err_finish(err);
	return STATUS_FAILED;
}

void command_note(struct err *notes)
{
	(void)command_fail(notes); /* printed the same way, only that nothing has failed */
}

int command_check_rate(const char *rate, struct err *err)
{
	uint64_t bytes;

	if (rate && (!json_parse_size(rate, &bytes) || bytes == 0))
		return err_add(err, "--rate: \"%s\" is no size above 0, as 10MiB", rate);
	return 0;
}

int command_print_json(struct json_object *made, struct err *err)
{
	const char *text = json_object_to_json_string_ext(
		made, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
	struct json *parsed = json_parse("output", text, strlen(text), err);

	if (!parsed)
		return -1;
	json_print(parsed, stdout);
	printf("\n");
	json_destroy(parsed);
	return 0;
}

bool command_debug(const char *words)
{
	struct err err = { 0 };

	if (!words || debug_parse(words, &debug_mask, &err) == 0)
		return true;
	(void)command_fail(&err);
	return false;
}

bool command_device(const struct arguments *arguments, char **name)
{
	struct err err = { 0 };

	if (arguments->operand_count == 0)
		return true;
	*name = device_name_find(arguments->operands[0], &err);
	if (*name)
		return true;
	(void)command_fail(&err);
	return false;
}

int command_misused(const struct command *command, const char *format, ...)
{
	va_list arguments;

	fprintf(stderr, PROGRAM " %s: ", command->name);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fprintf(stderr, "\nTry: " PROGRAM " %s --help\n", command->name);
	return STATUS_USAGE;
}

bool command_directory(const char *path, const char **resolved, struct err *err)
{
	static char absolute[PATH_MAX];
	struct stat found;

	*resolved = NULL;
	if (!path)
		return true;
	*resolved = realpath(path, absolute);
	if (*resolved && stat(*resolved, &found) == 0 && S_ISDIR(found.st_mode))
		return true;
	err_add(err, "%s: %s", path, *resolved ? "it is no directory" : strerror(errno));
	return false;
}

bool command_size(const char *text, uint64_t *bytes)
{
	size_t length = strlen(text);
	char whole[32];

	if (json_parse_size(text, bytes))
		return true;
	if (!length || length > 24 || !strchr("KMGTPE", text[length - 1]))
		return false;
	(void)snprintf(whole, sizeof(whole), "%siB", text);
	return json_parse_size(whole, bytes);
}

static void help_option(const struct command_option *option, FILE *out)
{
	const char *text = option->help;
	int width = fprintf(out, "  ");

	if (option->letter)
		width += fprintf(out, "-%c, ", option->letter);
	width += fprintf(out, "--%s", option->name);
	if (option->value)
		width += fprintf(out, "=%s", option->value);
	if (width >= HELP_COLUMN) {
		fprintf(out, "\n");
		width = 0;
	}
	while (*text) {
		size_t length = strcspn(text, "\n");

		fprintf(out, "%*s%.*s\n", HELP_COLUMN - width, "", (int)length, text);
		width = 0;
		text += length + (text[length] == '\n');
	}
}

void command_help(const struct command *command, FILE *out)
{
	unsigned i, count = option_count(command);

	fprintf(out, "usage: " PROGRAM " %s%s%s%s\n\n%s\n", command->name,
		count ? " [OPTION]..." : "", *command->operands ? " " : "", command->operands,
		command->details);
	for (i = 0; i < count; i++)
		help_option(&command->options[i], out);
	help_option(&(struct command_option){ .name = "help", .letter = 'h', .help = "This text." },
		out);
}

/* The option that is called `name` (of `length` letters), or -1 after a message. */
static int option_find(const struct command *command, const char *name, size_t length)
{
	const char *names[COMMAND_OPTIONS_MAX + 2];
	unsigned i, count = option_count(command);
	const char *nearest;
	char *word;

	for (i = 0; i < count; i++) {
		names[i] = command->options[i].name;
		if (strlen(names[i]) == length && !strncmp(names[i], name, length))
			return (int)i;
	}
	names[count] = "help";
	names[count + 1] = NULL;
	word = strndup(name, length);
	if (!word)
		abort();
	nearest = nearest_word(word, names);
	if (nearest)
		(void)command_misused(
			command, "there is no option --%s; did you mean --%s?", word, nearest);
	else
		(void)command_misused(command, "there is no option --%s", word);
	free(word);
	return -1;
}

/* --name, --name=value or --name value; argv[*at] is the option. 0, or -1 after a message. */
static int read_long(
	const struct command *command, char **argv, int argc, int *at, struct arguments *arguments)
{
	const char *name = argv[*at] + 2;
	size_t length = strcspn(name, "=");
	int index = option_find(command, name, length);
	const struct command_option *option;
	const char *value;

	if (index < 0)
		return -1;
	option = &command->options[index];
	arguments->options[index] = "";
	if (name[length] == '=' && !option->value) {
		(void)command_misused(command, "--%.*s takes no value", (int)length, name);
		return -1;
	}
	if (!option->value)
		return 0;
	if (name[length] != '=' && *at + 1 >= argc) {
		(void)command_misused(command, "--%s wants a value: %s", name, option->value);
		return -1;
	}
	value = name[length] == '=' ? name + length + 1 : argv[++*at];
	arguments->options[index] = value;
	if (!option->many)
		return 0;
	if (arguments->value_count == COMMAND_VALUES_MAX) {
		(void)command_misused(command, "--%.*s is given more than %d times", (int)length,
			name, COMMAND_VALUES_MAX);
		return -1;
	}
	arguments->values[arguments->value_count++] = value;
	return 0;
}

/* Letters stand for options without a value. 0, or -1 after a message. */
static int read_letters(
	const struct command *command, const char *letters, struct arguments *arguments)
{
	unsigned i, count = option_count(command);

	for (; *letters; letters++) {
		for (i = 0; i < count && command->options[i].letter != *letters; i++)
			;
		if (i == count) {
			(void)command_misused(command, "there is no option -%c", *letters);
			return -1;
		}
		arguments->options[i] = "";
	}
	return 0;
}

static int run_with(const struct command *command, const struct arguments *arguments)
{
	unsigned count = arguments->operand_count;

	if (count < command->operands_min)
		return command_misused(
			command, "something is missing: the operands are %s", command->operands);
	if (count > command->operands_max)
		return command_misused(command, "\"%s\" is one too many: %s%s",
			arguments->operands[command->operands_max],
			*command->operands ? "the operands are " : "there are no operands",
			command->operands);
	return command->run(arguments);
}

int command_run(const struct command *command, int argc, char **argv)
{
	struct arguments arguments = { .operands = argv };
	bool options_ended = false;
	int i;

	for (i = 1; i < argc; i++) {
		const char *word = argv[i];

		if (options_ended || word[0] != '-' || !word[1]) {
			/* Operands are gathered at the front, over what has been read. */
			argv[arguments.operand_count++] = argv[i];
		} else if (!strcmp(word, "--")) {
			options_ended = true;
		} else if (!strcmp(word, "--help") || !strcmp(word, "-h")) {
			command_help(command, stdout);
			return STATUS_DONE;
		} else if (word[1] == '-') {
			if (read_long(command, argv, argc, &i, &arguments) < 0)
				return STATUS_USAGE;
		} else if (read_letters(command, word + 1, &arguments) < 0) {
			return STATUS_USAGE;
		}
	}
	return run_with(command, &arguments);
}
