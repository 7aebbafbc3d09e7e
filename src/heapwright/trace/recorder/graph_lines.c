/* Which line of Python asks for a block: the innermost frame of the thread that asks.
 *
 *   instruction ─► a table ─► number of a place ─new─► PLACE rows: function (file:line)
 *
 * Read, never written; PyCode_Addr2Line allocates nothing. An instruction may be another one's later, when
 * its code was freed: an entry holds its code's names, too, and they must be the same. */
#define _GNU_SOURCE
#include "graph.h"
#include "python_layout.h"
#include <dlfcn.h>
#include <stdio.h>

#define PLACES (1u << 20)      /* numbers of places are smaller, as in graph_books.py */
#define FIRST_INSTRUCTIONS (1u << 12)
#define TEXT_BYTES 512

struct place { uint64_t instruction, name, file; uint32_t number; };
static struct place *places;
static uint32_t room, used, last_number;
static const struct python_layout *in;
static void *(*this_thread)(void);
static int (*line_of)(void *, int);

static int begin(void) /* 0 where lines are not known */
{
    static int tried;
    if (tried++) return room > 0;
    const char *(*version)(void) = dlsym(RTLD_DEFAULT, "Py_GetVersion");
    this_thread = dlsym(RTLD_DEFAULT, "PyGILState_GetThisThreadState");
    line_of = dlsym(RTLD_DEFAULT, "PyCode_Addr2Line");
    in = version ? python_layout(version()) : NULL;
    if (!in || !this_thread || !line_of) return 0;
    places = grown(NULL, 0, FIRST_INSTRUCTIONS * sizeof *places);
    return places && (room = FIRST_INSTRUCTIONS);
}

static struct place *entry_of(struct place *of, uint32_t length, const struct place *wanted)
{
    uint32_t at = (uint32_t)(wanted->instruction * 0x9E3779B97F4A7C15u >> 32);
    for (;; at++) {
        struct place *entry = of + (at & (length - 1));
        if (!entry->instruction) return entry;
        if (entry->instruction == wanted->instruction && entry->name == wanted->name && entry->file == wanted->file) return entry;
    }
}

static int wider(void)
{
    struct place *larger = grown(NULL, 0, 2 * room * sizeof *places);
    if (!larger) return 0;
    for (uint32_t i = 0; i < room; i++)
        if (places[i].instruction) *entry_of(larger, 2 * room, places + i) = places[i];
    places = larger; /* the smaller one stays: it is seldom, and short */
    room *= 2;
    return 1;
}

static void tell_place(uint32_t number, uint64_t code, uint64_t instruction)
{
    union { char text[TEXT_BYTES]; uint64_t words[TEXT_BYTES / 8]; } told = {{0}};
    char *text = told.text;
    python_string(in, text, TEXT_BYTES / 3, python_word(code, in->name));
    strcat(text, " (");
    python_string(in, text, TEXT_BYTES - 16, python_word(code, in->file));
    size_t length = strlen(text);
    int line = line_of((void *)code, (int)(instruction - code - (uint64_t)in->instructions));
    snprintf(text + length, TEXT_BYTES - length, ":%d)", line);
    for (size_t i = 0; i < TEXT_BYTES / 8 && told.words[i]; i++) tell(PLACE | i << 8, number, told.words[i]);
}

uint32_t place_now(void)
{
    if (!begin()) return 0;
    uint64_t thread = (uint64_t)this_thread();
    if (!thread) return 0;
    uint64_t frame = python_frame(in, thread);
    while (frame && *(char *)(frame + (uint64_t)in->owner) >= in->on_c_stack) frame = python_word(frame, in->previous);
    if (!frame) return 0;
    uint64_t code = python_word(frame, in->executable) & -16UL; /* from 3.14 on tagged */
    struct place wanted = {python_word(frame, in->instruction), python_word(code, in->name), python_word(code, in->file), 0};
    if (!wanted.instruction || (2 * (used + 1) > room && !wider())) return 0;
    struct place *entry = entry_of(places, room, &wanted);
    if (entry->instruction) return entry->number;
    if (last_number + 1 >= PLACES) return 0;
    *entry = wanted;
    used++;
    entry->number = ++last_number;
    tell_place(entry->number, code, wanted.instruction);
    return entry->number;
}
