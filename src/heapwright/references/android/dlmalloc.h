/* dlmalloc's own malloc.c in a driver: see drive.h.
 *
 *   -D   DLMALLOC   its file; MALLOC_ALIGNMENT; with BARE it is built for 32 bits
 *
 * Built as Android's runtimes build their mspaces and wasi-libc its malloc: no mmap, a break that goes
 * on, here in the driver's zone.
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

static int64_t used; /* bytes of the zone below the break */
static mspace own;   /* 0: the global one */

static void *more_core(ptrdiff_t bytes) {
    char *end = zone + used;
    if (used + bytes < 0 || used + bytes > setting[ZONE]) return (void *)~(size_t)0;
    used += bytes;
    if (bytes < 0) madvise(zone + used, -bytes, MADV_DONTNEED);
    return end;
}
