/* Every call of the family in an order that only looks like growing: blocks are freed and asked for
   again at once, as often as they are grown in place. */
#include <stdlib.h>

static unsigned long state = 88172645463325252UL;

static unsigned long draw(unsigned long most) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % most;
}

int main(void) {
    static void *blocks[100];
    for (int turn = 0; turn < 1500; turn++) {
        void **block = &blocks[draw(100)];
        size_t bytes = 1 + draw(2000);
        switch (draw(5)) {
        case 0: free(*block); *block = NULL; break;
        case 1: free(*block); *block = malloc(bytes); break;
        case 2: free(*block); *block = calloc(1 + bytes % 7, 1 + bytes / 7); break;
        case 3: *block = realloc(*block, bytes); break;
        case 4: free(*block); if (posix_memalign(block, 64, bytes)) return 1;
        }
    }
    return 0;
}
