/* The books of the graph recorder: the live blocks, where each lies and what it was seen to refer to.
 *
 * A reference that is null costs nothing: of a block only those words are kept that refer to another one.
 * The books are bounded: where they would take more than `books_limit`, the recording ends and says so. */
#define _GNU_SOURCE
#include "graph.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct block *blocks;
uint32_t rows_used = 1, live, *table, table_length, *pending;
uintptr_t lowest = (uintptr_t)-1, highest;
uint64_t births, books_limit;
pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t books_bytes;
static uint32_t rows_room, *spare, spare_count;

static int afford(uint64_t more)
{
    if (books_bytes + more > books_limit) { stop(BOOKS_FULL); return 0; }
    books_bytes += more;
    return 1;
}

void *grown(void *old, size_t before, size_t after)
{
    if (off || !afford(after - before)) return old;
    void *new = mmap(NULL, after, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (new == MAP_FAILED) { stop(NO_MEMORY); return old; }
    if (old) { memcpy(new, old, before); munmap(old, before); }
    return new;
}

static void enter(uint32_t row)
{
    uint32_t at = place_of(blocks[row].address);
    while (table[at]) at = (at + 1) & (table_length - 1);
    table[at] = row;
}

void leave(uint32_t row)
{
    uint32_t at = place_of(blocks[row].address), mask = table_length - 1;
    while (table[at] != row) at = (at + 1) & mask;
    for (uint32_t next = (at + 1) & mask; table[next]; next = (next + 1) & mask) {
        uint32_t home = place_of(blocks[table[next]].address);
        if (((next - home) & mask) >= ((next - at) & mask)) { table[at] = table[next]; at = next; }
    }
    table[at] = 0;
    blocks[row].address = 0;
}

void make_room(void)
{
    if (rows_used + 1 >= rows_room) {
        size_t before = rows_room, after = before ? 2 * before : 1 << 16;
        blocks = grown(blocks, before * sizeof *blocks, after * sizeof *blocks);
        spare = grown(spare, before * sizeof *spare, after * sizeof *spare);
        pending = grown(pending, before * sizeof *pending, after * sizeof *pending);
        if (off) return;
        rows_room = (uint32_t)after;
    }
    if (2 * (live + 1) >= table_length) {
        size_t before = table_length, after = before ? 2 * before : 1 << 17;
        uint32_t *wider = grown(NULL, 0, after * sizeof *table);
        if (off) return;
        if (table) munmap(table, before * sizeof *table);
        books_bytes -= before * sizeof *table;
        table = wider;
        table_length = (uint32_t)after;
        for (uint32_t row = 1; row < rows_used; row++)
            if (blocks[row].address) enter(row);
    }
}

uint32_t born(void *address, size_t size, uint32_t place)
{
    make_room();
    if (off) return 0;
    uint32_t row = spare_count ? spare[--spare_count] : rows_used++;
    blocks[row] = (struct block){.address = (uintptr_t)address, .size = size, .number = births++,
                                 .generation = blocks[row].generation + 1, .flags = ROOTED,
                                 .place = place};
    if ((uintptr_t)address < lowest) lowest = (uintptr_t)address;
    if ((uintptr_t)address + size + 1 > highest) highest = (uintptr_t)address + size + 1;
    live++;
    enter(row);
    tell(NEW, size, blocks[row].place);
    return row;
}

void bury(uint32_t row)
{
    struct block *block = blocks + row;
    tell(FREE, block->number, block->type);
    keep(block, NULL, 0);
    spare[spare_count++] = row;
    live--;
}

void bear_again(uint32_t row)
{
    struct block *block = blocks + row;
    keep(block, NULL, 0);
    block->number = births++;
    block->generation++;
    block->flags = (block->flags & TYPED) | ROOTED;
    if (block->flags & TYPED && type_kind(block->type) == TUPLE_KIND) block->flags |= FOLLOWED;
    tell(NEW, block->size, block->place);
    if (block->flags & TYPED) tell(TYPE, block->number, block->type);
}

void keep(struct block *block, const struct reference *refers, uint32_t count)
{
    if (count != block->count) {
        if (count > block->count && !afford((count - block->count) * sizeof *refers)) return;
        if (count < block->count) books_bytes -= (block->count - count) * sizeof *refers;
        free(block->refers);
        block->refers = count ? malloc(count * sizeof *refers) : NULL;
        block->count = block->refers ? count : 0;
        if (count && !block->refers) { stop(NO_MEMORY); return; }
    }
    if (count) memcpy(block->refers, refers, count * sizeof *refers);
}
