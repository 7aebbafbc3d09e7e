#include <stdint.h>

/* Let the heap under test begin where its twin's does, modulo what alignments reach; where it will.
 * `heap_start` is where the recorded program's did. */
int64_t settle(int64_t heap_start);

/* Let the next mapping begin where the twin's first does, at `mapped_top`, modulo what a leaf of
 * jemalloc's map names; bytes from there to here. */
int64_t settle_mappings(int64_t mapped_top);

/* Where a library keeps the calling thread's variables; 0: it has none. */
int64_t state_of(void *library);
