/* A look: what every live block refers to, what the roots reach, and what nothing does.
 *
 * What did not change since the last look is not told. A look stops the program, so the next one is put off
 * until the program has run for as long as the last one took: at most half of the time goes to looking. */
#define _GNU_SOURCE
#include "graph.h"
#include <setjmp.h>

#define CLOCK_BIRTHS 256 /* the clock is read once in so many births */
#define FIRST_ROOM 1024

uint64_t look_every, due_births;
static uint64_t looked_at_births, earliest_ns, put_off;
static struct reference *found; /* by the scan of one block */
static uint32_t found_room;

/* Is word i of a block the next or previous link of the collector's list of all objects? */
static int is_link(const struct block *block, uint64_t i)
{
    return block->flags & TYPED && block->object >= 16 && (i + 2) * WORD_BYTES >= block->object && i * WORD_BYTES < block->object;
}

static void find_room(uint32_t count)
{
    if (count < found_room) return;
    uint32_t wider = found_room ? 2 * found_room : FIRST_ROOM;
    found = grown(found, found_room * sizeof *found, wider * sizeof *found);
    if (!off) found_room = wider;
}

void scan(uint32_t row)
{
    struct block *block = blocks + row;
    const struct reference *old = block->refers, *past = old + block->count;
    uint32_t count = 0, changed = 0;
    if (!(block->flags & TYPED) && look_for_type(block)) tell(TYPE, block->number, block->type);
    see_whether_followed(block);
    for (uint64_t i = 0; i < block->size / WORD_BYTES && !off; i++) {
        uint32_t target = is_link(block, i) ? 0 : referred(((uint64_t *)block->address)[i]);
        const struct reference *before = old < past && old->field == i ? old++ : NULL;
        if (!target && !before) continue;
        uint32_t generation = target ? blocks[target].generation : 0;
        if (!before || before->target != target || before->generation != generation) {
            tell(WRITE | i << 8, block->number, target ? blocks[target].number : NOBODY);
            changed = 1;
        }
        if (!target) continue;
        find_room(count);
        if (off) return;
        found[count++] = (struct reference){(uint32_t)i, target, generation};
    }
    if (changed && !off) keep(block, found, count);
}

static void reach(uint32_t row)
{
    if (!row || blocks[row].flags & REACHED) return;
    uint32_t height = 0;
    blocks[row].flags |= REACHED;
    pending[height++] = row;
    while (height) {
        struct block *block = blocks + pending[--height];
        for (uint32_t i = 0; i < block->count; i++) {
            struct block *target = blocks + block->refers[i].target;
            if (target->generation != block->refers[i].generation || target->flags & REACHED) continue;
            target->flags |= REACHED;
            pending[height++] = block->refers[i].target;
        }
    }
}

static void __attribute__((noinline, no_sanitize("address"))) reach_area(area words)
{
    for (uintptr_t at = (words.from + 7) & ~(uintptr_t)7; at + WORD_BYTES <= words.to; at += WORD_BYTES) {
        uint32_t row = referred(*(volatile uint64_t *)at);
        if (!row) continue;
        if (!(blocks[row].flags & ROOTED)) tell(ROOT, blocks[row].number, 0);
        blocks[row].flags |= ROOTED | FROM_ROOT;
    }
}

static void __attribute__((noinline)) look(uint64_t began_ns)
{
    jmp_buf registers;
    setjmp(registers);
    find_roots((uintptr_t)&registers);
    tell(LOOK, 0, 0);
    for (uint32_t row = 1; row < rows_used && !off; row++)
        if (blocks[row].address) scan(row);
    each_root(reach_area);
    for (uint32_t row = 1; row < rows_used; row++) {
        if (!blocks[row].address) continue;
        if (blocks[row].flags & FROM_ROOT) reach(row);
        else if (blocks[row].flags & ROOTED) {
            tell(UNROOT, blocks[row].number, 0);
            blocks[row].flags &= ~(uint32_t)ROOTED;
        }
    }
    for (uint32_t row = 1; row < rows_used; row++) {
        struct block *block = blocks + row;
        if (!block->address) continue;
        int reached = block->flags & REACHED, lost = block->flags & IS_LOST;
        if (!reached && !lost) { tell(LOST, block->number, 0); block->flags |= IS_LOST; }
        if (reached && lost) { tell(FOUND, block->number, 0); block->flags &= ~(uint32_t)IS_LOST; }
        block->flags &= ~(uint32_t)(REACHED | FROM_ROOT);
    }
    uint64_t ended_ns = now_ns(), took_ns = ended_ns - began_ns;
    tell(SEEN, took_ns, put_off);
    looked_at_births = births;
    earliest_ns = ended_ns + took_ns;
    put_off = 0;
}

void perhaps_look(void)
{
    uint64_t least = look_every > live / 2 ? look_every : live / 2, now = 0;
    due_births = looked_at_births + least;
    if (births < due_births) return;
    if ((now = now_ns()) >= earliest_ns) {
        look(now);
        due_births = births + look_every;
    } else {
        put_off = 1;
        due_births = births + CLOCK_BIRTHS;
    }
}
