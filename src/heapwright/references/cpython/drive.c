/* Drives a real CPython's pymalloc with the events of a trace and says where every block lies.
 *
 *   environment  HEAPWRIGHT_LIBPYTHON: the library; PYTHONHOME: its prefix
 *   stdin        int64 slots, int64 stray: 0, or arena n begins n x stray pages beyond a multiple of
 *                its size, where Linux might have put it too; then batches: int64 count,
 *                count x struct event; count 0 ends
 *   stdout       int64 version (hexadecimal, as sys.hexversion >> 16); after each batch
 *                count x {address}, int64 rows, rows x {event, base, bytes: negative when given back};
 *                after the last batch int64 bytes and what sys._debugmallocstats() writes
 *
 * No object of Python's own lies in a pool: until the first event the domains `mem` and `obj` are
 * malloc's, through the hooks that the C API has for this, and the events go to the functions that
 * were there before. Up to 3.11 no interpreter is needed; from 3.12 on pymalloc's state is one's.
 * The functions are declared here: their shape is part of the C API since 3.4, and no header of any
 * version is needed.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { FREE, MALLOC, CALLOC, REALLOC, MEMALIGN, THREAD_EXIT, NEW };
enum { RAW, MEM, OBJ };
enum { BATCH = 1 << 15, LARGER_ARENAS = 0x030a, NEEDS_INTERPRETER = 0x030c };

struct event { int64_t size; int32_t slot; uint8_t op, align, pad[2]; };
struct allocator {
    void *ctx;
    void *(*malloc)(void *, size_t), *(*calloc)(void *, size_t, size_t);
    void *(*realloc)(void *, void *, size_t);
    void (*free)(void *, void *);
};
struct arenas {
    void *ctx;
    void *(*alloc)(void *, size_t);
    void (*free)(void *, void *, size_t);
};

static struct event batch[BATCH];
static int64_t placed[BATCH], changes[2 * BATCH][3], changed, event;
static struct arenas real;
static struct allocator python;
static void **objects;

static void take(void *into, size_t bytes) {
    for (char *at = into; bytes;) {
        ssize_t got = read(0, at, bytes);
        if (got <= 0) _exit(3); /* whoever drives us has gone */
        at += got, bytes -= got;
    }
}
static void give(const void *from, size_t bytes) {
    for (const char *at = from; bytes;) {
        ssize_t sent = write(1, at, bytes);
        if (sent <= 0) _exit(3);
        at += sent, bytes -= sent;
    }
}
static void die(const char *what) {
    fprintf(stderr, "%s", what);
    exit(4);
}

/* From 3.11 on the interpreter's frames lie in smaller chunks that come the same way. */
static int64_t arena_bytes, stray;

static void note(void *base, int64_t bytes) {
    if (llabs(bytes) != arena_bytes) return;
    if (changed == 2 * BATCH) die("more arenas than events");
    int64_t row[3] = {event, (int64_t)base, bytes};
    memcpy(changes[changed++], row, sizeof row);
}
static void *strayed(void) {
    static int64_t made;
    char *area = mmap(0, 3 * arena_bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (area == MAP_FAILED) return 0;
    int64_t start = ((int64_t)area + arena_bytes - 1) & -arena_bytes;
    return (void *)(start + (made++ * stray << 12) % arena_bytes);
}
static void *arena_alloc(void *ctx, size_t bytes) {
    int ours = stray && (int64_t)bytes == arena_bytes;
    void *base = ours ? strayed() : real.alloc(ctx, bytes);
    if (base) note(base, bytes);
    return base;
}
static void arena_free(void *ctx, void *base, size_t bytes) {
    note(base, -(int64_t)bytes);
    real.free(ctx, base, bytes);
}

static void *symbol(void *library, const char *name) {
    void *found = dlsym(library, name);
    if (!found) die(dlerror());
    return found;
}

static void *step(struct event *e) {
    void **object = e->slot < 0 ? 0 : &objects[e->slot];
    void *block = 0;
    switch (e->op) {
    case FREE:
        python.free(python.ctx, *object);
        *object = 0;
        return 0;
    case MALLOC: case NEW: block = python.malloc(python.ctx, e->size); break;
    case CALLOC: block = python.calloc(python.ctx, 1, e->size); break;
    case REALLOC:
        block = python.realloc(python.ctx, *object, e->size);
        if (!block) return *object;
        break;
    case MEMALIGN: /* pymalloc has none: malloc's, which its free passes on */
        if (posix_memalign(&block, (size_t)1 << e->align, e->size)) block = 0;
        break;
    default: return 0;
    }
    if (object) *object = block;
    else if (block) python.free(python.ctx, block); /* the real system refused */
    return object ? block : 0;
}

int main(void) {
    void *library = dlopen(getenv("HEAPWRIGHT_LIBPYTHON"), RTLD_NOW | RTLD_GLOBAL);
    if (!library) die(dlerror());
    const char *(*version)(void) = symbol(library, "Py_GetVersion");
    void (*get)(int, struct allocator *) = symbol(library, "PyMem_GetAllocator");
    void (*set)(int, struct allocator *) = symbol(library, "PyMem_SetAllocator");
    void (*get_arenas)(struct arenas *) = symbol(library, "PyObject_GetArenaAllocator");
    void (*set_arenas)(struct arenas *) = symbol(library, "PyObject_SetArenaAllocator");
    void (*initialize)(int) = symbol(library, "Py_InitializeEx");
    int (*tell)(FILE *) = symbol(library, "_PyObject_DebugMallocStats");
    int major = 0, minor = 0;
    sscanf(version(), "%d.%d", &major, &minor);
    int64_t number = major << 8 | minor, slots, count;
    arena_bytes = number < LARGER_ARENAS ? 1 << 18 : 1 << 20;
    struct allocator raw;
    get(RAW, &raw), get(OBJ, &python);
    if (python.malloc == raw.malloc) die("this Python has no pymalloc");
    set(MEM, &raw), set(OBJ, &raw);
    get_arenas(&real);
    struct arenas watched = {real.ctx, arena_alloc, arena_free};
    set_arenas(&watched);
    if (number >= NEEDS_INTERPRETER) initialize(0);
    if (changed) die("the interpreter made an arena of its own");
    take(&slots, 8), take(&stray, 8);
    objects = calloc(slots + 1, sizeof *objects);
    give(&number, 8);
    for (take(&count, 8); count; take(&count, 8)) {
        take(batch, count * sizeof *batch);
        for (int64_t i = 0; i < count; i++, event++) placed[i] = (int64_t)step(&batch[i]);
        give(placed, count * sizeof *placed);
        give(&changed, 8);
        give(changes, changed * sizeof *changes);
        changed = 0;
    }
    char *told;
    size_t bytes;
    FILE *into = open_memstream(&told, &bytes);
    set(OBJ, &python); /* it says nothing of an allocator that is not in use */
    tell(into);
    fclose(into);
    int64_t length = bytes;
    give(&length, 8);
    give(told, bytes);
    _exit(0);
}
