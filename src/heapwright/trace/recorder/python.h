/* What a Python program asks its own allocators for, with the line that asks. Included by recorder.c.
 *
 *   PyMem_RawMalloc, PyMem_Malloc, PyObject_Malloc ─► hook ─► CPython's allocator ─► malloc, arena
 *                                                      └► one record: domain, node of the Python stack
 * What CPython's allocator itself asks of malloc meanwhile is no record: each request stands once, as the
 * program made it. C code's own malloc stays one, below the line that called it.
 *
 * Hooks      set by the constructor, before main: CPython's allocators are in static memory. Where they
 *            are replaced later (PYTHONMALLOC, -X dev) no request of the domains mem and object comes.
 * Record     of MALLOC and its like; the third word has the domain in bits 56-58, and in its low 48
 *            bits NODE_BIT | node, node 0 for none. Domain 6: an arena, made (third word 0) or given back
 *            (1); 7: what a node is, see python_stack.h. */
enum { DOMAIN_MALLOC, DOMAIN_RAW, DOMAIN_MEM, DOMAIN_OBJECT, DOMAIN_ARENA = 6, DOMAIN_NODE };
#define DOMAIN_SHIFT 56
#define POOLED_BYTES 512 /* larger ones pymalloc passes on */

typedef struct {
    void *ctx;
    void *(*malloc)(void *, size_t);
    void *(*calloc)(void *, size_t, size_t);
    void *(*realloc)(void *, void *, size_t);
    void (*free)(void *, void *);
} python_allocator; /* PyMemAllocatorEx */
typedef struct {
    void *ctx;
    void *(*alloc)(void *, size_t);
    void (*free)(void *, void *, size_t);
} python_arenas; /* PyObjectArenaAllocator */

static struct { python_allocator domain[3]; python_arenas arenas; int pools; } cpython; /* as they were */

#include "python_stack.h"

/* A record of Python's: `slack` unknown (-1) or usable less requested bytes. */
static inline void python_given(uint64_t op, void *p, size_t size, int domain, void *from_ground) {
    uint64_t node = python_node(), head, *place = append(op, 3, &head), slack = 0xffff;
    if (!place) return;
    if (p && p == from_ground) slack = usable(p) - size;
    else if (p && cpython.pools && domain != DOMAIN_RAW && size <= POOLED_BYTES) slack = -size & 15;
    place[1] = (size < LOW_48 ? size : LOW_48) | (slack < 0xffff ? slack : 0xffff) << 48;
    place[2] = NODE_BIT | node | (uint64_t)domain << DOMAIN_SHIFT;
    __atomic_store_n(place, PLACED(p) | head, __ATOMIC_RELEASE);
    if (__builtin_expect(size >= LARGE_BYTES, 0) && p && p == from_ground) python_large(p, size, op == CALLOC ? ZEROS : op == REALLOC ? CARRIED : ANYTHING);
}

/* What lies below is CPython's own doing: `call`, whose answer is `p`. */
#define BELOW(call) (python_inside++, python_ground = NULL, call, python_inside--, python_ground)

static inline void *python_alloc(int domain, size_t size) {
    const python_allocator *of = cpython.domain + domain - 1;
    if (python_inside) return of->malloc(of->ctx, size);
    void *p, *ground = BELOW(p = of->malloc(of->ctx, size));
    python_given(MALLOC, p, size, domain, ground);
    return p;
}
static inline void *python_clear(int domain, size_t count, size_t size) {
    const python_allocator *of = cpython.domain + domain - 1;
    if (python_inside) return of->calloc(of->ctx, count, size);
    void *p, *ground = BELOW(p = of->calloc(of->ctx, count, size));
    python_given(CALLOC, p, product(count, size), domain, ground);
    return p;
}
static inline void *python_resize(int domain, void *old, size_t size) {
    const python_allocator *of = cpython.domain + domain - 1;
    if (python_inside) return of->realloc(of->ctx, old, size);
    struct large left;
    int zeroed = left.address = 0;
    if (old) zeroed = python_leaves(old, &left), gone(REALLOC_FROM, old);
    size_t room = left.address ? usable(old) : 0;
    void *p, *ground = BELOW(p = of->realloc(of->ctx, old, size));
    python_given(old ? REALLOC : MALLOC, p, size, domain, ground);
    if (left.address && size >= LARGE_BYTES && p && p == ground) goes_on(p, &left, room);
    if (left.address && !p) given_large(old, left.bytes, zeroed ? ZEROS : CARRIED); /* it stays */
    return p;
}
static inline void python_free(int domain, void *p) {
    const python_allocator *of = cpython.domain + domain - 1;
    if (python_inside || !p) return of->free(of->ctx, p);
    python_leaves(p, NULL);
    gone(FREE, p);
    if (domain == DOMAIN_OBJECT) python_code_freed(p);
    (void)BELOW(of->free(of->ctx, p));
}

/* `ctx` is the domain's number: the compiler makes each of its functions short. */
#define PYTHON_HOOKS(name, domain)                                                             \
    static void *name##_malloc(void *ctx, size_t n) { return (void)ctx, python_alloc(domain, n); } \
    static void *name##_calloc(void *ctx, size_t a, size_t b) { return (void)ctx, python_clear(domain, a, b); } \
    static void *name##_realloc(void *ctx, void *p, size_t n) { return (void)ctx, python_resize(domain, p, n); } \
    static void name##_free(void *ctx, void *p) { (void)ctx, python_free(domain, p); }
PYTHON_HOOKS(raw, DOMAIN_RAW)
PYTHON_HOOKS(mem, DOMAIN_MEM)
PYTHON_HOOKS(object, DOMAIN_OBJECT)

static void arena_changed(void *base, size_t size, uint64_t gone) {
    uint64_t head, *place = base ? append(MALLOC, 3, &head) : NULL;
    if (!place) return;
    place[1] = (size & LOW_48) | 0xffffUL << 48;
    place[2] = gone | (uint64_t)DOMAIN_ARENA << DOMAIN_SHIFT;
    __atomic_store_n(place, PLACED(base) | head, __ATOMIC_RELEASE);
}
static void *arena_made(void *ctx, size_t size) {
    (void)ctx;
    python_inside++;
    void *base = cpython.arenas.alloc(cpython.arenas.ctx, size);
    python_inside--;
    if (base) list_arena((uint64_t)base, size, 0);
    arena_changed(base, size, 0);
    return base;
}
static void arena_gone(void *ctx, void *base, size_t size) {
    (void)ctx;
    if (base) list_arena((uint64_t)base, size, 1);
    arena_changed(base, size, 1);
    cpython.arenas.free(cpython.arenas.ctx, base, size);
}

static const python_allocator python_hooks[3] = {
    {NULL, raw_malloc, raw_calloc, raw_realloc, raw_free},
    {NULL, mem_malloc, mem_calloc, mem_realloc, mem_free},
    {NULL, object_malloc, object_calloc, object_realloc, object_free},
};

/* Weak: in a program that is no Python they are NULL, without a lookup that could allocate. */
#define PYTHON_API(type, name, ...) extern type name(__VA_ARGS__) __attribute__((weak))
PYTHON_API(void, PyMem_GetAllocator, int, python_allocator *);
PYTHON_API(void, PyMem_SetAllocator, int, python_allocator *);
PYTHON_API(void, PyObject_GetArenaAllocator, python_arenas *);
PYTHON_API(void, PyObject_SetArenaAllocator, python_arenas *);

/* What Python this is, beside the log; in which the first request may stand before its hooks. */
static void tell_python(void) {
    static char text[64];
    if (!python.how) return;
    *text = 0;
    add_text(text, sizeof text / 2, python.version());
    if (strchr(text, ' ')) strchr(text, ' ')[1] = 0;
    add_text(text, sizeof text, python.how);
    tell("python", text);
}

static struct { int domain[3], arenas; } hooked; /* whether our hooks are in the chain */

static void python_hook(void) { /* where they are not yet */
    not_plain();
    for (int i = 0; i < 3; i++) {
        if (hooked.domain[i]) continue;
        PyMem_GetAllocator(i, cpython.domain + i);
        python_allocator hooks = python_hooks[i];
        hooked.domain[i] = 1;
        PyMem_SetAllocator(i, &hooks);
    }
    if (!hooked.arenas) {
        python_arenas watched = {NULL, arena_made, arena_gone};
        PyObject_GetArenaAllocator(&cpython.arenas);
        PyObject_SetArenaAllocator(&watched);
        hooked.arenas = 1;
    }
    cpython.pools = cpython.domain[2].malloc != cpython.domain[0].malloc;
    python.on = 1;
}

/* Set the hooks, if this is a Python and may be recorded; in one that runs already only by here.h. */
static void python_begin(void) {
    if (!*kept.folder || !PyMem_GetAllocator || !PyMem_SetAllocator || !PyObject_GetArenaAllocator || !PyObject_SetArenaAllocator
        || !Py_GetVersion) return;
    python.version = Py_GetVersion;
    python.how = "free-threaded";
    if (control && control->no_python) python.how = "left-out";
    else if (!strstr(python.version(), "free-thread")) {
        python.how = python_stacks_begin() ? "hooked" : "hooked-without-stacks";
        python_hook();
    }
    if (state.phase == ON) tell_python();
}
