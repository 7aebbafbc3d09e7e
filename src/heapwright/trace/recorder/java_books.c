/* The books of the recorder of Java programs: what is alive by the last look, and what it referred to.
 *
 * Their bytes are counted; past the limit the recording ends. */
#include "java.h"
#include <stdlib.h>
#include <string.h>

#define IN_USE 2048 /* of an object: its slot is taken */
#define FIRST_SLOTS 4096

struct object *objects;
uint64_t births, books_limit, met_objects, met_bytes;
uint32_t slots_used = 1, alive;
static uint64_t books_bytes;
static uint32_t slots_room, spare; /* spare: the first free slot; each names the next in `count` */

void *more(void *old, size_t before, size_t after)
{
    if (books_bytes + after - before > books_limit) { stop(BOOKS_FULL); return old; }
    char *longer = realloc(old, after);
    if (!longer) { stop(NO_MEMORY); return old; }
    if (after > before) memset(longer + before, 0, after - before);
    books_bytes += after - before;
    return longer;
}

uint32_t slot_for(uint64_t number)
{
    uint32_t slot = spare;
    if (slot) spare = objects[slot].count;
    else {
        if (slots_used >= slots_room) {
            uint32_t room = slots_room ? 2 * slots_room : FIRST_SLOTS;
            objects = more(objects, slots_room * sizeof *objects, room * sizeof *objects);
            if (off) return 0;
            slots_room = room;
        }
        if (slots_used == SLOT_MASK) { stop(BOOKS_FULL); return 0; }
        slot = slots_used++;
    }
    objects[slot] = (struct object){number, NULL, 0, IN_USE | ROOTED, 0};
    alive++;
    return slot;
}

uint32_t bear(uint64_t size, uint64_t fields, int met)
{
    uint32_t slot = off ? 0 : slot_for(births);
    if (!slot) return 0;
    tell(NEW | fields << 8, size, 0);
    births++;
    met_objects += met ? 1 : 0;
    met_bytes += met ? size : 0;
    return slot;
}

void forget_slot(uint32_t slot)
{
    struct object *object = objects + slot;
    books_bytes -= object->count * sizeof *object->refers;
    free(object->refers);
    *object = (struct object){0, NULL, spare, 0, 0};
    spare = slot;
    alive--;
}

int refer(uint32_t slot, uint32_t field, uint64_t number)
{
    struct object *object = objects + slot;
    if (field >= object->count) {
        uint32_t count = field < 8 ? field + 1 : field + field / 2;
        uint64_t *refers = more(object->refers, object->count * sizeof *refers, count * sizeof *refers);
        if (off) return 0;
        object->refers = refers;
        object->count = count;
    }
    uint64_t now = 2 * (number + 1) | 1;
    if (object->refers[field] >> 1 != now >> 1) tell(WRITE | (uint64_t)field << 8, object->number, number);
    object->refers[field] = now;
    return 1;
}
