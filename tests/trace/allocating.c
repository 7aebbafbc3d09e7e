/* A program that allocates in every way the recorder knows. `allocating WHAT [COUNT]`. */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#if __has_include(<sys/rseq.h>)
#include <sys/rseq.h>
static void no_restarts(void) { /* the kernel forgets this thread's restartable sequences, if it knew them */
    syscall(SYS_rseq, (char *)__builtin_thread_pointer() + __rseq_offset, 32, RSEQ_FLAG_UNREGISTER, RSEQ_SIG);
}
#else
static void no_restarts(void) {}
#endif

#define CHECK(truth) do { if (!(truth)) { fprintf(stderr, "line %d: " #truth "\n", __LINE__); exit(99); } } while (0)

static int every_way(void) { /* what the recorder returns is what glibc returns, errno included */
    void *p, *q = NULL;
    errno = 77;
    p = malloc(100); CHECK(p && errno == 77);
    p = realloc(p, 5000); CHECK(p && malloc_usable_size(p) >= 5000);
    p = reallocarray(p, 10, 700); CHECK(p);
    CHECK(!reallocarray(p, (size_t)-1, 16) && errno == ENOMEM);
    CHECK(!realloc(p, (size_t)1 << 62) && errno == ENOMEM);
    CHECK(!realloc(p, 0));
    free(NULL);
    CHECK(!malloc((size_t)-1) && !malloc((size_t)1 << 62) && !calloc((size_t)-1, 3) && errno == ENOMEM);
    p = calloc(7, 9); CHECK(p && !memcmp(p, (char[63]){0}, 63)); free(p);
    p = memalign(4096, 100); CHECK(!((size_t)p & 4095)); free(p);
    p = memalign(48, 100); CHECK(!((size_t)p & 63)); free(p);
    p = aligned_alloc(64, 128); CHECK(!((size_t)p & 63)); free(p);
    p = valloc(10); CHECK(!((size_t)p & 4095)); free(p);
    p = pvalloc(5000); CHECK(!((size_t)p & 4095) && malloc_usable_size(p) >= 8192); free(p);
    CHECK(posix_memalign(&q, 24, 8) == EINVAL && posix_memalign(&q, 0, 8) == EINVAL && !q);
    CHECK(!posix_memalign(&q, 256, 8) && !((size_t)q & 255)); free(q);
    p = malloc(0); CHECK(p && malloc_usable_size(p) == 24 && !malloc_usable_size(NULL)); free(p);
    p = malloc(1 << 20); CHECK(p); /* mapped on its own, never freed */
    return 0;
}

static void churn(long events) {
    void *kept[64] = {0};
    unsigned draw = 1;
    for (long i = 0; i < events / 2; i++) {
        draw = draw * 1103515245 + 12345;
        void **at = &kept[draw >> 8 & 63];
        free(*at);
        *at = malloc(draw >> 14 & 1023);
    }
}

static int apart; /* each fourth thread gives up its restartable sequences, and threads pause */
static void *shared[256];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *worker(void *seed) { /* blocks are freed by other threads than allocated them */
    unsigned draw = (unsigned)(size_t)seed;
    if (apart && draw % 4 == 1) no_restarts();
    for (int i = 0; i < 20000; i++) {
        if (apart && i % 5000 == 0) usleep(1000 * (draw >> 20 & 7));
        draw = draw * 1103515245 + 12345;
        void *mine = malloc(draw >> 14 & 1023);
        if (i % 3 == 0) mine = realloc(mine, 1 + (draw >> 12 & 4095));
        pthread_mutex_lock(&lock);
        void *other = shared[draw >> 8 & 255];
        shared[draw >> 8 & 255] = mine;
        pthread_mutex_unlock(&lock);
        free(other);
    }
    return NULL;
}

static void threads(int rounds) {
    for (int round = 0; round < rounds; round++) {
        pthread_t thread[4];
        for (size_t i = 0; i < 4; i++) pthread_create(&thread[i], NULL, worker, (void *)(i + 4 * round + 1));
        for (int i = 0; i < 4; i++) pthread_join(thread[i], NULL);
    }
}

static void in_handler(int number) { (void)number; free(malloc(5000)); }

int main(int count, char **argument) {
    const char *what = argument[1];
    long events = count > 2 ? atol(argument[2]) : 1000;
    if (!strcmp(what, "ways")) return every_way();
    if (!strcmp(what, "churn")) churn(events);
    if (!strcmp(what, "threads")) threads(events);
    if (!strcmp(what, "apart")) apart = 1, threads(events);
    if (!strcmp(what, "kill")) churn(events), kill(getpid(), SIGKILL);
    if (!strcmp(what, "crash")) churn(events), raise(SIGSEGV);
    if (!strcmp(what, "_exit")) churn(events), _exit(7);
    if (!strcmp(what, "close")) { for (int fd = 0; fd < 1024; fd++) close(fd); churn(events); _exit(0); }
    if (!strcmp(what, "chdir")) { CHECK(!chdir("/")); churn(events); }
    if (!strcmp(what, "wait")) { churn(events); puts("ready"); fflush(stdout); pause(); }
    if (!strcmp(what, "exec")) { churn(events); execl(argument[0], argument[0], "churn", "500", NULL); }
    if (!strcmp(what, "vfork")) { churn(events); if (!vfork()) _exit(0); churn(events); }
    if (!strcmp(what, "fork")) {
        void *before = malloc(33);
        churn(events);
        pid_t child = fork();
        if (!child) { free(before); churn(600); _exit(0); }
        waitpid(child, NULL, 0);
        churn(events);
    }
    if (!strcmp(what, "limit")) { /* no file may grow: the log ends, the program goes on */
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){3 << 20, 3 << 20});
        churn(events);
        puts("went on");
    }
    if (!strcmp(what, "signals")) { /* forbidden by POSIX and done all the same; must not deadlock here */
        signal(SIGPROF, in_handler);
        for (int i = 0; i < 200; i++) { raise(SIGPROF); churn(500); }
    }
    return 0;
}
