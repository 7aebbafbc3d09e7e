#include <stdint.h>

/* Let the heap under test begin where its twin's does, modulo what alignments reach; where it will.
 * `heap_start` is where the recorded program's did. */
int64_t settle(int64_t heap_start);
