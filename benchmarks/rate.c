/* The replay loop of the twins, for a malloc that cannot carry the loop's own Python.
 *
 *     rate FILE ─► the seconds that the events of FILE take
 *
 * FILE holds what glibc_rate.py writes: the numbers of events and slots, then a column after another.
 * As in the loop of the twins one thread replays them all and writes to no block.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { FREE, MALLOC, CALLOC, REALLOC, MEMALIGN };
enum { MIN_ALIGN = 16 };

struct events {
    int64_t count, slots;
    const int64_t *size, *slot;
    const uint8_t *op, *align;
};

static struct events opened(const char *path) {
    int file = open(path, O_RDONLY);
    int64_t bytes = lseek(file, 0, SEEK_END); /* fstat is another symbol since 2.33 */
    if (bytes < 16) exit(2);
    char *all = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
    if (all == MAP_FAILED) exit(2);
    struct events e = {.count = ((int64_t *)all)[0], .slots = ((int64_t *)all)[1]};
    if (bytes != 16 + 18 * e.count) exit(2);
    e.size = (int64_t *)(all + 16);
    e.slot = e.size + e.count;
    e.op = (uint8_t *)(e.slot + e.count);
    e.align = e.op + e.count;
    return e;
}

static void step(void **object, uint8_t op, int64_t slot, int64_t size, uint8_t align) {
    void *address;
    switch (op) {
    case FREE:
        if (object[slot]) free(object[slot]);
        object[slot] = NULL;
        return;
    case MALLOC:
        address = malloc(size);
        break;
    case CALLOC:
        address = calloc(1, size);
        break;
    case REALLOC:
        address = object[slot] ? realloc(object[slot], size ? size : 1) : malloc(size);
        if (!address) return;
        break;
    case MEMALIGN:
        address = aligned_alloc(1L << align > MIN_ALIGN ? 1L << align : MIN_ALIGN, size);
        break;
    default:
        return;
    }
    if (slot >= 0)
        object[slot] = address;
    else
        free(address);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

int main(int count, char **arguments) {
    if (count != 2) return 2;
    struct events e = opened(arguments[1]);
    void **object = mmap(NULL, 8 * e.slots + 8, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (object == MAP_FAILED) return 2;
    double start = now();
    for (int64_t i = 0; i < e.count; i++) step(object, e.op[i], e.slot[i], e.size[i], e.align[i]);
    printf("%.9f\n", now() - start);
    return 0;
}
