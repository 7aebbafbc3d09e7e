/* A heap at the break: it is moved to where the twin's is, modulo SPAN, or where there is no room
 * modulo BREAK_BASE, as the recorded program's: what is aligned beyond a page lies by it. */
#define _GNU_SOURCE
#include "place.h"
#include <unistd.h>
#include "footprint.h"

enum { BREAK_BASE = 1 << 24, SPAN = 1U << 31 /* bytes that a leaf of tcmalloc's page map names */ };

int64_t settle(int64_t heap_start) {
    int64_t home = BREAK_BASE + heap_start % BREAK_BASE - (intptr_t)sbrk(0);
    if (sbrk(home & (SPAN - 1)) == (void *)-1 && sbrk(home & (BREAK_BASE - 1)) == (void *)-1)
        die("the break cannot be moved");
    return (intptr_t)sbrk(0);
}
