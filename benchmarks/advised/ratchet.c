/* Buffers that grow from 150 kB to 16 MB and are freed each time below a small block that stays: a
 * threshold that follows them keeps them all out of mmap. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *kept[400];

int main(void) {
    size_t keeps = 0;
    for (size_t size = 150000; size < (16u << 20); size += size / 3) {
        void *buffer[4];
        for (int i = 0; i < 4; i++) {
            memset(buffer[i] = malloc(size), 1, size);
            memset(kept[keeps++] = malloc(500), 1, 500);
        }
        usleep(40000);
        for (int i = 0; i < 4; i++) free(buffer[i]);
    }
    usleep(800000);
    puts("done");
    return 0;
}
