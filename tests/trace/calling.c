/* A program whose call stacks are known. `calling WHAT [COUNT]`. */
#define _GNU_SOURCE
#include <alloca.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define KEEP __asm__ volatile("" ::: "memory") /* what follows a call keeps it from being a jump */
#define APART __attribute__((noinline, noclone))
typedef void *body(int, unsigned);
APART body f0, f1, f2, f3;
static body *const functions[] = {f0, f1, f2, f3};
static unsigned state = 1;

static unsigned draw(void) { return (state = state * 1103515245 + 12345) >> 16; }
static APART void *go(int depth, unsigned code) { /* code: the path as digits of base 4, behind a 1 */
    if (!depth) return malloc(1 + code);
    unsigned k = draw() & 3;
    void *p = functions[k](depth - 1, code * 4 + k);
    KEEP;
    return p;
}
APART void *f0(int depth, unsigned code) { void *p = go(depth, code); KEEP; return p; }
APART __attribute__((optimize("no-omit-frame-pointer"))) void *f1(int depth, unsigned code) {
    void *p = go(depth, code);
    KEEP;
    return p;
}
APART void *f2(int depth, unsigned code) {
    char *b = alloca(16 + (draw() & 255));
    memset(b, 1, 16);
    __asm__ volatile("" ::"r"(b) : "memory");
    void *p = go(depth, code);
    KEEP;
    return p;
}
APART void *f3(int depth, unsigned code) {
    _Alignas(64) char b[64];
    memset(b, code, 64);
    __asm__ volatile("" ::"r"(b) : "memory");
    void *p = go(depth, code);
    KEEP;
    return p;
}

static inline __attribute__((always_inline)) void *within(size_t n) { void *p = malloc(n); KEEP; return p; }
static inline __attribute__((always_inline)) void *inlined(size_t n) { void *p = within(n); KEEP; return p; }
APART void outside(size_t n) { free(inlined(n)); KEEP; }
APART void outer(size_t n) { free(malloc(n)); KEEP; }
APART void deep(int left, size_t n) {
    if (left) deep(left - 1, n);
    else free(malloc(n));
    KEEP;
}

static APART void step(int left) {
    if (left) step(left - 1);
    else free(malloc(50));
    KEEP;
}
static void *work(void *none) {
    for (int i = 0; i < 300; i++) step(1);
    return none;
}

static jmp_buf back;
static void handler(int number) { free(malloc(number == SIGUSR2 ? 70 : 60)); KEEP; }
static APART void raising(void) { raise(SIGUSR1); KEEP; }
static APART void jumper(int left) {
    free(malloc(70));
    KEEP;
    if (left) longjmp(back, 1);
    KEEP;
}
static APART void jumping(int left) { jumper(left); KEEP; }

static APART void forking(void) {
    free(malloc(81));
    pid_t child = fork();
    if (child) waitpid(child, NULL, 0);
    void outer(size_t);
    outer(child ? 82 : 84);
    free(malloc(child ? 83 : 85));
    KEEP;
}

/* A call of malloc(n) with this frame pointer, by code without unwind tables. */
void *without_tables(size_t n, void *frame);
__asm__(".text\n.globl without_tables\n.type without_tables, @function\nwithout_tables:\n\tpush %rbp\n\tpush %rbx\n"
        "\tsub $8, %rsp\n\tmov %rsi, %rbp\n\tcall malloc@PLT\n\tadd $8, %rsp\n\tpop %rbx\n\tpop %rbp\n\tret\n"
        ".size without_tables, .-without_tables\n");
static void garbage(void) {
    long circle[4], below[4];
    circle[0] = (long)circle, circle[1] = (long)garbage;
    below[0] = 0x7fffffffff00, below[1] = 1;
    void *frames[] = {NULL, (void *)1, (void *)0x7fffffffffff, circle, (char *)circle + 3, below, (void *)-8, (void *)garbage};
    for (int i = 0; i < 8; i++) free(without_tables(i + 1, frames[i]));
}

int main(int count, char **argument) {
    const char *what = argument[1];
    int n = count > 2 ? atoi(argument[2]) : 0;
    if (!strcmp(what, "paths")) for (int i = 0; i < n; i++) free(go(1 + draw() % 6, 1));
    if (!strcmp(what, "inlined")) outside(77);
    if (!strcmp(what, "deep")) deep(n, n);
    if (!strcmp(what, "threads")) {
        pthread_t thread[4];
        for (int i = 0; i < 4; i++) pthread_create(&thread[i], NULL, work, NULL);
        for (int i = 0; i < 4; i++) pthread_join(thread[i], NULL);
    }
    if (!strcmp(what, "otherstack")) {
        stack_t other = {.ss_sp = malloc(1 << 16), .ss_size = 1 << 16};
        sigaltstack(&other, NULL);
        sigaction(SIGUSR1, &(struct sigaction){.sa_handler = handler, .sa_flags = SA_ONSTACK}, NULL);
        for (int i = 0; i < 50; i++) raising();
    }
    if (!strcmp(what, "signal")) {
        signal(SIGUSR1, handler);
        for (int i = 0; i < 50; i++) raising();
    }
    if (!strcmp(what, "longjmp")) {
        volatile int left = 400;
        setjmp(back);
        if (left) jumping(--left);
    }
    if (!strcmp(what, "fork")) { outer(80); forking(); }
    if (!strcmp(what, "garbage")) garbage();
    KEEP;
    return 0;
}
