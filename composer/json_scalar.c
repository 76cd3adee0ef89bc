// SPDX-License-Identifier: MIT
/*
 * The grammar of one string or number (RFC 8259): where it ends, or what is wrong with it and
 * where. It decodes nothing: json-c does that, later, and only to what passed here. It is stricter
 * than json-c where that guesses: lone surrogates, NUL, control characters, UTF-8.
 */
#include "json_value.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define ESCAPE_LENGTH 6 /* \u and four digits */
#define INT64_DIGITS "9223372036854775808"
#define UINT64_DIGITS "18446744073709551615"

static size_t __attribute__((format(printf, 3, 4)))
fault_set(struct json_fault *fault, size_t offset, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(fault->what, sizeof(fault->what), format, arguments);
	va_end(arguments);
	fault->offset = offset;
	return 0;
}

const char *json_found(const char *text, size_t length, char *found, size_t size)
{
	unsigned char byte = length ? (unsigned char)text[0] : 0;

	if (!length)
		snprintf(found, size, "the end of the document");
	else if (byte == '\n' || byte == '\r')
		snprintf(found, size, "the end of the line");
	else if (byte == '"')
		snprintf(found, size, "a string");
	else if (byte >= ' ' && byte < 0x7f)
		snprintf(found, size, "'%c'", byte);
	else
		snprintf(found, size, "byte 0x%02x", byte);
	return found;
}

/* Length of the UTF-8 sequence at text[0]; 0 if it is none (overlong, surrogate, over U+10FFFF). */
static size_t utf8_length(const unsigned char *text, size_t length)
{
	unsigned char first = text[0];
	unsigned char low = 0x80, high = 0xbf;
	size_t size = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;

	if (first < 0xc2 || first > 0xf4 || length < size)
		return 0;
	if (first == 0xe0)
		low = 0xa0;
	if (first == 0xed)
		high = 0x9f;
	if (first == 0xf0)
		low = 0x90;
	if (first == 0xf4)
		high = 0x8f;
	if (text[1] < low || text[1] > high)
		return 0;
	for (size_t i = 2; i < size; i++)
		if (text[i] < 0x80 || text[i] > 0xbf)
			return 0;
	return size;
}

static bool hex4(const char *text, size_t length, unsigned *unit)
{
	*unit = 0;
	if (length < ESCAPE_LENGTH || text[0] != '\\' || text[1] != 'u')
		return false;
	for (size_t i = 2; i < ESCAPE_LENGTH; i++) {
		char c = text[i];

		if (c >= '0' && c <= '9')
			*unit = *unit * 16 + (unsigned)(c - '0');
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			*unit = *unit * 16 + (unsigned)((c | 0x20) - 'a' + 10);
		else
			return false;
	}
	return true;
}

static bool is_surrogate(unsigned unit, unsigned first)
{
	return unit >= first && unit < first + 0x400;
}

/* The escape at text[at]: its length, two of them for a surrogate pair. */
static size_t scan_escape(const char *text, size_t length, size_t at, struct json_fault *fault)
{
	unsigned unit, low;
	char found[40];

	if (at + 1 < length && text[at + 1] && strchr("\"\\/bfnrt", text[at + 1]))
		return 2;
	if (at + 1 >= length || text[at + 1] != 'u') {
		json_found(text + at + 1, length - at - 1, found, sizeof(found));
		return fault_set(fault, at,
			"expected one of \" \\ / b f n r t u after the backslash, found %s", found);
	}
	if (!hex4(text + at, length - at, &unit))
		return fault_set(fault, at, "expected four hexadecimal digits after \\u");
	if (unit == 0)
		return fault_set(fault, at, "a string must not hold the character NUL (\\u0000)");
	if (is_surrogate(unit, 0xdc00))
		return fault_set(fault, at,
			"\\u%04x is the second half of a pair, the first is missing", unit);
	if (!is_surrogate(unit, 0xd800))
		return ESCAPE_LENGTH;
	at += ESCAPE_LENGTH;
	if (!hex4(text + at, length - at, &low) || !is_surrogate(low, 0xdc00))
		return fault_set(fault, at - ESCAPE_LENGTH,
			"\\u%04x is the first half of a pair, the second is missing", unit);
	return (size_t)2 * ESCAPE_LENGTH;
}

size_t json_scan_string(const char *text, size_t length, struct json_fault *fault)
{
	size_t at = 1;
	size_t step;
	char found[40];

	while (at < length && text[at] != '"') {
		unsigned char byte = (unsigned char)text[at];

		if (byte == '\\') {
			step = scan_escape(text, length, at, fault);
			if (!step)
				return 0;
		} else if (byte == '\n' || byte == '\r') {
			break;
		} else if (byte < ' ') {
			return fault_set(fault, at,
				"a string must not hold the control character 0x%02x; write "
				"\\u%04x",
				byte, byte);
		} else if (byte < 0x80) {
			step = 1;
		} else {
			step = utf8_length((const unsigned char *)text + at, length - at);
			if (!step)
				return fault_set(fault, at, "byte 0x%02x is not valid UTF-8", byte);
		}
		at += step;
	}
	if (at < length && text[at] == '"')
		return at + 1;
	json_found(text + at, length - at, found, sizeof(found));
	return fault_set(fault, at, "expected '\"' at the end of the string, found %s", found);
}

static size_t digits_length(const char *text, size_t length, size_t at)
{
	size_t start = at;

	while (at < length && text[at] >= '0' && text[at] <= '9')
		at++;
	return at - start;
}

/* The grammar allows no leading zeros, so texts of one length compare as numbers do. */
static bool fits_64_bits(const char *text, size_t length)
{
	const char *limit = text[0] == '-' ? INT64_DIGITS : UINT64_DIGITS;
	size_t limit_length = strlen(limit);

	if (text[0] == '-') {
		text++;
		length--;
	}
	return length < limit_length ||
	       (length == limit_length && memcmp(text, limit, length) <= 0);
}

size_t json_scan_number(
	const char *text, size_t length, enum json_kind *kind, struct json_fault *fault)
{
	size_t at = text[0] == '-';
	size_t digits = digits_length(text, length, at);
	char found[40];

	if (digits == 0)
		goto no_digit;
	if (text[at] == '0' && digits > 1)
		return fault_set(fault, at, "a number must not begin with 0");
	at += digits;
	*kind = fits_64_bits(text, at) ? JSON_INTEGER : JSON_REAL;
	if (at < length && text[at] == '.') {
		*kind = JSON_REAL;
		digits = digits_length(text, length, ++at);
		if (digits == 0)
			goto no_digit;
		at += digits;
	}
	if (at < length && (text[at] == 'e' || text[at] == 'E')) {
		*kind = JSON_REAL;
		at++;
		if (at < length && (text[at] == '+' || text[at] == '-'))
			at++;
		digits = digits_length(text, length, at);
		if (digits == 0)
			goto no_digit;
		at += digits;
	}
	return at;
no_digit:
	json_found(text + at, length - at, found, sizeof(found));
	return fault_set(fault, at, "expected a digit, found %s", found);
}
