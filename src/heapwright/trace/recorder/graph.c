/* Record the object graph of a CPython program: an LD_PRELOAD library.
 *
 *   PyMem_*, PyObject_* ─► the interpreter's own allocators     births and deaths of blocks, exact
 *                     └─► a look, every so many births           references: the words of every live
 *                                                                block that point to another one
 * A block is what Python asks its allocators for: an object with what lies before it, or a table that an
 * object refers to. A word refers to a block if it holds the block's address or one up to 32 bytes on:
 * objects lie behind the collector's links and the pointers of managed dictionaries, an instance's values
 * behind their order. What the collector's list of all objects links is no reference and left out.
 *
 * Roots at a look: words of the stack, of the writable data of every library and of Python's frames,
 * which refer to a block. A block that cannot be reached from these is told as LOST; if it can at a
 * later look, as FOUND: then memory that is not followed had held it, C's malloc or another thread's stack.
 *
 * Log   64-bit words, three a row: op | field << 8, two operands; a block's number is that of its birth.
 *         NEW size, -    FREE block, -    WRITE block, block it refers to now or -1
 *         ROOT, UNROOT, LOST, FOUND block, -        LOOK, SEEN around the rows of a look
 *         TYPE block, type    NAME type, eight bytes of its name; the field says which
 *         END: the program has ended
 *       A realloc is NEW, its WRITEs, FREE: the content has moved. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { NEW = 1, FREE, WRITE, ROOT, UNROOT, LOST, FOUND, LOOK, SEEN, TYPE, NAME, END };
enum { ROOTED = 1, REACHED = 2, IS_LOST = 4, TYPED = 8 };
#define NOBODY ((uint64_t)-1)
#define ROW_WORDS 3
#define LOG_ROWS 32768
#define AREAS 4096
#define FRAMES_LIMIT (256 << 10) /* bytes; a larger area of the interpreter's arena allocator holds blocks */
#define TYPE_BYTES 400        /* PyTypeObject is no shorter */
#define NAME_WORD 3           /* of PyTypeObject: tp_name, tp_flags */
#define FLAGS_WORD 21
#define TYPE_SUBCLASS (1UL << 31) /* Py_TPFLAGS_TYPE_SUBCLASS */
#define WORD_BYTES sizeof(uint64_t)

struct block {
    uintptr_t address;
    uint64_t size, number;
    uint32_t *refers; /* of each word: 1 + index of the block it refers to; 0 none */
    uint64_t *number_of; /* of each word: that block's number, as an index is reused */
    uint32_t flags, type, object; /* object: its offset in the block, once TYPED */
};
typedef struct { uintptr_t from, to; } area;
typedef struct {
    void *ctx;
    void *(*malloc)(void *, size_t);
    void *(*calloc)(void *, size_t, size_t);
    void *(*realloc)(void *, void *, size_t);
    void (*free)(void *, void *);
} allocator; /* PyMemAllocatorEx */
typedef struct {
    void *ctx;
    void *(*alloc)(void *, size_t);
    void (*free)(void *, void *, size_t);
} arena_allocator; /* PyObjectArenaAllocator */

static struct block *blocks; /* row 0 is none */
static uint32_t rows_used = 1, rows_room, *spare, spare_count;
static uint32_t *table, table_length, live; /* open addressing: row of a block, by its address */
static uint32_t *pending, pending_room; /* blocks reached and not yet followed */
static uint64_t log_rows[LOG_ROWS * ROW_WORDS], births, since_look, look_every;
static uint32_t log_fill;
static int log_file = -1, off = 1;
static area frames[AREAS], data[AREAS];
static int frame_areas, data_areas;
static uintptr_t type_of_types;
static uintptr_t lowest = (uintptr_t)-1, highest;
static allocator original[3];
static arena_allocator original_arena;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static __thread int inside; /* an allocator may call another one, which is no birth of its own */

static void stop(void) { off = 1; }

static void forked(void) /* the child is not recorded; who held the lock is not in it */
{
    off = 1;
    pthread_mutex_init(&lock, NULL);
}

static void flush(void)
{
    char *from = (char *)log_rows;
    size_t left = (size_t)log_fill * ROW_WORDS * WORD_BYTES;
    while (left) {
        ssize_t written = write(log_file, from, left);
        if (written <= 0) { stop(); break; }
        from += written;
        left -= (size_t)written;
    }
    log_fill = 0;
}

static void tell(uint64_t head, uint64_t first, uint64_t second)
{
    uint64_t *row = log_rows + log_fill * ROW_WORDS;
    row[0] = head, row[1] = first, row[2] = second;
    if (++log_fill == LOG_ROWS) flush();
}

/* The table of live blocks */

static void *grown(void *old, size_t before, size_t after)
{
    void *new = mmap(NULL, after, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (new == MAP_FAILED) { stop(); return NULL; }
    if (old) { memcpy(new, old, before); munmap(old, before); }
    return new;
}

static uint32_t place_of(uintptr_t address) { return (uint32_t)((address >> 3) * 0x9E3779B97F4A7C15u >> 32) & (table_length - 1); }

static uint32_t find(uintptr_t address)
{
    for (uint32_t at = place_of(address); table[at]; at = (at + 1) & (table_length - 1))
        if (blocks[table[at]].address == address) return table[at];
    return 0;
}

static void enter(uint32_t row)
{
    uint32_t at = place_of(blocks[row].address);
    while (table[at]) at = (at + 1) & (table_length - 1);
    table[at] = row;
}

static void leave(uint32_t row)
{
    uint32_t at = place_of(blocks[row].address), mask = table_length - 1;
    while (table[at] != row) at = (at + 1) & mask;
    for (uint32_t next = (at + 1) & mask; table[next]; next = (next + 1) & mask) {
        uint32_t home = place_of(blocks[table[next]].address);
        if (((next - home) & mask) >= ((next - at) & mask)) { table[at] = table[next]; at = next; }
    }
    table[at] = 0;
}

static void make_room(void)
{
    if (rows_used + 1 >= rows_room) {
        size_t before = rows_room, after = before ? 2 * before : 1 << 16;
        blocks = grown(blocks, before * sizeof *blocks, after * sizeof *blocks);
        spare = grown(spare, before * sizeof *spare, after * sizeof *spare);
        rows_room = (uint32_t)after;
    }
    if (2 * (live + 1) >= table_length) {
        size_t before = table_length, after = before ? 2 * before : 1 << 17;
        if (table) munmap(table, before * sizeof *table);
        table = grown(NULL, 0, after * sizeof *table);
        table_length = (uint32_t)after;
        for (uint32_t row = 1; table && row < rows_used; row++)
            if (blocks[row].address) enter(row);
    }
}

/* What a word refers to */

static uint32_t referred(uint64_t word)
{
    uintptr_t address = (uintptr_t)word & ~(uintptr_t)7;
    if (address < lowest || address >= highest) return 0;
    for (uintptr_t offset = 0; offset <= 32; offset += 8) {
        uint32_t row = find(address - offset);
        if (row) return offset < blocks[row].size || !offset ? row : 0;
    }
    return 0;
}

static int readable(uintptr_t address, size_t length)
{
    uint32_t row = referred(address);
    if (row && length <= blocks[row].address + blocks[row].size - address) return 1;
    for (int i = 0; i < data_areas; i++)
        if (data[i].from <= address && address < data[i].to && length <= data[i].to - address) return 1;
    return 0;
}

/* Is there a type at `address`: an instance of `type`, or of a type whose flags say that it derives from it? */
static int is_type(uintptr_t address)
{
    if (!readable(address, TYPE_BYTES)) return 0;
    uintptr_t of = ((uintptr_t *)address)[1];
    if (of == type_of_types) return 1;
    return readable(of, TYPE_BYTES) && ((uintptr_t *)of)[1] == type_of_types && ((uint64_t *)of)[FLAGS_WORD] & TYPE_SUBCLASS;
}

#define KNOWN_TYPES 4096
#define NAME_WORDS 12
static uintptr_t known_types[KNOWN_TYPES];
static uint32_t type_count;

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
    for (size_t i = 0; i < NAME_WORDS && text[i]; i++) tell(NAME | i << 8, at + 1, text[i]);
    return at + 1;
}

/* Find the object in a block: the first of the three places whose second word is a type. */
static void look_for_type(struct block *block)
{
    for (uint32_t offset = 0; offset <= 32 && offset + 16 <= block->size; offset += 16) {
        uintptr_t type = ((uintptr_t *)(block->address + offset))[1];
        uint32_t number = type & 7 ? 0 : type_number(type);
        if (!number) continue;
        block->flags |= TYPED;
        block->object = offset;
        if (number != block->type) tell(TYPE, block->number, number);
        block->type = number;
        return;
    }
}

/* Is word i of a block the next or previous link of the collector's list of all objects? */
static int is_link(const struct block *block, uint64_t i)
{
    return block->flags & TYPED && block->object >= 16 && (i + 2) * WORD_BYTES >= block->object && i * WORD_BYTES < block->object;
}

static void scan(uint32_t row)
{
    struct block *block = blocks + row;
    uint64_t words = block->size / WORD_BYTES;
    if (!(block->flags & TYPED)) look_for_type(block);
    if (!block->refers && words) {
        block->refers = calloc(words, sizeof *block->refers);
        block->number_of = calloc(words, sizeof *block->number_of);
        if (!block->refers || !block->number_of) { stop(); return; }
    }
    for (uint64_t i = 0; i < words; i++) {
        uint32_t target = is_link(block, i) ? 0 : referred(((uint64_t *)block->address)[i]);
        uint64_t number = target ? blocks[target].number : NOBODY;
        if (target == block->refers[i] && (!target || number == block->number_of[i])) continue;
        block->refers[i] = target, block->number_of[i] = number;
        tell(WRITE | i << 8, block->number, number);
    }
}

/* Roots */

static void read_maps(uintptr_t stack, area *stacks, int *stack_areas)
{
    static char text[1 << 20];
    int file = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    size_t length = 0;
    for (ssize_t got; file >= 0 && (got = read(file, text + length, sizeof text - 1 - length)) > 0;) length += (size_t)got;
    if (file >= 0) close(file);
    text[length] = 0;
    data_areas = *stack_areas = 0;
    uintptr_t file_end = 0;
    Dl_info own;
    const char *self = dladdr((void *)read_maps, &own) ? strrchr(own.dli_fname, '/') : NULL;
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
        *end = 0;
        uintptr_t from, to;
        char rights[5], *path = strchr(line, '/');
        if (sscanf(line, "%lx-%lx %4s", &from, &to, rights) != 3) continue;
        int ours = path && self && strstr(path, self);
        if (rights[1] == 'w' && rights[3] == 'p' && !ours && data_areas < AREAS && *stack_areas < 4) {
            if ((stack >= from && stack < to) || strstr(line, "[stack]")) {
                stacks[*stack_areas].from = stack >= from && stack < to ? stack : from;
                stacks[(*stack_areas)++].to = to;
            } else if (path || (from == file_end && !strchr(line, '['))) {
                data[data_areas].from = from;
                data[data_areas++].to = to;
            }
        }
        if (path) file_end = ours ? 0 : to;
        else if (from == file_end) file_end = 0;
    }
}

static void reach(uint32_t row)
{
    if (!row || blocks[row].flags & REACHED) return;
    uint32_t height = 0;
    blocks[row].flags |= REACHED;
    pending[height++] = row;
    while (height) {
        struct block *block = blocks + pending[--height];
        for (uint64_t i = 0; block->refers && i < block->size / WORD_BYTES; i++) {
            uint32_t target = block->refers[i];
            if (!target || blocks[target].number != block->number_of[i] || blocks[target].flags & REACHED) continue;
            blocks[target].flags |= REACHED;
            pending[height++] = target;
        }
    }
}

static void __attribute__((noinline, no_sanitize("address"))) reach_area(area words)
{
    for (uintptr_t at = (words.from + 7) & ~(uintptr_t)7; at + WORD_BYTES <= words.to; at += WORD_BYTES) {
        uint32_t row = referred(*(volatile uint64_t *)at);
        if (!row) continue;
        if (!(blocks[row].flags & ROOTED)) tell(ROOT, blocks[row].number, 0);
        blocks[row].flags |= ROOTED | REACHED << 8;
    }
}

static void __attribute__((noinline)) look(void)
{
    jmp_buf registers;
    area stacks[4];
    int stack_areas;
    setjmp(registers);
    if (pending_room < rows_room) {
        pending = grown(pending, pending_room * sizeof *pending, rows_room * sizeof *pending);
        pending_room = rows_room;
    }
    if (off) return;
    read_maps((uintptr_t)&registers, stacks, &stack_areas);
    tell(LOOK, 0, 0);
    for (uint32_t row = 1; row < rows_used; row++)
        if (blocks[row].address) scan(row);
    for (int i = 0; i < stack_areas; i++) reach_area(stacks[i]);
    for (int i = 0; i < data_areas; i++) reach_area(data[i]);
    for (int i = 0; i < frame_areas; i++) reach_area(frames[i]);
    for (uint32_t row = 1; row < rows_used; row++) {
        if (!blocks[row].address) continue;
        if (blocks[row].flags & REACHED << 8) reach(row);
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
        block->flags &= ~(uint32_t)(REACHED | REACHED << 8);
    }
    tell(SEEN, 0, 0);
    since_look = 0;
}

/* Births and deaths */

static uint32_t born(void *address, size_t size)
{
    make_room();
    if (off) return 0;
    uint32_t row = spare_count ? spare[--spare_count] : rows_used++;
    blocks[row] = (struct block){.address = (uintptr_t)address, .size = size, .number = births++, .flags = ROOTED};
    if ((uintptr_t)address < lowest) lowest = (uintptr_t)address;
    if ((uintptr_t)address + size + 1 > highest) highest = (uintptr_t)address + size + 1;
    live++;
    since_look++;
    enter(row);
    tell(NEW, size, 0);
    return row;
}

static void bury(uint32_t row)
{
    struct block *block = blocks + row;
    tell(FREE, block->number, 0);
    free(block->refers);
    free(block->number_of);
    block->address = 0;
    spare[spare_count++] = row;
    live--;
}

static void *began(size_t size, void *address)
{
    if (!address || off) return address;
    pthread_mutex_lock(&lock);
    if (!off) born(address, size);
    pthread_mutex_unlock(&lock);
    return address;
}

static void perhaps_look(void)
{
    if (since_look < look_every || since_look < live / 2 || off) return;
    pthread_mutex_lock(&lock);
    if (since_look >= look_every && !off) look();
    pthread_mutex_unlock(&lock);
}

static void *our_malloc(void *ctx, size_t size)
{
    allocator *of = ctx;
    if (inside || off) return of->malloc(of->ctx, size);
    inside = 1;
    perhaps_look();
    void *address = began(size, of->malloc(of->ctx, size));
    inside = 0;
    return address;
}

static void *our_calloc(void *ctx, size_t count, size_t size)
{
    allocator *of = ctx;
    if (inside || off) return of->calloc(of->ctx, count, size);
    inside = 1;
    perhaps_look();
    void *address = began(count * size, of->calloc(of->ctx, count, size));
    inside = 0;
    return address;
}

static void our_free(void *ctx, void *address)
{
    allocator *of = ctx;
    if (address && !inside && !off) {
        pthread_mutex_lock(&lock);
        uint32_t row = off ? 0 : find((uintptr_t)address);
        if (row) {
            if (!(blocks[row].flags & TYPED)) look_for_type(blocks + row);
            leave(row);
            bury(row);
        }
        pthread_mutex_unlock(&lock);
    }
    of->free(of->ctx, address);
}

static void *our_realloc(void *ctx, void *address, size_t size)
{
    allocator *of = ctx;
    if (inside || off) return of->realloc(of->ctx, address, size);
    inside = 1;
    pthread_mutex_lock(&lock); /* the old address must not be another's before we know */
    void *moved = of->realloc(of->ctx, address, size);
    if (moved && !off) {
        uint32_t old = address ? find((uintptr_t)address) : 0;
        if (old) {
            leave(old);
            blocks[old].address = 0;
        }
        uint32_t row = born(moved, size);
        if (row && old) {
            scan(row);
            bury(old);
        }
    }
    pthread_mutex_unlock(&lock);
    inside = 0;
    return moved;
}

static void *arena_alloc(void *ctx, size_t size)
{
    (void)ctx;
    void *address = original_arena.alloc(original_arena.ctx, size);
    if (address && size < FRAMES_LIMIT && frame_areas < AREAS)
        frames[frame_areas++] = (area){(uintptr_t)address, (uintptr_t)address + size};
    return address;
}

static void arena_free(void *ctx, void *address, size_t size)
{
    (void)ctx;
    for (int i = 0; i < frame_areas; i++)
        if (frames[i].from == (uintptr_t)address) { frames[i] = frames[--frame_areas]; break; }
    original_arena.free(original_arena.ctx, address, size);
}

static void __attribute__((constructor)) begin(void)
{
    const char *path = getenv("HEAPWRIGHT_GRAPH"), *every = getenv("HEAPWRIGHT_GRAPH_EVERY");
    void (*get)(int, allocator *) = dlsym(RTLD_DEFAULT, "PyMem_GetAllocator");
    void (*set)(int, allocator *) = dlsym(RTLD_DEFAULT, "PyMem_SetAllocator");
    void (*get_arena)(arena_allocator *) = dlsym(RTLD_DEFAULT, "PyObject_GetArenaAllocator");
    void (*set_arena)(arena_allocator *) = dlsym(RTLD_DEFAULT, "PyObject_SetArenaAllocator");
    type_of_types = (uintptr_t)dlsym(RTLD_DEFAULT, "PyType_Type");
    if (!path || !every || !get || !set || !get_arena || !set_arena || !type_of_types) return;
    log_file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    unsetenv("LD_PRELOAD"); /* the first interpreter is recorded, not its children */
    unsetenv("HEAPWRIGHT_GRAPH");
    if (log_file < 0) return;
    look_every = strtoull(every, NULL, 10);
    make_room();
    pthread_atfork(NULL, NULL, forked);
    for (int domain = 0; domain < 3; domain++) {
        get(domain, original + domain);
        allocator ours = {original + domain, our_malloc, our_calloc, our_realloc, our_free};
        set(domain, &ours);
    }
    get_arena(&original_arena);
    arena_allocator arenas = {NULL, arena_alloc, arena_free};
    set_arena(&arenas);
    off = 0;
}

static void __attribute__((destructor)) end(void)
{
    pthread_mutex_lock(&lock);
    if (!off) {
        tell(END, 0, 0);
        flush();
    }
    off = 1;
    pthread_mutex_unlock(&lock);
}

void _exit(int status) /* os._exit runs no destructor */
{
    end();
    for (;;) syscall(SYS_exit_group, status);
}
