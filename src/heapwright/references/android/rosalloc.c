/* Drives the RosAlloc of ART's own library, without a runtime: see drive.h.
 *
 *   LIBRARIES   in the environment: those to load, libart the last, with colons between
 *
 * A thread of ART is a page of pointers to the run that is full for ever, which is what a new one has
 * for runs of its own wherever its words lie; nothing else of it is read. ART has no realloc: it is a
 * block, a copy and a free. It has no memalign: a size of a multiple of it, none beyond a page. No object
 * of it has no bytes: 0 is 1.
 */
#include "drive.h"
#include <dlfcn.h>

enum { MODE = TOLD, THRESHOLD };
enum { LARGEST = 2048 /* of a slot */, THREADS = 1 << 12, THREAD = 16384 };
#define ROS "_ZN3art2gc9allocator8RosAlloc"

static void *(*small)(void *, void *, size_t, size_t *, size_t *, size_t *);
static void *(*large)(void *, void *, size_t, size_t *, size_t *, size_t *);
static size_t (*give_back)(void *, void *, void *), (*quit)(void *, void *), (*bytes_of)(void *, const void *);
static void *full_run, *rosalloc, *threads[THREADS];
static void *named(void *library, const char *symbol) {
    void *found = dlsym(library, symbol);
    if (!found) die(dlerror());
    return found;
}
static void *thread(int32_t number) {
    void **made = &threads[number & (THREADS - 1)];
    if (!*made) {
        *made = malloc(THREAD);
        if (!*made) die("there is not enough memory");
        for (int i = 0; i < THREAD / 8; i++) ((void **)*made)[i] = full_run;
    }
    return *made;
}

static void begin(void) {
    void *art = 0;
    char *libraries = getenv("LIBRARIES");
    for (char *name = libraries ? strtok(libraries, ":") : 0; name; name = strtok(0, ":"))
        if (!(art = dlopen(name, RTLD_LAZY | RTLD_GLOBAL))) die(dlerror());
    if (!art) die("no library was named");
    void (*make)(void *, void *, size_t, size_t, int, _Bool, size_t) = named(art, ROS "C1EPvmmNS2_15PageReleaseModeEbm");
    small = named(art, ROS "12AllocFromRunEPNS_6ThreadEmPmS5_S5_");
    large = named(art, ROS "16AllocLargeObjectEPNS_6ThreadEmPmS5_S5_");
    give_back = named(art, ROS "4FreeEPNS_6ThreadEPv");
    quit = named(art, ROS "21RevokeThreadLocalRunsEPNS_6ThreadE");
    bytes_of = named(art, ROS "10UsableSizeEPKv");
    ((void (*)(void))named(art, "_ZN3art6MemMap4InitEv"))();
    ((void (*)(void))named(art, "_ZN3art5Locks4InitEv"))();
    full_run = *(void **)named(art, ROS "19dedicated_full_run_E");
    rosalloc = calloc(1, 1 << 16);
    if (!rosalloc) die("there is not enough memory");
    make(rosalloc, zone, setting[ZONE], setting[ZONE], setting[MODE], 0, setting[THRESHOLD]);
}
static char *obtain(const struct event *e) {
    size_t size = e->size ? e->size : 1, align = e->op == MEMALIGN ? (size_t)1 << (e->align & 63) : 1, a, b, c;
    if (align > PAGE) return 0;
    if (align > ALIGN) size = (size + align - 1) & -align;
    return (size > LARGEST ? large : small)(rosalloc, thread(e->thread), size, &a, &b, &c);
}
static char *resize(const struct event *e, struct object *o) {
    char *p = obtain(e);
    if (!p) return 0;
    memcpy(p, o->address, o->size < e->size ? o->size : e->size);
    release(e, o->address);
    return p;
}
static void release(const struct event *e, char *p) { give_back(rosalloc, thread(e->thread), p); }
static size_t usable(char *p) { return bytes_of(rosalloc, p); }
static void leave(int32_t number) { quit(rosalloc, thread(number)); }
static void finish(void) { figure[HELD] = figure[PEAK] = setting[ZONE]; }
