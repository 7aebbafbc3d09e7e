/* malloc_trim(0) every so often, as a thread of the program would call it: preloaded where advice of that
 * kind is proven by running. HEAPWRIGHT_TRIM_MS says how often. The thread asks malloc for nothing. */
#define _GNU_SOURCE
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

static struct timespec apart;

static void *trim(void *nothing) {
    for (;;) {
        nanosleep(&apart, NULL);
        malloc_trim(0);
    }
    return nothing;
}

__attribute__((constructor)) static void begin(void) {
    const char *told = getenv("HEAPWRIGHT_TRIM_MS");
    long ms = told ? strtol(told, NULL, 10) : 0;
    sigset_t all, old;
    pthread_attr_t small;
    pthread_t thread;
    if (ms <= 0) return;
    apart.tv_sec = ms / 1000, apart.tv_nsec = ms % 1000 * 1000000;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are for the program's threads */
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 65536);
    pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
    pthread_create(&thread, &small, trim, NULL);
    pthread_attr_destroy(&small);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}
