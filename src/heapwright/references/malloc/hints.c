/* Where a library asks for its memory by address, as mimalloc does from a random one on: the first
 * time at 2 TiB, later as far from there as it was from the first. So what it draws at random does
 * not decide how its areas lie to each other and to the tables that name addresses.
 *
 * A call of mmap from a library that was preloaded resolves here first, as clock_gettime does. */
#define _GNU_SOURCE
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { TIB_SHIFT = 40 };
static uintptr_t first; /* address that was asked for first; 0: none yet */

void *mmap(void *hint, size_t bytes, int protection, int flags, int file, off_t offset) {
    uintptr_t address = (uintptr_t)hint, base = (uintptr_t)2 << TIB_SHIFT;
    if (address >= base && address >> TIB_SHIFT < 32 && !(flags & MAP_FIXED)) {
        if (!first) first = address;
        address = base + (address - first);
    }
    return (void *)syscall(SYS_mmap, address, bytes, protection, flags, file, offset);
}
