/* A malloc under stress: content, alignment, sizes, threads, forks, refusals. Prints nothing when all is
 * well; else a line for each kind of failure, and status 1.
 *
 *   stress STEPS THREADS ROUNDS     THREADS threads of STEPS random calls each, ROUNDS times over;
 *                                   blocks pass from thread to thread through shared slots */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#pragma GCC diagnostic ignored "-Wdeprecated-declarations" /* mallinfo */

#define SLOTS 1024
static _Atomic(uint64_t *) slot[SLOTS];
static _Atomic int failures;
static long steps = 20000;

static void expect(int holds, const char *what) {
    if (!holds && failures++ < 20) fprintf(stderr, "%s\n", what);
}
static uint64_t draw(uint64_t *state) {
    *state ^= *state << 13, *state ^= *state >> 7, *state ^= *state << 17;
    return *state;
}
static void fill(uint64_t *block, size_t words) { /* its length, then words that name block and place */
    block[0] = words;
    for (size_t i = 1; i < words; i++) block[i] = (uint64_t)block ^ i * 0x9e3779b97f4a7c15 ^ words;
}
static void verify(uint64_t *block) {
    size_t words = block[0];
    expect(malloc_usable_size(block) >= words * 8, "usable size below the size asked for");
    for (size_t i = 1; i < words; i++)
        if (block[i] != ((uint64_t)block ^ i * 0x9e3779b97f4a7c15 ^ words)) {
            expect(0, "content of a block changed");
            return;
        }
}

static void *churn(void *seed) {
    uint64_t state = (uint64_t)seed * 7919 + 12345;
    for (long step = 0; step < steps; step++) {
        uint64_t r = draw(&state);
        size_t words = 2 + (r >> 20) % (2UL << (r >> 8) % 13);
        uint64_t *block;
        switch (r >> 50 & 7) {
        case 0:
            block = calloc(words, 8);
            for (size_t i = 0; i < words; i++)
                if (block[i]) {
                    expect(0, "calloc's memory is not zero");
                    break;
                }
            break;
        case 1: {
            void *place;
            size_t align = 16UL << (r >> 40) % 9;
            expect(!posix_memalign(&place, align, words * 8), "posix_memalign refused");
            expect(!((uintptr_t)place & (align - 1)), "posix_memalign missed its alignment");
            block = place;
            break;
        }
        case 2: {
            size_t before = 2 + (r >> 44) % 64;
            block = malloc(before * 8);
            for (size_t i = 0; i < before; i++) block[i] = r + i;
            block = reallocarray(block, words, 8);
            for (size_t i = 0; i < before && i < words; i++)
                if (block[i] != r + i) {
                    expect(0, "realloc lost content");
                    break;
                }
            break;
        }
        default: block = malloc(words * 8);
        }
        expect(!((uintptr_t)block & 15), "a pointer is no multiple of 16");
        fill(block, words);
        block = atomic_exchange(&slot[(r >> 30) % SLOTS], block);
        if (block) {
            verify(block);
            free(block);
        }
    }
    return NULL;
}

static void fork_now(void) {
    pid_t child = fork();
    if (!child) {
        failures = 0;
        long all = steps;
        steps = all < 2000 ? all : 2000;
        churn((void *)99);
        pthread_t thread;
        expect(!pthread_create(&thread, NULL, churn, (void *)98) && !pthread_join(thread, NULL), "no thread in a child");
        _exit(failures != 0);
    }
    int status;
    expect(waitpid(child, &status, 0) == child && !status, "a forked child failed");
}

static void *brief(void *unused) { /* a thread that allocates, keeps nothing, and ends */
    for (int i = 1; i < 100; i++) free(malloc(i * 40));
    return unused;
}

#define GROWING 3

/* Buffers that grow past one another, so that they have to move; every word is looked at. */
static void growing(void) {
    uint64_t *buffer[GROWING] = {0};
    size_t held = 0;
    for (size_t words = 1000; words < 2 << 20; words += words / 2) {
        for (int i = 0; i < GROWING; i++) {
            buffer[i] = realloc(buffer[i], words * 8);
            int whole = 1;
            for (size_t w = 0; w < held; w++) whole &= buffer[i][w] == w * GROWING + i;
            expect(whole, "a buffer that moved lost content");
            for (size_t w = held; w < words; w++) buffer[i][w] = w * GROWING + i;
        }
        held = words;
        char *zeros = calloc(1, words * 4);
        int zero = 1;
        for (size_t byte = 0; byte < words * 4; byte++) zero &= !zeros[byte];
        expect(zero, "calloc gave what was left behind by a move");
        memset(zeros, 9, words * 4);
        free(zeros);
    }
    for (int i = 0; i < GROWING; i++) free(buffer[i]);
}

static void entry_points(void) {
    volatile size_t huge = SIZE_MAX / 2 + 1, large = (size_t)1 << 60, half = SIZE_MAX / 2;
    void *place = (void *)7;
    struct { const char *name; void *got; } refused[10];
    int count = 0;
#define REFUSED(call) errno = 0, refused[count].name = #call, refused[count].got = (call), expect(errno == ENOMEM, #call ": errno"), count++
    REFUSED(malloc(huge));
    REFUSED(malloc(large));
    REFUSED(calloc(half, 4));
    REFUSED(calloc(large, large));
    REFUSED(reallocarray(NULL, huge, 2));
    REFUSED(memalign(64, huge));
    REFUSED(aligned_alloc(4096, large));
    REFUSED(pvalloc(SIZE_MAX));
    REFUSED(valloc(huge));
    for (int i = 0; i < count; i++) expect(!refused[i].got, refused[i].name);
    char *kept = malloc(100);
    strcpy(kept, "kept");
    expect(!realloc(kept, huge) && !strcmp(kept, "kept"), "a refused realloc keeps the block");
    expect(!reallocarray(kept, half, 16) && !strcmp(kept, "kept"), "a refused reallocarray keeps the block");
    expect(!realloc(kept, 0), "realloc to 0 frees");
    errno = 0;
    expect(posix_memalign(&place, 24, 8) == EINVAL && posix_memalign(&place, 4, 8) == EINVAL
           && posix_memalign(&place, 0, 8) == EINVAL, "posix_memalign takes a wrong alignment");
    expect(posix_memalign(&place, 64, huge) == ENOMEM && place == (void *)7, "posix_memalign's refusal");
    void *zero = malloc(0), *also = malloc(0), *none = calloc(0, 5);
    expect(zero && also && none && zero != also, "0 bytes have a pointer of their own");
    free(zero), free(also), free(none), free(NULL);
    expect(malloc_usable_size(NULL) == 0, "usable size of NULL");
    for (size_t align = 1; align <= 1 << 16; align <<= 1)
        for (size_t size = 1; size < 100000; size = size * 3 + 1) {
            char *p = memalign(align, size), *q = aligned_alloc(align, size);
            expect(p && q && !((uintptr_t)p & (align - 1)) && !((uintptr_t)q & (align - 1)), "memalign");
            memset(p, 1, size), memset(q, 2, size);
            p = realloc(p, size * 2), q = realloc(q, size / 2 + 1);
            expect(p[0] == 1 && p[size - 1] == 1 && q[0] == 2 && q[size / 2] == 2, "realloc of an aligned block");
            free(p), free(q);
        }
    long page = sysconf(_SC_PAGESIZE);
    char *v = valloc(10), *p = pvalloc(page + 1);
    expect(!((uintptr_t)v & (page - 1)) && !((uintptr_t)p & (page - 1)), "valloc and pvalloc");
    memset(p, 3, 2 * page);
    free(v), free(p);
    char *grown = NULL;
    for (size_t size = 1; size < 30 << 20; size += size / 3 + 1) { /* through mremap, perhaps */
        grown = realloc(grown, size);
        grown[size - 1] = 5;
        expect(size == 1 || grown[0] == 5, "a growing block lost its first byte");
    }
    growing();
    malloc_trim(0);
    struct mallinfo2 info = mallinfo2();
    expect(info.arena + info.hblkhd > 20 << 20, "mallinfo2 knows of no memory");
    expect(info.uordblks == 0 || info.uordblks + info.fordblks == info.arena, "mallinfo2 does not add up");
    expect(info.keepcost <= info.fordblks, "mallinfo2 would trim more than is free");
    expect((size_t)mallinfo().arena == mallinfo2().arena, "mallinfo and mallinfo2 differ");
    expect(!mallopt(M_ARENA_MAX, 1), "mallopt sets what there is not");
    expect(malloc_info(0, stderr) == -1 && errno == ENOSYS, "malloc_info tells of another heap");
    malloc_stats();
    void *unset = &info;
    expect(posix_memalign(&unset, (size_t)1 << 63, 8) == ENOMEM && unset == &info, "posix_memalign of 2^63");
    expect(posix_memalign(&unset, 24, 8) == EINVAL, "posix_memalign of 24");
    free(grown);
}

int main(int count, char **argument) {
    long threads = count > 2 ? atol(argument[2]) : 8, rounds = count > 3 ? atol(argument[3]) : 4;
    if (count > 1) steps = atol(argument[1]);
    entry_points();
    for (long round = 0; round < rounds; round++) {
        pthread_t thread[64];
        for (long i = 0; i < threads; i++) pthread_create(&thread[i], NULL, churn, (void *)(i + round * threads + 1));
        for (int i = 0; i < 4; i++) fork_now();
        for (long i = 0; i < threads; i++) pthread_join(thread[i], NULL);
        for (int i = 0; i < 200; i++) {
            pthread_create(&thread[0], NULL, brief, NULL);
            pthread_join(thread[0], NULL);
        }
    }
    for (int i = 0; i < SLOTS; i++)
        if (slot[i]) {
            verify(slot[i]);
            free(slot[i]);
        }
    if (failures) fprintf(stderr, "%d failures\n", failures);
    return failures != 0;
}
