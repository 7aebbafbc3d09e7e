/* The number of an event: what orders the threads' records. Included by log.h.
 *
 *   its owner ─► number++, in a restartable sequence: no lock, no barrier      one thread ─► number++
 *   any other ─► is there an owner? ─ none ─► a locked add, in such a sequence
 *                                   └ yes ─► there is none any more; then as above
 *
 * A locked add costs as much as all the rest of a record, and most programs with threads have one that asks
 * for memory at a time. A thread that has taken every number for a while becomes the owner. The kernel starts a
 * restartable sequence anew when its thread is preempted or has a signal, and membarrier does so to those that
 * run: so nobody waits for anybody, and whoever is between two states is helped on.
 *
 * Owner      0: nobody; a stream; odd: a ticket, on the way to nobody, or from there to a stream
 * Change     a ticket is set ─► every sequence that began before is over ─► whoever sees it sets 0, or the
 *            one that claims its stream, if nobody was quicker
 * Without    a thread whose sequences the kernel does not know (a filter of system calls forbade them, it took
 *            them back itself) says so for good, ends the owner and adds: from then on there is none
 * Omits      a child of vfork has no such sequences, and may not ask for memory. Before glibc 2.35, where they
 *            are turned off, and on other processors each number is a locked add
 * Source     rseq(2), membarrier(2), Documentation/userspace-api of Linux; glibc's sys/rseq.h */
#define NO_NUMBER (~0UL)
#define ALONE_FIRST 1024UL /* numbers in a row, and a thread becomes the owner; twice as many if it soon loses that */
#define ALONE_MOST (1UL << 22)
#define WORTHWHILE 64 /* times as many, and it paid */

static ptrdiff_t sequences; /* from the thread pointer to what the kernel reads; 0: there are none */
static ptrdiff_t area; /* the same; without, to what nobody reads */

#if defined __x86_64__
enum { RESTART = 128, REGISTER_RESTART = 256 }; /* MEMBARRIER_CMD_(REGISTER_)PRIVATE_EXPEDITED_RSEQ */

static __thread uint64_t unread[2] __attribute__((tls_model("initial-exec")));
static void begin_area(void) {
    char *thread;
    __asm__("movq %%fs:0, %0" : "=r"(thread));
    area = sequences ? sequences : (char *)unread - thread;
}
static void begin_sequences(void) { /* while there is one thread, if may be: then it costs nothing */
    const char *version = gnu_get_libc_version();
    if (sequences || strncmp(version, "2.", 2) || atoi(version + 2) < 35) return;
    const ptrdiff_t *offset = dlsym(RTLD_DEFAULT, "__rseq_offset");
    const unsigned *size = dlsym(RTLD_DEFAULT, "__rseq_size");
    int error = errno;
    if (offset && size && *size && !syscall(SYS_membarrier, REGISTER_RESTART, 0, 0)) sequences = *offset;
    begin_area();
    errno = error;
}
static int has_sequences(void) { /* this thread: a processor's number is in its area */
    int32_t processor;
    __asm__ volatile("movl %%fs:4(%1), %0" : "=r"(processor) : "r"(sequences));
    return processor >= 0;
}

/* `test` the owner, else out; then `take` the number, whose last instruction counts. */
#define SEQUENCE(test, take)                                                                        \
    ".pushsection __rseq_cs, \"aw\", @progbits\n\t.balign 32\n"                                     \
    "3:\t.long 0, 0\n\t.quad 1f, 2f - 1f, 4f\n\t.popsection\n\t"                                    \
    "leaq 3b(%%rip), %[word]\n\tmovq %[word], %%fs:8(%[area])\n1:\t" test "\n\tjne 4f\n\t" take "\n" \
    "2:\n\t.pushsection .text.unlikely, \"ax\", @progbits\n\t.byte 0x0f, 0xb9, 0x3d\n\t.long 0x53053053\n" \
    "4:\tmovq $-1, %[number]\n\tjmp 2b\n\t.popsection"
/* The owner's number is counted; else it goes on at not_now. */
#define COUNTING                                                                                    \
    ".pushsection __rseq_cs, \"aw\", @progbits\n\t.balign 32\n"                                     \
    "3:\t.long 0, 0\n\t.quad 1f, 2f - 1f, 4f\n\t.popsection\n\t"                                    \
    "leaq 3b(%%rip), %%rcx\n\tmovq %%rcx, %%fs:8(%[area])\n1:\tcmpq %[me], %[owner]\n\tjne %l[not_now]\n\t" \
    "incq %[next]\n2:\n\t.pushsection .text.unlikely, \"ax\", @progbits\n\t.byte 0x0f, 0xb9, 0x3d\n\t" \
    ".long 0x53053053\n4:\tjmp %l[not_now]\n\t.popsection"
static inline __attribute__((always_inline)) uint64_t by_owner(const struct stream *s) {
    uint64_t number, word;
    __asm__ volatile(SEQUENCE("cmpq %[me], %[owner]", "movq %[next], %[number]\n\tleaq 1(%[number]), %[word]\n\tmovq %[word], %[next]")
                     : [number] "=&r"(number), [word] "=&r"(word), [next] "+m"(kept.number)
                     : [me] "r"(s), [owner] "m"(state.owner), [area] "r"(sequences) : "cc", "memory");
    return number;
}
static uint64_t by_anybody(void) {
    uint64_t number, word;
    __asm__ volatile(SEQUENCE("cmpq $0, %[owner]", "movl $1, %k[number]\n\tlock xaddq %[number], %[next]")
                     : [number] "=&r"(number), [word] "=&r"(word), [next] "+m"(kept.number)
                     : [owner] "m"(state.owner), [area] "r"(sequences) : "cc", "memory");
    return number;
}
static int restarted(void) { /* every sequence that began before; else those that run are given the time to end */
    if (!syscall(SYS_membarrier, RESTART, 0, 0)) return 1;
    state.patience = NO_NUMBER;
    return syscall(SYS_nanosleep, &(struct timespec){0, 1000000}, NULL), 0;
}
#else
static void begin_sequences(void) {}
static void begin_area(void) {}
static int has_sequences(void) { return 0; }
static inline uint64_t by_owner(const struct stream *s) { return (void)s, NO_NUMBER; }
static uint64_t by_anybody(void) { return NO_NUMBER; }
static int restarted(void) { return 0; }
#endif

static uint64_t ticket(void) { return __atomic_add_fetch(&state.tickets, 2, __ATOMIC_RELAXED) | 1; }
static int changed(uint64_t from, uint64_t to) {
    return __atomic_compare_exchange_n(&state.owner, &from, to, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
static void to_nobody(uint64_t owner) {
    int error = errno;
    if (!(owner & 1)) {
        uint64_t held = __atomic_load_n(&kept.number, __ATOMIC_RELAXED) - state.claimed, patience = state.patience, mine_now = ticket();
        if (!changed(owner, mine_now)) return;
        if (held < WORTHWHILE * patience && patience < ALONE_MOST) state.patience = 2 * patience;
        else if (held >= WORTHWHILE * patience && patience > ALONE_FIRST) state.patience = patience / 2;
        owner = mine_now;
    }
    restarted();
    changed(owner, 0);
    errno = error;
}

/* The thread has taken every number since its last look, so many of them. */
static __attribute__((noinline)) void was_alone(struct stream *s, uint64_t numbers) {
    if (!state.patience) state.patience = ALONE_FIRST;
    if ((s->alone += numbers) < state.patience || __atomic_load_n(&state.owner, __ATOMIC_RELAXED)) return;
    s->alone = 0;
    uint64_t mine_now = ticket();
    if (!has_sequences() || !changed(0, mine_now)) return;
    if (__atomic_load_n(&state.without, __ATOMIC_SEQ_CST)) return (void)changed(mine_now, 0);
    int error = errno;
    s->owned = 1;
    state.claimed = kept.number;
    if (!restarted() || !changed(mine_now, (uint64_t)s)) changed(mine_now, 0), s->owned = 0;
    errno = error;
}

static void is_alone(struct stream *s) { /* the only thread: it owns them until another one comes */
    if (!sequences || state.owner || state.without || !has_sequences()) return;
    s->owned = 1;
    state.claimed = kept.number;
    state.owner = (uint64_t)s;
}

static __attribute__((noinline)) uint64_t without_sequences(void) {
    uint64_t owner;
    __atomic_store_n(&state.without, 1, __ATOMIC_SEQ_CST);
    while ((owner = __atomic_load_n(&state.owner, __ATOMIC_SEQ_CST))) to_nobody(owner);
    return __atomic_fetch_add(&kept.number, 1, __ATOMIC_SEQ_CST);
}

/* Not by the owner in peace. Who was the owner looks at once at what was asked of it meanwhile: next_segment. */
static __attribute__((noinline)) uint64_t number_of(struct stream *s) {
    if (s->due) s->due = s->look = 0; /* others may have taken numbers meanwhile: what follows is no near record */
    if (!sequences) return __atomic_fetch_add(&kept.number, 1, __ATOMIC_RELAXED);
    if (__builtin_expect(!has_sequences(), 0)) return without_sequences();
    for (;;) {
        uint64_t owner = __atomic_load_n(&state.owner, __ATOMIC_ACQUIRE), number = NO_NUMBER;
        if (owner != (uint64_t)s && s->owned) s->owned = 0, s->look = 0;
        if (!owner) number = by_anybody();
        else if (owner == (uint64_t)s) number = by_owner(s);
        else to_nobody(owner);
        if (number != NO_NUMBER) return number;
    }
}

static inline __attribute__((always_inline)) uint64_t number_in_peace(const struct stream *s) { /* or NO_NUMBER */
    return __builtin_expect(__libc_single_threaded, 1) ? kept.number++ : state.owner == (uint64_t)s ? by_owner(s) : NO_NUMBER;
}
/* In peace a number is taken that nobody needs to know: of a near record. */
static inline __attribute__((always_inline)) int counted(const struct stream *s) {
    (void)s;
#if defined __x86_64__
    __asm__ goto(COUNTING : : [me] "r"(s), [owner] "m"(state.owner), [next] "m"(kept.number), [area] "r"(area)
                 : "cc", "memory", "rcx" : not_now);
    return 1;
not_now:
#endif
    return __libc_single_threaded ? kept.number++, 1 : 0;
}
static uint64_t take_number(void) {
    uint64_t number = number_in_peace(mine);
    return number != NO_NUMBER ? number : number_of(mine);
}
