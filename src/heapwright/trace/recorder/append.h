/* Where a thread's next record goes. Included by log.h.
 *
 *   in peace, nothing to look at ─► a near record ─► next      that stands in recorder.c, as it is most of what we do
 *   else ─► its number ─► is it time to look? ─ no ─► room     append
 *                         └ yes ─► a SYNC, a new chunk, another log ─► room */
static int has_room(const struct stream *s) { return (char *)s->end - (char *)s->next >= ROOM; }
static inline uint64_t *whole_word(struct stream *s) { /* where the next record goes that is no near one */
    if ((uintptr_t)s->next & 4) *s->next++ = PAD;
    return (uint64_t *)s->next;
}

#include "pauses.h"

/* This thread's stream with a SYNC and then room for the record of this number; NULL when off. In a
 * stream numbers rise, so a thread that is new in one takes a later number. Of a thread that ends, THREAD_EXIT
 * stands behind that record, until another one takes its place. */
static __attribute__((noinline)) struct stream *refill(uint64_t *taken, int words) {
    if (state.phase == OFF || waits()) return NULL;
    int error = errno;
    if (state.phase == ON && look_now_and_then()) *taken = take_number(); /* behind what it logged */
    sigset_t old = hold();
    if (state.phase == UNSTARTED) start(*taken);
    stop_if_asked();
    next_segment();
    struct stream *s = mine->end ? mine : NULL;
    if (state.phase == ON && !s && (s = adopt())) *taken = take_number(); /* the stream may be past the first one */
    int older = s && s->end && s->segment != state.segment;
    if (older) *taken = take_number();
    uint64_t number = *taken;
    if (state.phase == ON && (!s || ((older || !has_room(s)) && !next_chunk(s)))) {
        state.header->lost_errno = errno;
        state.header->lost = number + 1;
        state.phase = OFF;
    }
    if (state.phase != ON) s = NULL;
    else {
        uint64_t last = 0; /* of its lowest bits the record holds 16, counted from the SYNC's */
        while (s->rounds >= PTHREAD_DESTRUCTOR_ITERATIONS && (last = take_number()) - number > 0xffff) *taken = number = last;
        tell_time(s, number);
        if (last) { /* each further record comes here again */
            *(uint64_t *)(s->next + 2 * words) = THREAD_EXIT | last << 48;
            s->synced = number - SYNC_EVERY, s->look = 0;
        }
    }
    release(old);
    look_for_modules();
    errno = error;
    return s;
}

static inline void looked(struct stream *s, uint64_t number, uint64_t now) {
    s->step = now - s->ticks >= QUICK_TICKS ? 1 : s->step < CHECK_EVERY ? 2 * s->step : CHECK_EVERY;
    s->checked = number, s->ticks = now;
}
/* Whether near records go on: in peace, and if it is time to look, no more than that is to be done. */
static inline int goes_on_near(struct stream *s) {
    uint64_t number, now;
    if (!s->due) return 0;
    if ((number = kept.number) < s->due) return 1;
    if (!plain || number != s->look || !has_room(s) || number - s->synced >= SYNC_EVERY) return 0;
    if ((now = ticks()) - s->ticks >= PAUSE_TICKS) return 0;
    looked(s, number, now);
    return s->due = s->look = number + s->step, 1;
}

/* This thread's stream, for it is time to look; after a pause, or where there is no room, refilled. */
static __attribute__((noinline)) struct stream *due(uint64_t *taken, int words) {
    struct stream *s = mine;
    uint64_t now = ticks(), number = *taken;
    if (!has_room(s) || number - s->synced >= SYNC_EVERY || now - s->ticks >= PAUSE_TICKS) return refill(taken, words);
    uint64_t expected = s->checked + s->step;
    if (number > expected) s->alone = 0;
    else if (number == expected && !s->owned && !__libc_single_threaded && sequences) was_alone(s, s->step);
    looked(s, number, now);
    if (__libc_single_threaded) is_alone(s);
    if (__libc_single_threaded || s->owned) return s->look = number + s->step, s; /* number_of looks again */
    __atomic_store_n(&s->look, number + s->step, __ATOMIC_SEQ_CST);
    if (number - __atomic_load_n(&s->synced, __ATOMIC_SEQ_CST) >= SYNC_EVERY) return refill(taken, words); /* next_segment */
    return s;
}

/* Room for a record of a number that is taken now; NULL when off. Its first word, *head | PLACED(address), is
 * stored last: all or nothing. Near ones may follow it. */
static inline uint64_t *append(uint64_t op, int words, uint64_t *head) {
    uint64_t number = number_in_peace(mine);
    int peace = number != NO_NUMBER;
    if (!peace) number = number_of(mine);
    struct stream *s = mine;
    if (__builtin_expect(number >= s->look, 0)) s = due(&number, words); /* until then there is room */
    if (!s) return NULL;
    uint64_t *place = whole_word(s);
    s->next = (uint32_t *)(place + words);
    if (peace && plain) s->due = s->look;
    *head = op | number << 48;
    return place;
}

static void not_plain(void) { /* no near records from now on; who makes one at this moment may make a few more */
    plain = 0, never_plain = 1;
    for (uint64_t i = 1; i < state.streams && i < STREAMS; i++) __atomic_store_n(&state.stream[i].due, 0, __ATOMIC_RELAXED);
}

static void leave(void *stream) { /* a thread ends; other destructors may come after, but the last round */
    struct stream *s = mine;
    if (stream != s || pthread_equal(pthread_self(), kept.main)) return;
    if (++s->rounds < PTHREAD_DESTRUCTOR_ITERATIONS) pthread_setspecific(key, s);
    else {
        uint64_t number = take_number();
        refill(&number, 0);
    }
}
