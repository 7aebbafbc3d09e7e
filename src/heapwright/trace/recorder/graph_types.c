/* What is in a block: Python's types, found by their own layout, and their names. */
#define _GNU_SOURCE
#include "graph.h"
#include <string.h>

#define TYPE_BYTES 400 /* PyTypeObject is no shorter */
#define NAME_WORD 3    /* of PyTypeObject: tp_name, tp_basicsize, tp_flags */
#define SIZE_WORD 4
#define FLAGS_WORD 21
#define TYPE_SUBCLASS (1UL << 31) /* Py_TPFLAGS_TYPE_SUBCLASS */
#define HAVE_GC (1UL << 14)        /* Py_TPFLAGS_HAVE_GC */
#define KNOWN_TYPES 4096
#define NAME_WORDS 12

uintptr_t type_of_types, type_of_tuples, type_of_dicts;
static uintptr_t known_types[KNOWN_TYPES];
static uint8_t kinds[KNOWN_TYPES + 1];
static uint64_t least[KNOWN_TYPES + 1]; /* bytes of an instance without items */
static uint32_t type_count;

/* Is there a type at `address`: an instance of `type`, or of a type whose flags say that it derives from it? */
static int is_type(uintptr_t address)
{
    if (!readable(address, TYPE_BYTES)) return 0;
    uintptr_t of = ((uintptr_t *)address)[1];
    if (of == type_of_types) return 1;
    return readable(of, TYPE_BYTES) && ((uintptr_t *)of)[1] == type_of_types && ((uint64_t *)of)[FLAGS_WORD] & TYPE_SUBCLASS;
}

static uint32_t type_number(uintptr_t type)
{
    uint32_t at = (uint32_t)(type >> 4) & (KNOWN_TYPES - 1), steps = 0;
    for (; known_types[at] && steps < KNOWN_TYPES; at = (at + 1) & (KNOWN_TYPES - 1), steps++)
        if (known_types[at] == type) return at + 1;
    if (type_count > KNOWN_TYPES / 2 || !is_type(type)) return 0;
    const char *name = ((const char **)type)[NAME_WORD];
    uint64_t text[NAME_WORDS] = {0};
    memcpy(text, name, strnlen(name, sizeof text));
    known_types[at] = type;
    type_count++;
    least[at + 1] = ((uint64_t *)type)[SIZE_WORD];
    if (((uint64_t *)type)[FLAGS_WORD] & HAVE_GC)
        kinds[at + 1] = type == type_of_tuples ? TUPLE_KIND : type == type_of_dicts ? DICT_KIND : CONTAINER_KIND;
    tell(KIND, at + 1, kinds[at + 1]);
    for (size_t i = 0; i < NAME_WORDS && text[i]; i++) tell(NAME | i << 8, at + 1, text[i]);
    return at + 1;
}

int type_kind(uint32_t type) { return kinds[type]; }

void see_whether_followed(struct block *block)
{
    int form = block->flags & TYPED && block->object >= 16 ? type_kind(block->type) : ATOM_KIND;
    if (form != TUPLE_KIND && form != DICT_KIND) return;
    uint32_t followed = next_of(block->address + block->object - 16) ? FOLLOWED : 0;
    if (followed == (block->flags & FOLLOWED)) return;
    block->flags ^= FOLLOWED;
    tell(TRACKED, block->number, followed != 0);
}

/* Find the object in a block: the first of the three places whose second word is a type. Its first is a count:
 * a table that is not full yet may begin with a pointer, and go on with what an object before it left there. Heads
 * lie before what the collector may follow, and before nothing else; and that has room behind them. */
int look_for_type(struct block *block)
{
    for (uint32_t offset = 0; offset <= 32 && offset + 16 <= block->size; offset += 16) {
        const uintptr_t *words = (const uintptr_t *)(block->address + offset);
        uint32_t number = words[1] & 7 ? 0 : type_number(words[1]);
        if (!number || referred(words[0]) || !kinds[number] != !offset) continue;
        if (offset && offset + least[number] > block->size) continue;
        block->flags |= TYPED;
        block->object = offset;
        int other = number != block->type;
        block->type = number;
        if (kinds[number] == TUPLE_KIND) block->flags |= FOLLOWED; /* as a reader takes it to be */
        return other;
    }
    return 0;
}
