/* What sys._debugmallocstats() says while the recorder's hooks stand: it is silent of an allocator that
 * is not in use, so Python's own, kept from before, is set meanwhile. malloc(MARK) tells when. */
#include <stdio.h>
#include <stdlib.h>
#define MARK 777777
struct allocator { void *ctx, *malloc, *calloc, *realloc, *free; };
extern void PyMem_GetAllocator(int, struct allocator *), PyMem_SetAllocator(int, struct allocator *);
extern int _PyObject_DebugMallocStats(FILE *);
static struct allocator own;
static void *(*volatile ask)(size_t) = malloc;
__attribute__((constructor)) static void keep(void) { PyMem_GetAllocator(2, &own); }
void stats(void) {
    struct allocator hooks;
    free(ask(MARK));
    PyMem_GetAllocator(2, &hooks);
    PyMem_SetAllocator(2, &own);
    _PyObject_DebugMallocStats(stderr);
    PyMem_SetAllocator(2, &hooks);
}
