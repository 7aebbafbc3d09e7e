/* The clock that libraries see: the system's, or that of the events.
 *
 * A call of clock_gettime from a library that was preloaded resolves here first, as the executable
 * is linked with -rdynamic. An allocator that gives memory back by the clock is then the same in
 * every run. */
#define _GNU_SOURCE
#include "clock.h"
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { SECOND = 1000000000, BEGIN_S = 1000 };
static int64_t virtual_ns = -1; /* -1: the system's clock */

void begin_clock(void) { virtual_ns = 0; }
void tell_clock(int64_t event_ns) {
    if (virtual_ns >= 0 && event_ns > virtual_ns) virtual_ns = event_ns;
}

int64_t now_ns(void) {
    struct timespec t;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t);
    return t.tv_sec * (int64_t)SECOND + t.tv_nsec;
}

int clock_gettime(clockid_t which, struct timespec *t) {
    if (virtual_ns < 0) return syscall(SYS_clock_gettime, which, t);
    t->tv_sec = BEGIN_S + virtual_ns / SECOND, t->tv_nsec = virtual_ns % SECOND;
    return 0;
}
