/* What the parts of the graph recorder share.
 *
 *   graph.c ─► graph_collect.c, graph_look.c ─► graph_types.c ─► graph_roots.c ─► graph_blocks.c ─► graph_log.c
 *         └──► graph_lines.c ─► graph_blocks.c
 *
 * Log   64-bit words, three a row: op | field << 8, two operands; a block's number is that of its birth.
 *         NEW size, place that asks or 0    FREE block, type    WRITE block, block it refers to now or -1
 *         ROOT, UNROOT, LOST, FOUND block, -
 *         LOOK, SEEN around the rows of a look; SEEN how long it took in ns, how many were put off before
 *         TYPE block, type    NAME type, eight bytes of its name; the field says which
 *         END reason, bytes of the books at their largest
 *         KIND type, what Python's collector must know of its instances    TRACKED block, 0 or 1 + the generation in which it follows it
 *         COUNTED generation, its count; 3 + generation, its threshold    BEGUN generation | 16 if of itself, time to foresee it in ns
 *         OVER objects collected, objects that could not be    VERSION Py_Version, -
 *         PLACE place, eight bytes of its text; the field says which
 *       A realloc is NEW, its WRITEs, FREE: the content has moved. */
#ifndef GRAPH_H
#define GRAPH_H
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

enum { NEW = 1, FREE, WRITE, ROOT, UNROOT, LOST, FOUND, LOOK, SEEN, TYPE, NAME, END, KIND, TRACKED, COUNTED, BEGUN, OVER, VERSION, PLACE = 20 }; /* 19: java.h */
enum { ENDED, BOOKS_FULL, LOG_FULL, NO_MEMORY }; /* END's reasons */
enum { ROOTED = 1, REACHED = 2, IS_LOST = 4, TYPED = 8, FROM_ROOT = 16, IN_SET = 32, SPARED = 64, FOLLOWED = 128, DOOMED = 256, AGE = 512 };
#define AGES (3u * AGE) /* bits of the age: 0 not known, else 1 + the generation in which a reader has the object */
enum { ATOM_KIND, CONTAINER_KIND, TUPLE_KIND, DICT_KIND };
#define NOBODY ((uint64_t)-1)
#define WORD_BYTES sizeof(uint64_t)

struct reference { uint32_t field, target, generation; }; /* target: its row, in that generation */
struct block {
    uintptr_t address; /* 0 of a row that is not in use */
    uint64_t size, number;
    struct reference *refers; /* those that the last look saw, by field */
    uint32_t count, generation; /* generation: how often the row was used */
    uint32_t flags, type, object, place; /* object: its offset in the block, once TYPED; place: that asked for it */
};
typedef struct { uintptr_t from, to; } area;

#pragma GCC visibility push(hidden) /* the program may have functions of the same names */

/* graph_log.c */
extern int off; /* 1 before the recording begins and after it ended */
void open_log(int file, uint64_t limit_bytes);
void tell(uint64_t head, uint64_t first, uint64_t second);
void stop(uint64_t reason); /* the recording ends here */
uint64_t now_ns(void);

/* graph_blocks.c */
extern struct block *blocks; /* row 0 is none */
extern uint32_t rows_used, live;
extern uint32_t *table, table_length; /* open addressing: row of a block, by its address */
extern uint32_t *pending; /* as long as `blocks`: reached and not yet followed */
extern uintptr_t lowest, highest; /* of all blocks ever */
extern uint64_t births, books_limit;
extern pthread_mutex_t lock; /* of the books */
void make_room(void); /* for one more block, or the recording ends */
uint32_t born(void *address, size_t size, uint32_t place);
void leave(uint32_t row); /* the block is no longer where it was; `bury` follows */
void bury(uint32_t row);
void bear_again(uint32_t row); /* told as dead, it is still there: another object of the same type */
void keep(struct block *block, const struct reference *refers, uint32_t count);
void *grown(void *old, size_t before, size_t after); /* bytes of the books; `old` if there is no room */

/* graph_lines.c */
uint32_t place_now(void); /* number of the line of Python that runs; 0 of none */

/* graph_roots.c */
void find_roots(uintptr_t stack); /* stack: the lowest address of it that counts */
void each_root(void (*visit)(area));
void frames_came(uintptr_t from, size_t size);
void frames_went(uintptr_t from);
int readable(uintptr_t address, size_t length);

/* graph_types.c */
extern uintptr_t type_of_types, type_of_tuples, type_of_dicts;
int type_kind(uint32_t type);
void see_whether_followed(struct block *block); /* a tuple or a dictionary, by Python's collector */
int look_for_type(struct block *block); /* whether the block turned out to be of another type than known */

/* graph_collect.c */
extern int hooking; /* 0: its callback is not asked for yet */
void perhaps_hook(void);
void see_thresholds(void); /* tell those that changed */

/* graph_look.c */
void scan(uint32_t row); /* what the block refers to now */
void perhaps_look(void);
extern uint64_t look_every, due_births; /* before so many births there is no look */

#pragma GCC visibility pop

/* The next one in a ring of Python's collector; its low bits are flags */
static inline uintptr_t next_of(uintptr_t head) { return *(uintptr_t *)head & ~(uintptr_t)3; }

static inline uint32_t place_of(uintptr_t address)
{
    return (uint32_t)((address >> 3) * 0x9E3779B97F4A7C15u >> 32) & (table_length - 1);
}

static inline uint32_t find(uintptr_t address)
{
    for (uint32_t at = place_of(address); table[at]; at = (at + 1) & (table_length - 1))
        if (blocks[table[at]].address == address) return table[at];
    return 0;
}

/* Which block a word refers to, 0 for none; blocks begin at multiples of 16 */
static inline uint32_t referred(uint64_t word)
{
    uintptr_t address = (uintptr_t)word & ~(uintptr_t)7;
    if (address < lowest || address >= highest) return 0;
    for (uintptr_t offset = address & 8; offset <= 32; offset += 16) {
        uint32_t row = find(address - offset);
        if (row) return offset < blocks[row].size || !offset ? row : 0;
    }
    return 0;
}
#endif
