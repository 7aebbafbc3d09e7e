/* Record the object graph of a CPython program: an LD_PRELOAD library.
 *
 *   PyMem_*, PyObject_* ─► the interpreter's own allocators     births and deaths of blocks, exact
 *                     └─► a look, every so many births           references: the words of every live
 *                         (graph_look.c)                         block that point to another one
 *   gc.callbacks    ─► each collection (graph_collect.c)         what it is about to collect, and what it did
 * A block is what Python asks its allocators for: an object with what lies before it, or a table that an
 * object refers to. A word refers to a block if it holds the block's address or one up to 32 bytes on:
 * objects lie behind the collector's links and the pointers of managed dictionaries, an instance's values
 * behind their order. What the collector's list of all objects links is no reference and left out.
 *
 * Roots at a look: words of the stack, of the writable data of every library and of Python's frames,
 * which refer to a block. A block that cannot be reached from these is told as LOST; if it can at a
 * later look, as FOUND: then memory that is not followed had held it, C's malloc or another thread's stack. */
#define _GNU_SOURCE
#include "graph.h"
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

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

static allocator original[3];
static arena_allocator original_arena;
static __thread int inside; /* an allocator may call another one, which is no birth of its own */

static void forked(void) /* the child is not recorded; who held the lock is not in it */
{
    off = 1;
    pthread_mutex_init(&lock, NULL);
}

static void *began(size_t size, void *address)
{
    if (!address || off) return address;
    pthread_mutex_lock(&lock);
    if (!off) see_thresholds();
    if (!off) born(address, size, place_now());
    pthread_mutex_unlock(&lock);
    return address;
}

static void before_a_birth(void)
{
    if (!hooking && !off) perhaps_hook();
    if (off || births < due_births) return;
    pthread_mutex_lock(&lock);
    if (!off) perhaps_look();
    pthread_mutex_unlock(&lock);
}

static void *our_malloc(void *ctx, size_t size)
{
    allocator *of = ctx;
    if (inside || off) return of->malloc(of->ctx, size);
    inside = 1;
    before_a_birth();
    void *address = began(size, of->malloc(of->ctx, size));
    inside = 0;
    return address;
}

static void *our_calloc(void *ctx, size_t count, size_t size)
{
    allocator *of = ctx;
    if (inside || off) return of->calloc(of->ctx, count, size);
    inside = 1;
    before_a_birth();
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
            if (!(blocks[row].flags & TYPED)) look_for_type(blocks + row); /* told with its FREE */
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
        if (old) leave(old);
        uint32_t row = born(moved, size, place_now());
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
    if (address) frames_came((uintptr_t)address, size);
    return address;
}

static void arena_free(void *ctx, void *address, size_t size)
{
    (void)ctx;
    frames_went((uintptr_t)address);
    original_arena.free(original_arena.ctx, address, size);
}

static void __attribute__((constructor)) begin(void)
{
    const char *path = getenv("HEAPWRIGHT_GRAPH"), *every = getenv("HEAPWRIGHT_GRAPH_EVERY");
    const char *books = getenv("HEAPWRIGHT_GRAPH_BOOKS"), *log = getenv("HEAPWRIGHT_GRAPH_LOG");
    void (*get)(int, allocator *) = dlsym(RTLD_DEFAULT, "PyMem_GetAllocator");
    void (*set)(int, allocator *) = dlsym(RTLD_DEFAULT, "PyMem_SetAllocator");
    void (*get_arena)(arena_allocator *) = dlsym(RTLD_DEFAULT, "PyObject_GetArenaAllocator");
    void (*set_arena)(arena_allocator *) = dlsym(RTLD_DEFAULT, "PyObject_SetArenaAllocator");
    type_of_types = (uintptr_t)dlsym(RTLD_DEFAULT, "PyType_Type");
    type_of_tuples = (uintptr_t)dlsym(RTLD_DEFAULT, "PyTuple_Type");
    type_of_dicts = (uintptr_t)dlsym(RTLD_DEFAULT, "PyDict_Type");
    if (!path || !every || !books || !log || !get || !set || !get_arena || !set_arena || !type_of_types) return;
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    unsetenv("LD_PRELOAD"); /* the first interpreter is recorded, not its children */
    unsetenv("HEAPWRIGHT_GRAPH");
    if (file < 0) return;
    open_log(file, strtoull(log, NULL, 10));
    books_limit = strtoull(books, NULL, 10);
    due_births = look_every = strtoull(every, NULL, 10);
    off = 0;
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
}

static void __attribute__((destructor)) end(void)
{
    pthread_mutex_lock(&lock);
    stop(ENDED);
    pthread_mutex_unlock(&lock);
}

void _exit(int status) /* os._exit runs no destructor */
{
    end();
    for (;;) syscall(SYS_exit_group, status);
}
