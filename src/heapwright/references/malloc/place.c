/* A heap at the break: it is moved to where the twin's is, modulo SPAN, or where there is no room
 * modulo BREAK_BASE, as the recorded program's: what is aligned beyond a page lies by it. */
#define _GNU_SOURCE
#include "place.h"
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>
#include "footprint.h"

enum { BREAK_BASE = 1 << 24, SPAN = 1U << 31 /* bytes that a leaf of tcmalloc's page map names */,
       MAP_SPAN = 1 << 30 /* likewise of jemalloc's */, HUGE = 2 << 20 };

int64_t settle(int64_t heap_start) {
    int64_t home = BREAK_BASE + heap_start % BREAK_BASE - (intptr_t)sbrk(0);
    if (sbrk(home & (SPAN - 1)) == (void *)-1 && sbrk(home & (BREAK_BASE - 1)) == (void *)-1)
        die("the break cannot be moved");
    return (intptr_t)sbrk(0);
}

static void *unused(int64_t bytes) {
    return mmap(0, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

int64_t settle_mappings(int64_t mapped_top) {
    char *next = unused(HUGE);
    if (next == MAP_FAILED) return 0;
    munmap(next, HUGE);
    int64_t top = (intptr_t)next + HUGE, skip = (top - mapped_top) & (MAP_SPAN - 1);
    if (skip && unused(skip) == MAP_FAILED) skip = 0; /* then leaves are written elsewhere */
    return top - skip - mapped_top;
}

struct found { void *library; int64_t state; };
static int look(struct dl_phdr_info *info, size_t bytes, void *into) {
    struct found *found = into;
    (void)bytes;
    if ((void *)info->dlpi_addr == found->library) found->state = (intptr_t)info->dlpi_tls_data;
    return 0;
}
int64_t state_of(void *library) {
    struct found found = {library, 0};
    dl_iterate_phdr(look, &found);
    return found.state;
}
