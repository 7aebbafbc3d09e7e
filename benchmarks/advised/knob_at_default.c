/* Threads take turns with two large buffers each, and keep a small record of every turn: what is
 * above a record cannot be given back while mmap's threshold follows the largest buffer. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { THREADS = 12, TURNS = 10 };
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t next = PTHREAD_COND_INITIALIZER;
static int turn;
static void *kept[THREADS * TURNS];

static void *work(void *number) {
    int me = (int)(size_t)number;
    char *held[2] = {0, 0};
    for (int i = 0; i < TURNS; i++) {
        pthread_mutex_lock(&guard);
        while (turn % THREADS != me) pthread_cond_wait(&next, &guard);
        free(held[0]), free(held[1]);
        size_t size = (3u << 20) + (turn * 7919u) % (1u << 20);
        memset(held[0] = malloc(size), 1, size);
        memset(held[1] = malloc(size / 2), 2, size / 2);
        memset(kept[turn] = malloc(200), 3, 200);
        turn++;
        usleep(5000);
        pthread_cond_broadcast(&next);
        pthread_mutex_unlock(&guard);
    }
    free(held[0]), free(held[1]);
    return NULL;
}

int main(void) {
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, work, (void *)i);
    for (size_t i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    usleep(800000);
    puts("done");
    return 0;
}
