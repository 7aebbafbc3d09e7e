/* Batches of small records of which one in 200 stays, between them a table of large buffers; after
 * each batch the program itself calls malloc_trim. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BATCHES = 8, RECORDS = 40000, BUFFERS = 6 };
static void *kept[BATCHES * RECORDS];

int main(void) {
    size_t keeps = 0;
    for (int batch = 0; batch < BATCHES; batch++) {
        void **table = malloc(RECORDS * sizeof *table);
        for (int i = 0; i < RECORDS; i++) {
            size_t size = 300 + (i * 37) % 900;
            memset(table[i] = malloc(size), 1, size);
            if (i % 200 == 0) memset(kept[keeps++] = malloc(120), 1, 120);
        }
        usleep(50000);
        for (int i = 0; i < RECORDS; i++) free(table[i]);
        free(table);
        if (batch % 2) malloc_trim(0);
        char *buffer[BUFFERS];
        for (int i = 0; i < BUFFERS; i++) {
            size_t size = 3000000 + i * 100000;
            memset(buffer[i] = malloc(size), 1, size);
        }
        usleep(50000);
        for (int i = 0; i < BUFFERS; i++) free(buffer[i]);
    }
    usleep(800000);
    puts("done");
    return 0;
}
