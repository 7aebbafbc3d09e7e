/* When a program paused. Included by append.h.
 *
 *   now and then, by how quick events are, and at large blocks ─► the processor's own clock ─► a ms since? ─► SYNC, twice
 *
 * That clock costs a few ns to read, the system's ten times as much. Told is when the pause began, of the event
 * that was looked at last, and when the next one came: what is freed and then lies idle is known to be. */
#if defined __x86_64__
#define PAUSE_TICKS (1UL << 21)
static inline uint64_t ticks(void) { return __builtin_ia32_rdtsc(); }
#elif defined __aarch64__
static inline uint64_t ticks(void) { uint64_t t; __asm__ volatile("mrs %0, cntvct_el0" : "=r"(t)); return t; }
static inline uint64_t ticks_a_second(void) { uint64_t t; __asm__ volatile("mrs %0, cntfrq_el0" : "=r"(t)); return t; }
#define PAUSE_TICKS (ticks_a_second() / 1000)
#else
#define PAUSE_TICKS 1000000UL
static inline uint64_t ticks(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return now.tv_sec * 1000000000UL + now.tv_nsec;
}
#endif

#define QUICK_TICKS (PAUSE_TICKS / 256) /* since the last look: events are quick */

static void sync_at(struct stream *s, uint64_t number, uint64_t ns) {
    uint64_t *place = whole_word(s);
    place[1] = number;
    place[2] = ns;
    __atomic_store_n(place, SYNC | s->thread << 4, __ATOMIC_RELEASE);
    s->next = (uint32_t *)(place + 3);
}
/* Before the next record: when it is made, and if there was a pause, when that began. */
static void tell_time(struct stream *s, uint64_t number) {
    struct timespec now;
    uint64_t tick = ticks();
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t ns = now.tv_sec * 1000000000UL + now.tv_nsec, since = tick - s->ticks_synced;
    if (s->ns && s->checked > s->synced && tick - s->ticks >= PAUSE_TICKS && s->ticks - s->ticks_synced <= since)
        sync_at(s, s->checked, s->ns + (uint64_t)((double)(ns - s->ns) * ((double)(s->ticks - s->ticks_synced) / (double)since)));
    sync_at(s, number, ns);
    s->synced = s->checked = number, s->step = 1, s->due = 0, s->look = number + 1;
    s->ticks = s->ticks_synced = tick, s->ns = ns;
}
