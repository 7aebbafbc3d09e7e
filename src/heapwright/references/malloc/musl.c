/* musl's malloc under the harness: linked into it, so nothing is looked up and nothing is interposed.
 *
 * musl's own start of a program allocates nothing, and knows no .preinit_array: a constructor runs it.
 * Its heap lies in mappings, the highest gap that fits first. Gaps above the lowest mapping are filled
 * before the baseline, so that each further mapping lies below, as in the twin's empty zone; Linux 6.7
 * and later put those of whole huge pages at multiples of one, as the twin's machine does. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "footprint.h"
#include "place.h"

static const int64_t ALIGNED = 1LL << 31 /* twin's zone ends at a multiple of it less BASE */,
                     BASE = 1 << 24, ZONE = (1LL << 35) - (1 << 24) /* bytes of the twin's zone */,
                     FAR = 1LL << 40 /* where nothing is mapped otherwise */;

static const struct { const char *name; void *function; } functions[] = {
    {"malloc", malloc}, {"calloc", calloc}, {"realloc", realloc}, {"memalign", memalign},
    {"free", free}, {"malloc_usable_size", malloc_usable_size}};

void *dlsym(void *library, const char *name) {
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (!strcmp(functions[i].name, name)) return functions[i].function;
    return 0;
}
int dladdr(const void *address, Dl_info *found) {
    *found = (Dl_info){0};
    return 1;
}

static long kernel(long number, void *at, size_t bytes, long protection, long flags, long file, long offset) {
    return syscall(number, at, bytes, protection, flags, file, offset);
}

void *__mmap(void *at, size_t bytes, int protection, int flags, int file, off_t offset) {
    return (void *)kernel(SYS_mmap, at, bytes, protection, flags, file, offset);
}
void *mmap(void *, size_t, int, int, int, off_t) __attribute__((alias("__mmap")));

void *__mremap(void *at, size_t old, size_t bytes, int flags, ...) {
    void *place = (void *)kernel(SYS_mremap, at, old, bytes, 0, 0, 0); /* where it lies, if it can */
    if (place != MAP_FAILED || !(flags & MREMAP_MAYMOVE)) return place;
    place = __mmap(0, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (place == MAP_FAILED) return place;
    return (void *)kernel(SYS_mremap, at, old, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, (long)place, 0);
}
void *mremap(void *, size_t, size_t, int, ...) __attribute__((alias("__mremap")));

void *sbrk(intptr_t by) { /* musl's refuses to move it; a trace's program may */
    long now = syscall(SYS_brk, 0);
    if (by && syscall(SYS_brk, now + by) != now + by) return (void *)-1;
    return (void *)now;
}

static int64_t lowest(void) { /* of the zone where mappings are put: the gap below it is the largest */
    static char maps[1 << 16];
    size_t used = 0;
    int fd = open("/proc/self/maps", O_RDONLY);
    for (ssize_t got; (got = read(fd, maps + used, sizeof maps - 1 - used)) > 0;) used += got;
    close(fd);
    int64_t past = 0, widest = 0, found = 0;
    for (char *line = maps; *line;) {
        char *at, *end = strchr(line, '\n');
        int64_t start = strtoull(line, &at, 16), stop = strtoull(at + 1, 0, 16);
        if (stop > 0 && start - past > widest) widest = start - past, found = start;
        past = stop;
        line = end ? end + 1 : line + strlen(line);
    }
    return found;
}

static void fill(int64_t start, int64_t bytes) {
    if (bytes > 0 && mmap((void *)start, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED)
        die("the address space cannot be filled");
}

int64_t settle(int64_t heap_start) {
    int64_t low = lowest(), top = (low & -ALIGNED) - BASE;
    for (size_t bytes = 1 << 30; bytes >= PAGE;) { /* until only the lowest gap takes one more */
        void *filler = mmap(0, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if ((int64_t)filler > low && filler != MAP_FAILED) continue;
        if (filler != MAP_FAILED) munmap(filler, bytes);
        bytes >>= 1;
    }
    fill(top, low - top);
    fill(FAR, (status_pages("VmPeak:") - status_pages("VmSize:")) * PAGE); /* of a filler too many */
    return top - ZONE;
}

int64_t settle_mappings(int64_t mapped_top) { return 0; } /* `settle` did it */
int64_t state_of(void *library) { return 0; }

extern void (*__preinit_array_start[])(void), (*__preinit_array_end[])(void);
__attribute__((constructor)) static void start(void) {
    for (void (**each)(void) = __preinit_array_start; each < __preinit_array_end; each++) (*each)();
}
