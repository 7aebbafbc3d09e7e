/* What programs leave unwritten of large blocks. `looks WHAT [COUNT]`. */
#include <malloc.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static char *volatile kept;

/* blocks that glibc maps on their own: what is written is known to the page */
static int mapped(void) {
    char *a = malloc(1 << 20), *zeros = calloc(1, 8 << 20);
    long sum = 0;
    memset(a, 1, 300000);
    for (long i = 0; i < 8 << 20; i += 4096) sum += zeros[i]; /* read, never written */
    zeros[100] = zeros[5 << 20] = 1;
    char *c = malloc(200000);
    memset(c, 1, 50000);
    c = realloc(c, 3 << 20);
    memset(c, 1, 1 << 20);
    free(c);
    free(a);
    kept = malloc(16 << 20);
    memset(kept, 1, 100000);
    return sum != 0; /* zeros and the last one are looked at when the program ends */
}

/* where blocks before have written: parts are written anew, of what is resized, cleared, left alive too */
static int again(void) {
    mallopt(M_MMAP_THRESHOLD, 1 << 25), mallopt(M_TRIM_THRESHOLD, 1 << 28);
    char *low = malloc(700000), *high = malloc(200000);
    memset(high, 1, 200000);
    free(high), free(low);
    char *a = malloc(900000);
    memset(a, 1, 300000);
    a = realloc(a, 950000);
    free(a);
    a = calloc(1, 930000);
    memset(a, 1, 200000);
    free(a);
    kept = malloc(980000);
    memset(kept, 1, 100000);
    return 0;
}

/* whatever is looked at holds what the program wrote: of blocks that come, grow, shrink and go in a heap */
static int holds(const char *block, size_t bytes, char what) {
    while (bytes && block[bytes - 1] == what) bytes--;
    return !bytes;
}
static int intact(void) {
    char *block[12] = {0};
    size_t bytes[12] = {0};
    unsigned draw = 1;
    mallopt(M_MMAP_THRESHOLD, 1 << 25);
    for (int round = 0; round < 1000; round++) {
        int i = rand_r(&draw) % 12, how = rand_r(&draw) % 4;
        size_t size = 50000 + rand_r(&draw) % 200000, most = bytes[i] < size ? bytes[i] : size;
        if (!holds(block[i], bytes[i], 'a' + i)) return 1;
        if (how == 3) block[i] = realloc(block[i], size);
        else free(block[i]), most = 0, block[i] = how ? malloc(size) : calloc(1, size);
        if (!holds(block[i], most, 'a' + i) || (!how && !holds(block[i], size, 0))) return 2;
        bytes[i] = size / (1 + rand_r(&draw) % 3);
        memset(block[i], 'a' + i, bytes[i]);
    }
    return 0;
}

/* ends without any destructor; and a child that writes more of what it has from its parent */
static int leaves(void) {
    kept = malloc(1 << 20);
    memset(kept, 1, 500000);
    if (!fork()) {
        memset(kept, 1, 700000);
        free(malloc(10)); /* its first event: its log begins */
        _exit(0);
    }
    wait(NULL);
    _exit(0);
}

/* a buffer that doubles while it is filled, between small blocks that stay: the last one is part empty */
static sem_t done, over;
static void *answer(void *seed) {
    unsigned draw = (unsigned)(size_t)seed;
    for (int round = 0; round < 3; round++) {
        size_t room = 1 << 17, used = 0;
        char *buffer = malloc(room), *row[2500];
        for (int i = 0; i < 2500; i++) {
            size_t more = 200 + rand_r(&draw) % 1800;
            row[i] = malloc(more);
            memset(row[i], 1, more);
            while (used + more > room) {
                char *larger = malloc(2 * room);
                memcpy(larger, buffer, used);
                free(buffer);
                buffer = larger, room *= 2;
            }
            memset(buffer + used, 1, more), used += more;
            if (i % 250 == 0) kept = malloc(60), memset(kept, 1, 60);
        }
        for (int i = 0; i < 2500; i++) free(row[i]);
        kept = malloc(300);
        free(buffer);
    }
    sem_post(&done);
    sem_wait(&over);
    return NULL;
}
static int capacity(void) { /* threads with arenas of their own, one after the other */
    pthread_t thread[8];
    for (size_t i = 0; i < 8; i++) {
        pthread_create(&thread[i], NULL, answer, (void *)(i + 1));
        sem_wait(&done);
    }
    for (int i = 0; i < 8; i++) sem_post(&over);
    for (int i = 0; i < 8; i++) pthread_join(thread[i], NULL);
    return 0;
}

/* more large blocks that come and go than there is time to look at */
static int many(long count) {
    char *ring[8] = {0};
    for (long i = 0; i < count; i++) {
        free(ring[i % 8]);
        ring[i % 8] = malloc(70000);
        ring[i % 8][0] = 1;
    }
    return 0;
}

/* memory that is mapped past malloc; a part of it right behind the image, where Linux joins it to the .bss */
extern char end[];
static int past(void) {
    int how = MAP_PRIVATE | MAP_ANONYMOUS;
    char *area = mmap(NULL, 16 << 20, PROT_READ | PROT_WRITE, how, -1, 0), *image = (char *)(((uintptr_t)end + 4095) & -4096UL);
    char *behind = mmap(image, 8 << 20, PROT_READ | PROT_WRITE, how | MAP_FIXED_NOREPLACE, -1, 0);
    if (behind != image) return 98;
    memset(area, 1, 16 << 20);
    memset(behind, 1, 4 << 20);
    kept = malloc(100);
    return 0;
}

int main(int count, char **word) {
    long number = count > 2 ? atol(word[2]) : 0;
    const char *what = word[1];
    if (!strcmp(what, "mapped")) return mapped();
    if (!strcmp(what, "again")) return again();
    if (!strcmp(what, "intact")) return intact();
    if (!strcmp(what, "leaves")) return leaves();
    if (!strcmp(what, "capacity")) return capacity();
    if (!strcmp(what, "many")) return many(number);
    if (!strcmp(what, "past")) return past();
    return 99;
}
