/* Drives dlmalloc's own malloc.c with the requests of a trace: see dlmalloc.h. */
#include "dlmalloc.h"

enum { WORD = TOLD, ALIGNMENT, GRANULARITY, TRIM, LIMIT, GIVEN };

static void begin(void) {
    if (setting[WORD] != sizeof(size_t)) die("it was built for other words");
    dlmallopt(M_GRANULARITY, setting[GRANULARITY]);
    dlmallopt(M_TRIM_THRESHOLD, setting[TRIM]);
    if (setting[GIVEN]) {
        used = setting[GIVEN];
        own = create_mspace_with_base(zone, used, 0);
        if (!own) die("the space is too small");
    }
    if (setting[LIMIT]) {
        if (own) mspace_set_footprint_limit(own, setting[LIMIT]);
        else dlmalloc_set_footprint_limit(setting[LIMIT]);
    }
}
static size_t whole(int64_t size) { return sizeof(size_t) == 4 && size >> 32 ? ~(size_t)0 : (size_t)size; }
static char *obtain(const struct event *e) {
    size_t size = whole(e->size), align = e->op == MEMALIGN ? (size_t)1 << (e->align & 63) : 1;
    if (e->op == MEMALIGN && align > ALIGN)
        return own ? mspace_memalign(own, align, size) : dlmemalign(align, size);
    if (e->op == CALLOC) return own ? mspace_calloc(own, size, 1) : dlcalloc(size, 1);
    return own ? mspace_malloc(own, size) : dlmalloc(size);
}
static char *resize(const struct event *e, struct object *o) {
    size_t size = whole(e->size);
    return own ? mspace_realloc(own, o->address, size) : dlrealloc(o->address, size);
}
static void release(const struct event *e, char *p) {
    (void)e;
    if (own) mspace_free(own, p);
    else dlfree(p);
}
static size_t usable(char *p) { return dlmalloc_usable_size(p); }
static void leave(int32_t thread) { (void)thread; }
static void finish(void) {
    figure[HELD] = own ? mspace_footprint(own) : dlmalloc_footprint();
    figure[PEAK] = own ? mspace_max_footprint(own) : dlmalloc_max_footprint();
}
