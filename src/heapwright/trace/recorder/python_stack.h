/* Which line of Python asks: the interpreter's frames as nodes of a calling-context tree. Included by
 * python.h.
 *
 *   frames, innermost first ─► (node of the caller, instruction) ─► node ─new─► a record of domain 7
 *
 * A thread keeps the nodes of its last stack by depth, so that a request looks up only what changed. The
 * table of nodes is read without a lock; who adds to it holds one. A code object that is freed takes its
 * instructions with it: its number is dead, and what is next at its address gets another.
 *
 * Frames     of this thread's state, which is found by thread and not by the interpreter lock: C code that
 *            gave the lock away has a line too. Read, never written; nothing of Python's is called but
 *            PyCode_Addr2Line, which allocates nothing.
 * Node       record MALLOC of domain 7: number; parent | code << 32; line. Code 0: a C function, and then
 *            the return address in place of a line. A code's names stand in a line of LOG.code.
 * Layout     python_layout.h */
#include "python_layout.h"
#define NODE_BIT (1UL << 47) /* no address of a program has it */
#define PYTHON_NODES (1U << 21) /* as many as a trace keeps */
#define PYTHON_CODES (1U << 20)
#define FIRST_LEADS (1UL << 12)
#define PYTHON_DEPTH 1024 /* innermost frames of a stack; the others are left out */
#define PYTHON_STREAMS 4096 /* threads alive at once that have stacks */
#define TIED (1UL << 63) /* key of a node itself; others are instructions that lead to it */

struct frames { uint64_t instruction, code; };
struct python_cache { /* of a stream */
    uint64_t generation, depth; /* of codes freed; entries of `last`, outermost first */
    struct { uint64_t instruction; uint64_t node; } last[PYTHON_DEPTH];
    struct frames now[PYTHON_DEPTH]; /* innermost first */
};
struct leads { uint64_t instruction; uint32_t parent, node; }; /* an instruction below a node: to a node */
struct lead_table { uint64_t mask; struct leads entry[]; };
struct code_table { uint64_t mask; struct { uint64_t at, number; } entry[]; };

extern const char *Py_GetVersion(void) __attribute__((weak)); /* weak: see python.h */
extern void *PyGILState_GetThisThreadState(void) __attribute__((weak));
extern int PyCode_Addr2Line(void *code, int offset) __attribute__((weak));

static struct {
    int on, stacks;
    struct python_layout in;
    const char *(*version)(void), *how; /* it was recorded; NULL of no Python */
    struct lead_table *leads;
    struct code_table *codes;
    uint64_t lead_count, code_entries, generation;
    uint32_t nodes, code_count, full; /* numbers given, from 1 on; nodes that found no room */
    uint32_t *code_of;                /* by node */
    uint8_t *alive;                   /* by code; of 0, C's, always */
    struct python_cache *caches;
    uint64_t seen[1024]; /* a bit for some of the bits of each code's address */
} python;

static struct { uint64_t given, ours; } rooms; /* bytes of tables, and of them what lies where it was asked for */
static void *python_room(size_t bytes) { /* together, where process.h takes them for the recorder's */
    char *at = TABLES + (1UL << 40) + rooms.given;
    int again = rooms.given + bytes <= rooms.ours ? MAP_FIXED : 0; /* what lay there is of a recording before */
    char *p = (char *)syscall(SYS_mmap, at, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | again, -1, 0);
    uint64_t past = rooms.given + ((bytes + HEADER_BYTES) & -(uint64_t)HEADER_BYTES);
    if (p == at && rooms.ours == rooms.given) rooms.ours = past;
    rooms.given = past;
    return p == MAP_FAILED ? NULL : p;
}
static inline uint64_t scattered(uint64_t key, uint64_t parent) {
    uint64_t mixed = (key ^ parent * 0x9e3779b97f4a7c15) * 0xd6e8feb86659fd93;
    return mixed ^ mixed >> 32;
}

/* The node that an instruction leads to below `parent`; 0 when it is new. */
static inline uint32_t led(uint32_t parent, uint64_t instruction) {
    const struct lead_table *table = __atomic_load_n(&python.leads, __ATOMIC_ACQUIRE);
    for (uint64_t at = scattered(instruction, parent);; at++) {
        const struct leads *entry = table->entry + (at & table->mask);
        uint64_t found = __atomic_load_n(&entry->instruction, __ATOMIC_ACQUIRE);
        if (!found) return 0;
        if (found == instruction && entry->parent == parent && python.alive[python.code_of[entry->node]])
            return entry->node;
    }
}

static void place_lead(struct lead_table *table, struct leads lead) {
    uint64_t at = scattered(lead.instruction, lead.parent);
    while (table->entry[at & table->mask].instruction) at++;
    struct leads *entry = table->entry + (at & table->mask);
    entry->parent = lead.parent, entry->node = lead.node;
    __atomic_store_n(&entry->instruction, lead.instruction, __ATOMIC_RELEASE);
}

static int lead(uint32_t parent, uint64_t instruction, uint32_t node) {
    struct lead_table *old = python.leads;
    if (2 * ++python.lead_count > old->mask) { /* the old one stays: others may be reading it */
        struct lead_table *larger = python_room(sizeof *old + 2 * (old->mask + 1) * sizeof *old->entry);
        if (!larger) return 0;
        larger->mask = 2 * old->mask + 1;
        for (uint64_t i = 0; i <= old->mask; i++)
            if (old->entry[i].instruction && python.alive[python.code_of[old->entry[i].node]])
                place_lead(larger, old->entry[i]);
        __atomic_store_n(&python.leads, larger, __ATOMIC_RELEASE);
    }
    place_lead(python.leads, (struct leads){instruction, parent, node});
    return 1;
}

static uint32_t code_number(uint64_t code) { /* 0 of one that is not known */
    const struct code_table *table = __atomic_load_n(&python.codes, __ATOMIC_ACQUIRE);
    for (uint64_t at = scattered(code, 0);; at++) {
        uint64_t found = __atomic_load_n(&table->entry[at & table->mask].at, __ATOMIC_ACQUIRE);
        if (!found) return 0;
        uint32_t number = table->entry[at & table->mask].number;
        if (found == code && python.alive[number]) return number;
    }
}
static void place_code(struct code_table *table, uint64_t code, uint64_t number) {
    uint64_t at = scattered(code, 0);
    while (table->entry[at & table->mask].at) at++;
    table->entry[at & table->mask].number = number;
    __atomic_store_n(&table->entry[at & table->mask].at, code, __ATOMIC_RELEASE);
}
/* A block that Python frees: if it was a code object, its instructions are nobody's any more. */
static inline void python_code_freed(void *p) {
    uint64_t bit, *word = bit_of(python.seen, p, &bit);
    if (__builtin_expect(!(*word & bit), 1)) return;
    uint32_t number = code_number((uint64_t)p);
    if (!number) return;
    python.alive[number] = 0;
    __atomic_fetch_add(&python.generation, 1, __ATOMIC_RELEASE);
}

/* The number of a code object, its names told; 0 without room. Under the lock. */
static uint32_t numbered_code(uint64_t code) {
    static char line[4096], path[sizeof state.path + 8];
    uint32_t number = code_number(code);
    if (number || python.code_count + 1 >= PYTHON_CODES) return number;
    struct code_table *old = python.codes;
    if (2 * ++python.code_entries > old->mask) {
        struct code_table *larger = python_room(sizeof *old + 2 * (old->mask + 1) * sizeof *old->entry);
        if (!larger) return 0;
        larger->mask = 2 * old->mask + 1;
        python.code_entries = 1;
        for (uint64_t i = 0; i <= old->mask; i++)
            if (old->entry[i].at && python.alive[old->entry[i].number])
                place_code(larger, old->entry[i].at, old->entry[i].number), python.code_entries++;
        __atomic_store_n(&python.codes, larger, __ATOMIC_RELEASE);
    }
    number = ++python.code_count;
    python.alive[number] = 1;
    *line = *path = 0;
    add_number(line, sizeof line, number);
    add_text(line, sizeof line, "\t");
    python_string(&python.in, line, sizeof line / 2, *(uint64_t *)(code + python.in.name));
    add_text(line, sizeof line, "\t");
    python_string(&python.in, line, sizeof line - 1, *(uint64_t *)(code + python.in.file));
    add_text(line, sizeof line, "\n");
    add_text(path, sizeof path, state.path);
    add_text(path, sizeof path, ".code");
    int fd = opened(path, O_WRONLY | O_CREAT | O_APPEND);
    if (!appended(fd, line, strlen(line))) errno = 0;
    closed(fd);
    place_code(python.codes, code, number);
    uint64_t bit, *word = bit_of(python.seen, (void *)code, &bit);
    __atomic_fetch_or(word, bit, __ATOMIC_RELEASE);
    return number;
}

static uint32_t python_new_node(uint32_t parent, uint32_t code, uint64_t where) { /* under the lock */
    uint64_t tied = TIED | ((uint64_t)code << 32 ^ where);
    uint32_t node = led(parent, tied);
    if (node) return node;
    if (python.nodes + 1 >= PYTHON_NODES) return python.full++, 0;
    uint64_t head, *place = append(MALLOC, 3, &head);
    if (!place) return 0;
    node = ++python.nodes;
    python.code_of[node] = code;
    place[1] = parent | (uint64_t)code << 32;
    place[2] = (where & LOW_48) | (uint64_t)DOMAIN_NODE << DOMAIN_SHIFT;
    __atomic_store_n(place, (uint64_t)node << 4 | head, __ATOMIC_RELEASE); /* as address >> 3 */
    return lead(parent, tied, node) ? node : 0;
}

/* The node of an instruction of `code`, or of a C function with code 0, that is new below `parent`;
 * `parent` itself without room. */
static __attribute__((noinline)) uint32_t python_meet(uint32_t parent, uint64_t instruction, uint64_t code) {
    sigset_t all, old;
    int error = errno;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    while (__atomic_exchange_n(&state.python_lock, 1, __ATOMIC_ACQUIRE)) sched_yield();
    uint32_t node = led(parent, instruction), number = 0;
    if (!node && state.phase != OFF) {
        uint64_t where = instruction;
        if (code && (number = numbered_code(code)))
            where = PyCode_Addr2Line((void *)code, (int)(instruction - code - python.in.instructions)) & 0xffffffff;
        if (!code || number) node = python_new_node(parent, number, where);
        if (node && code) lead(parent, instruction, node);
        else if (node) lead(parent, instruction, node);
    }
    __atomic_store_n(&state.python_lock, 0, __ATOMIC_RELEASE);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    errno = error;
    return node ? node : parent;
}

/* The node of this thread's Python stack; 0 where there is none. */
static uint64_t python_node(void) {
    if (!python.stacks || state.phase == OFF || waits()) return 0;
    uint64_t thread = (uint64_t)PyGILState_GetThisThreadState(), stream = mine - state.stream;
    if (!thread || !stream || stream >= PYTHON_STREAMS) return 0;
    uint64_t frame = python_frame(&python.in, thread);
    struct python_cache *cache = python.caches + stream;
    struct frames *now = cache->now;
    int count = 0;
    for (; frame && count < PYTHON_DEPTH; frame = python_word(frame, python.in.previous)) {
        if (*(char *)(frame + python.in.owner) >= python.in.on_c_stack) continue;
        now[count].instruction = python_word(frame, python.in.instruction);
        now[count++].code = python_word(frame, python.in.executable) & -16UL; /* from 3.14 on tagged */
    }
    uint64_t generation = __atomic_load_n(&python.generation, __ATOMIC_ACQUIRE);
    if (cache->generation != generation) cache->generation = generation, cache->depth = 0;
    int known = cache->depth, depth = 0;
    uint32_t node = 0;
    for (; depth < count && depth < known; depth++) {
        if (cache->last[depth].instruction != now[count - 1 - depth].instruction) break;
        node = cache->last[depth].node;
    }
    for (; depth < count; depth++) {
        const struct frames *f = now + count - 1 - depth;
        uint32_t next = led(node, f->instruction);
        node = next ? next : python_meet(node, f->instruction, f->code);
        cache->last[depth].instruction = f->instruction;
        cache->last[depth].node = node;
    }
    cache->depth = count;
    return node;
}

/* What C code's malloc is known by in a Python program: the function below the line that called it. */
static inline uint64_t python_site(uint64_t caller) {
    if (!python.on) return caller;
    uint32_t node = python_node();
    if (!node) return caller;
    uint32_t native = led(node, caller | TIED >> 1);
    return NODE_BIT | (native ? native : python_meet(node, caller | TIED >> 1, 0));
}

/* Find where things lie in this Python; 0 where that is not known. */
static int python_stacks_begin(void) {
    const struct python_layout *layout = python_layout(python.version());
    if (!layout || !PyGILState_GetThisThreadState || !PyCode_Addr2Line) return 0;
    python.in = *layout;
    python.leads = python_room(sizeof *python.leads + FIRST_LEADS * sizeof *python.leads->entry);
    python.codes = python_room(sizeof *python.codes + FIRST_LEADS * sizeof *python.codes->entry);
    python.code_of = python_room(PYTHON_NODES * sizeof *python.code_of);
    python.alive = python_room(PYTHON_CODES);
    python.caches = python_room(PYTHON_STREAMS * sizeof *python.caches);
    if (!python.leads || !python.codes || !python.code_of || !python.alive || !python.caches) return 0;
    python.leads->mask = python.codes->mask = FIRST_LEADS - 1;
    python.alive[0] = 1;
    return python.stacks = 1;
}
