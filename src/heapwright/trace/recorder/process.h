/* What the whole process has in memory, now and then, so that a reader can tell which part of it the
 * recording explains. Included by recorder.c; lines of the file beside the log, see origin.h:
 *
 *   @sample NUMBER NS RSS ANON FILE HEAP STACKS MAPPED    NUMBER: of the next event; the rest bytes:
 *   /proc/self/statm ─► RSS, ANON, FILE (shared memory and this log included)
 *   /proc/self/maps, and which pages are there ─► HEAP: brk, arenas, also those of a Python's own
 *       allocator, chunks that glibc mapped; STACKS;
 *       MAPPED: other anonymous memory, which the program mapped itself
 *   @mapped CALLER CALLS BYTES LEAST MOST                 who in the program mapped anonymous memory itself
 *
 * Arenas are known by the blocks that lie in them; a stack by the guard below it; an image's .bss by the end
 * that its headers tell: Linux joins what is mapped right behind it. Called by who holds looks.looking. */
#define ARENA_SHIFT 26 /* HEAP_MAX_SIZE */
#define ARENAS 4096 /* places for heaps of arenas: beyond half of them, they count as mapped */
#define GUARD_MOST 65536
#define MAPPERS 64 /* places that map memory of which is told */
#define SAMPLES_DOUBLE 512 /* so many samples, and they are twice as far apart */
#define SEGMENTS 24 /* of an image, that are read */

static struct {
    uint64_t arena[ARENAS]; /* address >> ARENA_SHIFT, open addressing */
    uint64_t arenas;
    uint64_t samples, next; /* ns */
    struct mapper { uint64_t caller, calls, bytes, least, most; } mapper[MAPPERS];
} whole;
static __thread uint64_t my_arena __attribute__((tls_model("initial-exec")));

static uint64_t *arena_place(uint64_t base) {
    uint64_t at = base * 0x9E3779B97F4A7C15UL >> 40;
    while (whole.arena[at % ARENAS] && whole.arena[at % ARENAS] != base) at++;
    return &whole.arena[at % ARENAS];
}
static __attribute__((noinline, cold)) void new_arena(uint64_t base) {
    my_arena = base;
    for (uint64_t none = 0; whole.arenas < ARENAS / 2; none = 0) {
        uint64_t *place = arena_place(base);
        if (*place == base) return;
        if (!__atomic_compare_exchange_n(place, &none, base, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) continue;
        __atomic_fetch_add(&whole.arenas, 1, __ATOMIC_RELAXED);
        return;
    }
}
static inline void lies_in(uint64_t address) { /* a block of another arena than the main one */
    if (address >> ARENA_SHIFT != my_arena) new_arena(address >> ARENA_SHIFT);
}

struct area { uint64_t start, end; char kind[5]; int file, begins; char name[8]; }; /* begins: a file, at its begin */
static const char *hex(const char *at, uint64_t *number) {
    for (*number = 0;; at++) {
        int digit = *at >= '0' && *at <= '9' ? *at - '0' : *at >= 'a' && *at <= 'f' ? *at - 'a' + 10 : -1;
        if (digit < 0) return at;
        *number = *number << 4 | (uint64_t)digit;
    }
}
static int area_of(const char *line, struct area *area) { /* START-END KIND OFFSET DEVICE INODE NAME */
    line = hex(line, &area->start);
    if (*line++ != '-') return 0;
    line = hex(line, &area->end);
    if (*line++ != ' ' || strlen(line) < 4) return 0;
    memcpy(area->kind, line, 4);
    uint64_t offset = 0;
    for (int field = 0; field < 3; field++) {
        line += strcspn(line, " "), line += strspn(line, " ");
        if (!field) hex(line, &offset);
    }
    area->file = *line != '0';
    area->begins = area->file && !offset;
    line += strcspn(line, " "), line += strspn(line, " ");
    *area->name = 0;
    add_text(area->name, sizeof area->name, line);
    return 1;
}

static int own_data = 1; /* lies in the part of .data */
static int covers(const struct area *area, const void *what) { return area->start <= (uintptr_t)what && (uintptr_t)what < area->end; }

/* Where the image ends that is mapped from `start` on, its .bss included; 0: it is none. Its pages may go
 * meanwhile, so they are read through the system. */
static uint64_t image_end(uint64_t start) {
    struct { ElfW(Ehdr) head; ElfW(Phdr) segment[SEGMENTS]; } image = {0};
    struct iovec here = {&image, sizeof image}, there = {(void *)start, sizeof image};
    long got = syscall(SYS_process_vm_readv, getpid(), &here, 1, &there, 1, 0);
    if (got < (long)sizeof image.head || memcmp(image.head.e_ident, ELFMAG, SELFMAG)) return 0;
    uint64_t low = UINT64_MAX, high = 0;
    if (image.head.e_phoff != offsetof(typeof(image), segment)) return 0;
    for (int i = 0; i < image.head.e_phnum && i < SEGMENTS; i++) {
        const ElfW(Phdr) *part = &image.segment[i];
        if (part->p_type != PT_LOAD) continue;
        if (part->p_vaddr < low) low = part->p_vaddr & -page_bytes;
        if (part->p_vaddr + part->p_memsz > high) high = part->p_vaddr + part->p_memsz;
    }
    return high ? start + ((high - low + page_bytes - 1) & -page_bytes) : 0;
}

struct parts { uint64_t heap, stacks, mapped, ours, image_end; struct area last; };
static void add_area(struct parts *to, const struct area *area) {
    int anonymous = !area->file && area->kind[1] == 'w' && area->kind[3] == 'p', joined = to->last.end == area->start;
    if (area->begins) to->image_end = image_end(area->start);
    if (anonymous && area->start < to->image_end && area->end > to->image_end) { /* .bss, and what is joined to it */
        struct area rest = *area;
        rest.start = to->image_end;
        return to->last = *area, add_area(to, &rest);
    }
    if (anonymous && area->start >= to->image_end) {
        uint64_t pages = present(area->start, area->end), base = area->start >> ARENA_SHIFT;
        uint64_t bytes = pages == UNKNOWN_YET ? 0 : pages * page_bytes;
        int guarded = joined && to->last.kind[0] == '-' && to->last.end - to->last.start <= GUARD_MOST;
        if (area->start >= (uint64_t)TABLES && area->start < (uint64_t)WINDOW) to->ours += bytes;
        else if (starts(area->name, "[heap]") || *arena_place(base) == base) to->heap += bytes;
        else if (starts(area->name, "[stack") || guarded) to->stacks += bytes;
        else to->mapped += bytes;
    }
    /* The recorder's own data, which another run of the program has not: its file's part, and what follows it */
    if (area->kind[1] == 'w' && (covers(area, &own_data) || covers(area, &state) || covers(area, &looks))) {
        uint64_t pages = present(area->start, area->end);
        to->ours += pages == UNKNOWN_YET ? 0 : pages * page_bytes;
    }
    to->last = *area;
}

/* What is known to be heap by its own list. */
static void move_to_heap(struct parts *of, uint64_t bytes) {
    uint64_t part = bytes < of->mapped ? bytes : of->mapped;
    of->mapped -= part, of->heap += part;
}

static uint64_t numbered(const char **text) {
    uint64_t number = 0;
    while (**text == ' ') ++*text;
    while (**text >= '0' && **text <= '9') number = 10 * number + (uint64_t)(*(*text)++ - '0');
    return number;
}

static void sample_now(uint64_t number, uint64_t now) {
    static char buffer[LINE_BYTES], line[256];
    int from = opened("/proc/self/statm", O_RDONLY);
    ssize_t length = from < 0 ? 0 : syscall(SYS_read, from, buffer, sizeof buffer - 1);
    closed(from);
    buffer[length > 0 ? length : 0] = 0;
    const char *at = buffer;
    numbered(&at);
    uint64_t rss = numbered(&at) * page_bytes, file = numbered(&at) * page_bytes;
    struct parts parts = {0};
    size_t used = 0;
    from = opened("/proc/self/maps", O_RDONLY);
    while (from >= 0 && (length = syscall(SYS_read, from, buffer, sizeof buffer)) > 0)
        for (ssize_t i = 0; i < length; i++) {
            struct area area;
            if (buffer[i] != '\n') {
                if (used < sizeof line - 1) line[used++] = buffer[i];
                continue;
            }
            line[used] = 0, used = 0;
            if (area_of(line, &area)) add_area(&parts, &area);
        }
    closed(from);
    move_to_heap(&parts, arenas_resident());
    move_to_heap(&parts, looks.chunks);
    rss -= parts.ours; /* the recorder's own tables */
    const uint64_t told[] = {number, now, rss, rss - file, file, parts.heap, parts.stacks, parts.mapped};
    *line = 0;
    for (size_t i = 0; i < sizeof told / sizeof *told; i++) {
        if (i) add_text(line, sizeof line, " ");
        add_number(line, sizeof line, told[i]);
    }
    sigset_t old = hold(); /* as lines of different threads share their room */
    tell("sample", line);
    release(old);
}

static void sample(uint64_t number, uint64_t now) {
    if (now < whole.next) return;
    sample_now(number, now);
    whole.next = now + (APART_NS << (++whole.samples / SAMPLES_DOUBLE));
}

static void tell_mappers(void) {
    static char line[256];
    for (int i = 0; i < MAPPERS; i++) {
        const uint64_t *told = &whole.mapper[i].caller;
        if (!told[0]) continue;
        *line = 0;
        for (int field = 0; field < 5; field++) {
            if (field) add_text(line, sizeof line, " ");
            add_number(line, sizeof line, told[field]);
        }
        tell("mapped", line);
    }
}

/* The program's own mappings: passed on as they are, counted by who asks. */
static void count_mapped(uint64_t caller, uint64_t bytes) {
    for (uint64_t at = caller * 0x9E3779B97F4A7C15UL >> 40, turn = 0; turn < MAPPERS; turn++) {
        struct mapper *m = &whole.mapper[(at + turn) % MAPPERS];
        uint64_t none = 0;
        if (m->caller != caller
            && !__atomic_compare_exchange_n(&m->caller, &none, caller, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)
            && none != caller) continue;
        __atomic_fetch_add(&m->calls, 1, __ATOMIC_RELAXED);
        __atomic_fetch_add(&m->bytes, bytes, __ATOMIC_RELAXED);
        if (!m->least || bytes < m->least) m->least = bytes; /* a race may lose one */
        if (bytes > m->most) m->most = bytes;
        return;
    }
}
static void *mapped(void *hint, size_t length, const int how[3], off_t offset, uint64_t caller) {
    void *p = (void *)syscall(SYS_mmap, hint, length, how[0], how[1], how[2], offset);
    if (p != MAP_FAILED && how[1] & MAP_ANONYMOUS && how[1] & MAP_PRIVATE) {
        if (!python_inside) count_mapped(caller, length); /* its arenas are heap */
        if (state.phase == ON) look_if_due(now_ns());
    }
    return p;
}
void *mmap(void *hint, size_t length, int protection, int flags, int fd, off_t offset) {
    return mapped(hint, length, (const int[]){protection, flags, fd}, offset, CALLER);
}
void *mmap64(void *hint, size_t length, int protection, int flags, int fd, off_t offset) {
    return mapped(hint, length, (const int[]){protection, flags, fd}, offset, CALLER);
}
int munmap(void *p, size_t length) {
    if (state.phase == ON && length >= LARGE_BYTES) look_if_due(now_ns()); /* before it shrinks */
    return (int)syscall(SYS_munmap, p, length);
}
