/* What once deadlocked, misled or escaped the recorder. `cases WHAT [COUNT]`. */
#define _GNU_SOURCE
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sys/time.h>
#include <unistd.h>

static void *volatile kept;

static void churn(long events) {
    static __thread void *block[64];
    unsigned draw = 1;
    for (long i = 0; i < events / 2; i++) {
        draw = draw * 1103515245 + 12345;
        void **at = &block[draw >> 8 & 63];
        free(*at);
        *at = malloc(draw >> 14 & 1023);
    }
}

static void join_one(void *(*body)(void *), void *argument) {
    pthread_t thread;
    pthread_create(&thread, NULL, body, argument);
    pthread_join(thread, NULL);
}

/* pthread_setspecific allocates for the 33rd key, and may be called within malloc */
static int keys(void) {
    pthread_key_t key;
    for (int i = 0; i < 40; i++) pthread_key_create(&key, NULL);
    kept = malloc(10);
    return 0;
}

/* a thread that was cancelled goes on until a cancellation point, of which malloc has none */
static pthread_barrier_t barrier;
static void *cancelled(void *events) {
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    churn((long)events);
    pthread_testcancel();
    return NULL;
}
static int cancel(long events) {
    pthread_t thread;
    void *result;
    pthread_barrier_init(&barrier, NULL, 2);
    pthread_create(&thread, NULL, cancelled, (void *)events);
    pthread_barrier_wait(&barrier);
    pthread_cancel(thread);
    pthread_barrier_wait(&barrier);
    pthread_join(thread, &result);
    churn(events);
    return result != PTHREAD_CANCELED;
}

/* glibc frees the buffer of strerror after the last thread-specific destructor */
static void *late_thread(void *nothing) {
    free(malloc(100));
    kept = malloc(50);
    strerror(100000);
    return nothing;
}
static int late(long threads) {
    for (long i = 0; i < threads; i++) join_one(late_thread, NULL);
    kept = malloc(50);
    return 0;
}

/* blocks freed by a destructor in the last round, behind the recorder's own */
static pthread_key_t last_key;
static __thread int round_of_destructors;
static void destroy(void *block) {
    if (++round_of_destructors < 4) pthread_setspecific(last_key, block);
    else free(block);
}
static void *last_round_thread(void *nothing) {
    pthread_setspecific(last_key, malloc(77));
    return nothing;
}
static int last_round(void) {
    for (int i = 0; i < 3; i++) pthread_key_create(&last_key, destroy);
    for (int i = 0; i < 3; i++) join_one(last_round_thread, NULL);
    return 0;
}

/* threads of which sixteen at once are alive, each with a buffer that glibc frees last */
static void *shared[64];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void *passing(void *seed) {
    unsigned draw = (unsigned)(size_t)seed;
    strerror(100000 + (int)draw);
    for (int i = 0; i < 50; i++) {
        draw = draw * 1103515245 + 12345;
        void *mine = malloc(draw >> 20 & 511);
        if (i % 5 == 0) mine = realloc(mine, 1 + (draw >> 18 & 1023));
        pthread_mutex_lock(&lock);
        void *other = shared[draw >> 8 & 63];
        shared[draw >> 8 & 63] = mine;
        pthread_mutex_unlock(&lock);
        free(other);
    }
    return NULL;
}
static int come_and_go(long rounds) {
    pthread_t thread[16];
    for (long round = 0; round < rounds; round++) {
        for (long i = 0; i < 16; i++) pthread_create(&thread[i], NULL, passing, (void *)(round * 16 + i));
        for (long i = 0; i < 16; i++) pthread_join(thread[i], NULL);
    }
    return 0;
}

/* one thread asks for long while the other waits, then both at once, three times; signals come meanwhile */
static int turn;
static void tick(int number) { (void)number; }
static void *in_turn(void *first) {
    unsigned draw = 7;
    for (int i = 0; i < 39000; i++) {
        if (i % 13000 == 0 || i % 13000 == 3000) { /* awake, so that both begin at once */
            int all = (__atomic_fetch_add(&turn, 1, __ATOMIC_SEQ_CST) | 1) + 1;
            while (__atomic_load_n(&turn, __ATOMIC_SEQ_CST) < all) sched_yield();
        }
        if (!first && i % 13000 < 3000) continue;
        draw = draw * 1103515245 + 12345;
        free(__atomic_exchange_n(&shared[draw >> 8 & 63], malloc(1 + (draw >> 20 & 511)), __ATOMIC_SEQ_CST));
    }
    return NULL;
}
static int turns(void) {
    pthread_t thread[2];
    struct itimerval often = {{0, 200}, {0, 200}}, never = {{0, 0}, {0, 0}};
    signal(SIGALRM, tick);
    setitimer(ITIMER_REAL, &often, NULL);
    for (long i = 0; i < 2; i++) pthread_create(&thread[i], NULL, in_turn, (void *)i);
    for (long i = 0; i < 2; i++) pthread_join(thread[i], NULL);
    return setitimer(ITIMER_REAL, &never, NULL);
}

static pthread_t main_thread;
static void *after_main(void *nothing) {
    pthread_join(main_thread, NULL);
    for (int i = 0; i < 10; i++) kept = malloc(24);
    return nothing;
}
static void main_exits(void) {
    pthread_t thread;
    free(malloc(24));
    main_thread = pthread_self();
    pthread_create(&thread, NULL, after_main, NULL);
    pthread_exit(NULL);
}

static int steer(void) {
    mallopt(M_MMAP_THRESHOLD, 65536);
    mallopt(M_TRIM_THRESHOLD, -1);
    kept = malloc(100);
    sbrk(8192);
    sbrk(-4096);
    sbrk(0);
    if (brk((char *)sbrk(0) + 100)) return 1;
    malloc_trim(1000);
    kept = malloc(200000);
    return 0;
}

static void *waiting(void *nothing) {
    void *block = malloc(1000);
    memset(block, 1, 1000);
    pthread_barrier_wait(&barrier);
    free(block);
    return nothing;
}
static int many(long threads) { /* prints its resident KiB */
    pthread_t *thread = malloc(threads * sizeof *thread);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 65536);
    pthread_barrier_init(&barrier, NULL, threads + 1);
    for (long i = 0; i < threads; i++)
        if (pthread_create(&thread[i], &attributes, waiting, NULL)) return 1;
    pthread_barrier_wait(&barrier);
    for (long i = 0; i < threads; i++) pthread_join(thread[i], NULL);
    char line[256];
    FILE *status = fopen("/proc/self/status", "r");
    while (fgets(line, sizeof line, status))
        if (!strncmp(line, "VmHWM:", 6)) printf("%ld\n", atol(line + 6));
    fclose(status);
    return 0;
}

static void *forking(void *events) { /* the child goes on with this thread alone, which ends in it */
    churn(100);
    pid_t child = fork();
    if (child) waitpid(child, NULL, 0);
    else churn((long)events);
    return NULL;
}

static int become(char *self, char *how) { /* an environment of its own */
    char *none[] = {NULL}, *preload[] = {"LD_PRELOAD=libm.so.6:/lib/libjemalloc_of_no_one.so:/malloc/libc.so.6", "A=1", NULL};
    char *next[] = {self, "churn", "500", NULL};
    churn(2000);
    if (!strcmp(how, "execve")) execve(self, next, none);
    if (!strcmp(how, "execle")) execle(self, self, "churn", "500", NULL, preload);
    if (!strcmp(how, "execl")) clearenv(), execl(self, self, "churn", "500", NULL);
    if (!strcmp(how, "execlp")) unsetenv("LD_PRELOAD"), execlp(self, self, "churn", "500", NULL);
    if (!strcmp(how, "execv")) setenv("LD_PRELOAD", "libm.so.6", 1), execv(self, next);
    if (!strcmp(how, "execvp")) clearenv(), execvp(self, next);
    if (!strcmp(how, "nothing")) execve("/nowhere/at/all", next, none);
    return 3;
}

int main(int count, char **argument) {
    const char *what = argument[1];
    long number = count > 2 ? atol(argument[2]) : 1000;
    if (!strcmp(what, "keys")) return keys();
    if (!strcmp(what, "churn")) churn(number);
    if (!strcmp(what, "cancel")) return cancel(number);
    if (!strcmp(what, "late")) return late(number);
    if (!strcmp(what, "come_and_go")) return come_and_go(number);
    if (!strcmp(what, "turns")) return turns();
    if (!strcmp(what, "last_round")) return last_round();
    if (!strcmp(what, "main_exits")) main_exits();
    if (!strcmp(what, "steer")) return steer();
    if (!strcmp(what, "many")) return many(number);
    if (!strcmp(what, "become")) return become(argument[0], argument[2]);
    if (!strcmp(what, "fork_of_thread")) join_one(forking, (void *)number);
    if (!strcmp(what, "fork")) { /* the child allocates on its parent's heap, and one more on its own */
        churn(number);
        pid_t child = fork();
        if (!child) {
            pid_t grandchild = fork();
            if (!grandchild) churn(number), _exit(0);
            waitpid(grandchild, NULL, 0);
        }
        churn(2 * number);
        if (child) waitpid(child, NULL, 0);
    }
    if (!strcmp(what, "daemon")) { /* outlives its parent, by so many milliseconds */
        churn(100);
        if (fork()) return 0;
        setsid();
        usleep(number * 1000);
        churn(1000);
    }
    if (!strcmp(what, "nobody")) { churn(100); if (setuid(65534)) return 1; churn(number); }
    if (!strcmp(what, "wait")) { churn(number); puts("ready"); fflush(stdout); pause(); }
    return 0;
}
