/* A program to attach to. `serving WHAT [PLUGIN]`: says "ready", acts on SIGUSR1 and says "acted", ends in
 * order on SIGTERM with a line that shows whether anything went wrong, and status 7. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t ends, acts;
static void on_signal(int number) { if (number == SIGTERM) ends = 1; else acts = 1; }
static void say(const char *what) { printf("%s\n", what); fflush(stdout); }

static double floats(double x) { /* keeps vector registers in use */
    double a = x, b = x + 1, c = x + 2;
    for (int i = 0; i < 50; i++) a = a * 0.5 + b, b = b * 0.25 + c, c = c * 0.125 + a;
    return a + b + c;
}
static void waiting_handler(int number) { /* which came upon code of libc: raise */
    (void)number;
    say("ready");
    while (!ends) poll(NULL, 0, 50);
}
static long wrong;
static void *churn(void *arg) { /* what is written stays written; sums are what they were */
    long events = *(long *)arg;
    unsigned char *kept[64] = {0};
    size_t sizes[64] = {0};
    unsigned draw = 1;
    double first = floats(3);
    for (long i = 0; !ends && (!events || i < events); i++) {
        draw = draw * 1103515245 + 12345;
        int at = draw >> 8 & 63;
        if (kept[at] && (kept[at][0] != at || kept[at][sizes[at] - 1] != at)) __atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
        if (draw & 1 << 20) free(kept[at]), kept[at] = malloc(sizes[at] = 1 + (draw >> 14 & 1023));
        else kept[at] = realloc(kept[at], sizes[at] = 1 + (draw >> 14 & 1023));
        kept[at][0] = kept[at][sizes[at] - 1] = at;
        if (floats(3) != first) __atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
        static int told;
        if (i == 1000 && !__atomic_exchange_n(&told, 1, __ATOMIC_RELAXED)) say("ready");
    }
    for (int i = 0; i < 64; i++) free(kept[i]);
    return NULL;
}

static void act(char **argument) {
    if (!strcmp(argument[1], "plugin")) {
        void *plugin = dlopen(argument[2], RTLD_NOW);
        void (*called)(void) = plugin ? (void (*)(void))dlsym(plugin, "plugged") : NULL;
        if (called) called();
        else wrong++;
    } else if (!strcmp(argument[1], "fork")) {
        pid_t child = fork();
        if (!child) { for (int i = 0; i < 9; i++) free(malloc(5555)); _exit(0); }
        waitpid(child, NULL, 0);
    } else if (!strcmp(argument[1], "exec")) execl("/bin/sleep", "sleep", "20", NULL);
    for (int i = 0; i < 100; i++) free(malloc(4242));
    acts = 0;
    say("acted");
}

int main(int count, char **argument) {
    const char *what = count > 1 ? argument[1] : "";
    long forever = 0, interrupted = 0;
    struct sigaction action = {.sa_handler = on_signal};
    sigset_t none, both;
    sigemptyset(&none);
    sigemptyset(&both);
    sigaddset(&both, SIGTERM), sigaddset(&both, SIGUSR1);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
    free(malloc(10));
    if (!strcmp(what, "loop")) churn(&forever);
    else if (!strcmp(what, "threads")) {
        pthread_t thread[6];
        sigset_t all, old;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        for (int i = 0; i < 6; i++) pthread_create(&thread[i], NULL, churn, &forever);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        while (!ends) usleep(1000);
        for (int i = 0; i < 6; i++) pthread_join(thread[i], NULL);
    } else if (!strcmp(what, "handler")) {
        signal(SIGUSR2, waiting_handler);
        raise(SIGUSR2);
    } else { /* signals come while it waits, and at no other time */
        int set = epoll_create1(0);
        struct epoll_event event;
        sigprocmask(SIG_BLOCK, &both, NULL);
        say("ready");
        while (!ends) {
            int got = epoll_pwait(set, &event, 1, -1, &none);
            if (got < 0 && errno == EINTR && !ends && !acts) interrupted++;
            if (acts) act(argument);
        }
    }
    printf("wrong %ld interrupted %ld\n", wrong, interrupted);
    return 7;
}
