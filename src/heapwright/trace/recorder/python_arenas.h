/* The arenas of a Python's own allocator, and what it passes on to malloc. Included by recorder.c.
 *
 *   arena_made, arena_gone (python.h) ─► a list ─► how much of them is resident: heap, for process.h
 *   a large block of malloc's that Python was given ─► looks.h, until Python gives it back */
#define ARENAS_LISTED 65536

static __thread int python_inside __attribute__((tls_model("initial-exec"))); /* CPython's allocator is at work */
static __thread void *python_ground __attribute__((tls_model("initial-exec"))); /* malloc's last answer there */
static struct {
    uint64_t count, bytes; /* of all */
    struct { uint64_t base, bytes; } arena[ARENAS_LISTED];
    uint64_t large[1024]; /* a bit for some bits of the address of each large block */
} pools;

static int take_arenas(void) {
    for (int turn = 0; turn < 200; turn++) {
        if (!__atomic_exchange_n(&state.arena_lock, 1, __ATOMIC_ACQUIRE)) return 1;
        if (turn > 100) sched_yield();
    }
    return 0;
}
static void list_arena(uint64_t base, uint64_t bytes, int gone) {
    if (!take_arenas()) return;
    uint64_t at = gone ? 0 : pools.count;
    while (gone && at < pools.count && pools.arena[at].base != base) at++;
    if (gone && at < pools.count) pools.bytes -= pools.arena[at].bytes, pools.arena[at] = pools.arena[--pools.count];
    if (!gone && at < ARENAS_LISTED) {
        pools.arena[at].base = base, pools.arena[at].bytes = bytes;
        pools.count++, pools.bytes += bytes;
    }
    __atomic_store_n(&state.arena_lock, 0, __ATOMIC_RELEASE);
}
static uint64_t arenas_resident(void) {
    uint64_t total = 0;
    if (!pools.count || !take_arenas()) return 0;
    for (uint64_t i = 0; i < pools.count; i++)
        total += present(pools.arena[i].base, pools.arena[i].base + pools.arena[i].bytes) * page_bytes;
    __atomic_store_n(&state.arena_lock, 0, __ATOMIC_RELEASE);
    return total;
}

static inline uint64_t *bit_of(uint64_t *words, void *p, uint64_t *bit) { /* of 1,024 words */
    uint64_t mixed = ((uint64_t)p >> 4) * 0x9e3779b97f4a7c15;
    *bit = 1UL << (mixed >> 58);
    return words + (mixed >> 48 & 1023);
}
static void python_large(void *p, size_t size, int how) {
    uint64_t bit, *word = bit_of(pools.large, p, &bit);
    __atomic_fetch_or(word, bit, __ATOMIC_RELAXED);
    given_large(p, size, how);
}
static inline int python_leaves(void *p, struct large *left) { /* before it is freed or resized; whether calloc had given it */
    uint64_t bit, *word = bit_of(pools.large, p, &bit);
    return __builtin_expect((*word & bit) != 0, 0) ? gone_large(p, left) : 0;
}
