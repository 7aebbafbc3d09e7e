/* The malloc that libc and the dynamic loader see, in static memory: a bump pointer, and freed
 * blocks reused by exact size. Called by one thread at a time: whoever holds the baton. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct block { size_t size; struct block *next; };
static _Alignas(16) char pool[1 << 20];
static size_t used;
static struct block *freed;

void *malloc(size_t n) {
    n = (n + 15) & ~(size_t)15;
    for (struct block **link = &freed; *link; link = &(*link)->next)
        if ((*link)->size == n) {
            struct block *found = *link;
            *link = found->next;
            return found + 1;
        }
    if (n > sizeof pool - sizeof(struct block) - used) return 0;
    struct block *fresh = (struct block *)(pool + used);
    used += n + sizeof *fresh;
    fresh->size = n;
    return fresh + 1;
}
void free(void *p) {
    if (!p) return;
    struct block *old = (struct block *)p - 1;
    old->next = freed;
    freed = old;
}
void *calloc(size_t count, size_t size) {
    void *fresh = malloc(count * size);
    return fresh ? memset(fresh, 0, count * size) : 0;
}
void *realloc(void *p, size_t n) {
    void *moved = malloc(n);
    if (p && moved) {
        size_t old = ((struct block *)p - 1)->size;
        memcpy(moved, p, old < n ? old : n);
        free(p);
    }
    return moved;
}

