/* A service with a thread for each connection: requests come in turns, each makes an answer of many
 * small parts, and a session keeps a little of every answer. Each thread has an arena of its own. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { THREADS = 16, REQUESTS = 160, PARTS = 6000 };
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t next = PTHREAD_COND_INITIALIZER;
static int request;
static void *session[REQUESTS * 40];

static void answer(int number) {
    static void *part[PARTS];
    for (int i = 0; i < PARTS; i++) {
        size_t size = 100 + (i * 131 + number * 17) % 1400;
        memset(part[i] = malloc(size), 1, size);
    }
    for (int i = 0; i < 40; i++) memset(session[number * 40 + i] = malloc(90), 1, 90);
    for (int i = 0; i < PARTS; i++) free(part[i]);
}

static void *serve(void *number) {
    int me = (int)(size_t)number;
    pthread_mutex_lock(&guard);
    while (request < REQUESTS) {
        if (request % THREADS == me) {
            answer(request++);
            usleep(4000);
            pthread_cond_broadcast(&next);
        } else pthread_cond_wait(&next, &guard);
    }
    pthread_mutex_unlock(&guard);
    return NULL;
}

int main(void) {
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, serve, (void *)i);
    for (size_t i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    usleep(800000);
    puts("done");
    return 0;
}
