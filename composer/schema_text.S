/* SPDX-License-Identifier: MIT */
/* The schema, as it stands in schemas/: the program carries it within. */
	.section .rodata
	.global schema_text
	.global schema_text_end
	.type schema_text, @object
	.type schema_text_end, @object
schema_text:
	.incbin "schemas/ubd-compose.schema.json"
schema_text_end:
	.byte 0
	.size schema_text, schema_text_end - schema_text
	.section .note.GNU-stack, "", @progbits
