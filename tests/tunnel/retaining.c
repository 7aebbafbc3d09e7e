/* Workers that load blocks of 64 KiB to 1 MiB with small ones between them, and free all of it; what
 * then is resident is written as "anonymous bytes before, after". Nothing of libc allocates here. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WORKERS = 3, ROUNDS = 3, BLOCKS = 24, LEAST = 64 << 10, MOST = 1 << 20 };

static void *work(void *number) {
    unsigned state = 7 + (unsigned)(size_t)number;
    char *held[2 * BLOCKS];
    for (int round = 0; round < ROUNDS; round++) {
        for (int n = 0; n < BLOCKS; n++) {
            state = state * 1664525u + 1013904223u;
            size_t size = LEAST + (state >> 8) % (MOST - LEAST);
            held[2 * n] = memset(malloc(size), 1, size);
            held[2 * n + 1] = memset(malloc(100), 1, 100);
        }
        for (int n = 0; n < 2 * BLOCKS; n++) free(held[n]);
    }
    return 0;
}

static long anonymous(void) {
    char text[4096];
    int file = open("/proc/self/status", O_RDONLY);
    ssize_t got = read(file, text, sizeof text - 1);
    close(file);
    text[got > 0 ? got : 0] = 0;
    char *line = strstr(text, "RssAnon:");
    return line ? 1024 * atol(line + 8) : -1;
}

int main(void) {
    pthread_t id[WORKERS];
    char text[100];
    long before = anonymous();
    for (long n = 0; n < WORKERS; n++) pthread_create(&id[n], 0, work, (void *)n);
    for (int n = 0; n < WORKERS; n++) pthread_join(id[n], 0);
    usleep(300000); /* it rests: on a busy machine the longest wait before would be taken for its rest */
    int length = snprintf(text, sizeof text, "anonymous bytes %ld, %ld\n", before, anonymous());
    return write(1, text, length) != length;
}
