/* Drives dlmalloc's own malloc.c: see drive.h.
 *
 *   -D   DLMALLOC   its file; MALLOC_ALIGNMENT; with BARE it is built for 32 bits
 *
 * Built as Android's ART builds its mspaces and wasi-libc its malloc: no mmap, a break that goes on.
 */
#include "drive.h"
#include <stddef.h>

static void *more_core(ptrdiff_t bytes);
static _Noreturn void broken(void) { die("the heap is broken"); }
#define HAVE_MMAP 0
#define HAVE_MREMAP 0
#define MORECORE more_core
#define MSPACES 1
#define NO_MALLINFO 1
#define NO_MALLOC_STATS 1
#define USE_LOCKS 0
#define USE_DL_PREFIX 1
#define ABORT broken()
#define MALLOC_FAILURE_ACTION
#define malloc_getpagesize ((size_t)PAGE)
#define LACKS_UNISTD_H
#define LACKS_FCNTL_H
#define LACKS_SYS_PARAM_H
#define LACKS_SYS_MMAN_H
#define LACKS_SYS_TYPES_H
#define LACKS_STRINGS_H
#define LACKS_STRING_H
#define LACKS_STDLIB_H
#define LACKS_ERRNO_H
#define LACKS_SCHED_H
#define LACKS_TIME_H
#define ENOMEM 12
#define EINVAL 22
#define __wasilibc_unmodified_upstream 1 /* of the file in wasi-libc: what Doug Lea wrote */
#include DLMALLOC

enum { WORD = TOLD, ALIGNMENT, GRANULARITY, TRIM, LIMIT, GIVEN };
static int64_t used;
static mspace own; /* 0: the global one */

static void *more_core(ptrdiff_t bytes) {
    char *end = zone + used;
    if (used + bytes < 0 || used + bytes > setting[ZONE]) return (void *)~(size_t)0;
    used += bytes;
    if (bytes < 0) madvise(zone + used, -bytes, MADV_DONTNEED);
    return end;
}
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
