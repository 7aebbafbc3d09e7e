/* Where frames, code objects and strings of CPython have what we read, by version.
 *
 *   thread state ─► frame ─► its caller ...     frame ─► instruction, code ─► names, first instruction
 *
 * Source  CPython 3.11, 3.12 pycore_frame.h, pystate.h; from 3.13 on _PyRuntime tells (_Py_DebugOffsets) */
#ifndef PYTHON_LAYOUT_H
#define PYTHON_LAYOUT_H
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct python_layout {
    int cframe, current;                                          /* of a thread state; cframe from 3.13 on -1: there is none */
    int previous, instruction, executable, owner, on_c_stack;     /* of a frame; the last a value of the owner */
    int name, file, instructions;                                 /* of a code object */
    int unicode_bytes, compact_bytes;                             /* headers of strings */
};

static inline const struct python_layout *python_layout(const char *version) { /* NULL where that is not known */
    static const struct python_layout known[] = { /* 3.11, 3.12, 3.13, 3.14, 3.15 */
        {56, 8, 48, 56, 32, 69, 127, 128, 112, 184, 48, 72},
        {56, 0, 8, 56, 0, 70, 3, 128, 112, 192, 40, 56},
        {-1, 72, 8, 56, 0, 70, 3, 128, 112, 200, 40, 56},
        {-1, 72, 8, 56, 0, 74, 3, 128, 112, 208, 40, 56},
        {-1, 72, 8, 56, 0, 74, 3, 128, 112, 208, 40, 56},
    };
    char *past;
    long major = strtol(version, &past, 10), minor = *past == '.' ? strtol(past + 1, NULL, 10) : 0;
    return major == 3 && minor >= 11 && minor <= 15 ? known + (minor - 11) : NULL;
}

static inline uint64_t python_word(uint64_t base, int offset) { return *(uint64_t *)(base + offset); }

/* The innermost frame of a thread state; 0 of none. */
static inline uint64_t python_frame(const struct python_layout *in, uint64_t thread) {
    return python_word(in->cframe < 0 ? thread : python_word(thread, in->cframe), in->current);
}

static size_t put_utf8(char *to, uint32_t c) {
    if (c < 0x20 || c == 0x7f) c = ' ';
    if (c < 0x80) return to[0] = c, 1;
    if (c < 0x800) return to[0] = 0xc0 | c >> 6, to[1] = 0x80 | (c & 63), 2;
    if (c < 0x10000) return to[0] = 0xe0 | c >> 12, to[1] = 0x80 | (c >> 6 & 63), to[2] = 0x80 | (c & 63), 3;
    return to[0] = 0xf0 | c >> 18, to[1] = 0x80 | (c >> 12 & 63), to[2] = 0x80 | (c >> 6 & 63), to[3] = 0x80 | (c & 63), 4;
}
/* A str behind what `into` holds, as UTF-8. */
static void python_string(const struct python_layout *in, char *into, size_t room, uint64_t string) {
    size_t at = strlen(into), length = string ? *(size_t *)(string + 16) : 0;
    uint32_t bits = string ? *(uint32_t *)(string + 32) >> 2 : 0, kind = bits & 7;
    if (!(bits >> 3 & 1)) length = 0; /* not compact: no name of a code is */
    char *data = (char *)string + (bits >> 4 & 1 ? in->unicode_bytes : in->compact_bytes);
    for (size_t i = 0; i < length && at + 5 < room; i++)
        at += put_utf8(into + at, kind == 1 ? ((uint8_t *)data)[i] : kind == 2 ? ((uint16_t *)data)[i] : ((uint32_t *)data)[i]);
    into[at] = 0;
}

#endif
