/* What was really written: how many pages of large blocks hold memory. Included by recorder.c.
 *
 *   a large block is given ─► a row of `large`     it is freed or resized ─► a look; LOOK if it has news
 *   now and then, and at the end ─► a look at each that lives, and process.h's at the whole process
 *
 * Cost       a look at a block is a system call, 1 us, and 1 us more for each 4 MiB. Looks at blocks that
 *            go may take BURST_NS and a 1/SHARE of the processor time so far; those at every block wait
 *            until the program has had REST times what the last one took. What is left out is counted: header.unseen
 * Lock       whoever does not get it soon goes on without: a handler that allocates never waits for the
 *            code that it interrupted, nor a forked child for a thread that it has not. A row may so stay
 *            behind its block; it is looked at in vain, and leaves when the address is given again
 * Memory     a row of 64 bytes for each large block alive, 1/2 of 3/4 empty */
#include "sight.h"

#ifndef LARGE_BYTES /* benchmarks/recorder.py builds one without looks */
#define LARGE_BYTES 65536UL /* schema.py: LARGE_BYTES */
#endif
#define FIRST_ROWS 256U
#define MOST_ROWS (1U << 17) /* half of them used: 65,536 large blocks, 4 GiB at least */
#define BURST_NS 3000000UL
#define SHARE 50
#define MOST_NS 20000UL /* that a look at one block counts */
#define REST 60
#define RESTED_NS 1000000000UL
#define APART_NS 10000000UL /* looks at every block are at least so far apart */
#define LET_GO 32 /* looks at blocks that go, one after the other, once there is no time for one */
#define SLICE 32 /* rows that are copied under the lock at once */

static struct {
    int lock, looking, let_go; /* let_go: how many looks more */
    int ending; /* this is the last look */
    unsigned first, rows, used; /* the table lies in rows [first, first + rows), a power of two of them */
    uint64_t spent, next; /* ns; when every block is looked at again, at the soonest */
    uint64_t used_ns, last, due; /* processor time of the process when it was read last; when all were
                                  * looked at, and the processor time by which they are again */
    uint64_t chunks; /* resident bytes of blocks that glibc mapped on their own, at the last look */
    struct large row[2 * MOST_ROWS];
} looks __attribute__((aligned(4096)));
static void sample(uint64_t number, uint64_t now); /* process.h */

static uint64_t clock_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1000000000UL + now.tv_nsec;
}
static uint64_t now_ns(void) { return clock_ns(CLOCK_MONOTONIC); }
static uint64_t mine_ns(void) { return clock_ns(CLOCK_THREAD_CPUTIME_ID); } /* what others take counts for nothing */

static void begin_looks(int forked) { /* in a fresh process, and in a forked child, where nobody else runs */
    shares_pages = forked;
    looks.lock = looks.looking = 0;
    page_bytes = sysconf(_SC_PAGESIZE);
    looks.spent = looks.used_ns = looks.due = 0;
    looks.last = now_ns();
    looks.next = looks.last + APART_NS;
    if (!looks.rows) looks.first = looks.rows = FIRST_ROWS;
}

static int take_looks(void) {
    for (int turn = 0; turn < 200; turn++) {
        if (!__atomic_exchange_n(&looks.lock, 1, __ATOMIC_ACQUIRE)) return 1;
        if (turn > 100) sched_yield();
    }
    return 0;
}
static void leave_looks(void) { __atomic_store_n(&looks.lock, 0, __ATOMIC_RELEASE); }
static void unseen(void) {
    if (state.phase == ON) __atomic_fetch_add(&state.header->unseen, 1, __ATOMIC_RELAXED);
}

static unsigned large_home(uint64_t address) { return (address >> 12) * 0x9E3779B97F4A7C15UL >> 40 & (looks.rows - 1); }
static struct large *row_at(unsigned place) { return looks.row + looks.first + (place & (looks.rows - 1)); }
static unsigned large_place(uint64_t address) { /* where it is, or the empty row where it belongs */
    unsigned at = large_home(address);
    while (row_at(at)->address && row_at(at)->address != address) at++;
    return at;
}

static int more_rows(void) { /* twice as many, behind the present ones; under the lock */
    if (looks.rows == MOST_ROWS) return 0;
    struct large *old = looks.row + looks.first;
    unsigned count = looks.rows;
    looks.first = looks.rows = 2 * count;
    for (unsigned i = 0; i < count; i++)
        if (old[i].address) *row_at(large_place(old[i].address)) = old[i];
    uintptr_t from = ((uintptr_t)old + page_bytes - 1) & -page_bytes, to = (uintptr_t)(old + count) & -page_bytes;
    if (to > from) syscall(SYS_madvise, from, to - from, MADV_DONTNEED);
    return 1;
}

static void enter_large(const struct large *block) {
    if (!take_looks()) return unseen();
    unsigned at = large_place(block->address);
    if (!row_at(at)->address) {
        if (2 * looks.used >= looks.rows && !more_rows()) return leave_looks(), unseen();
        at = large_place(block->address);
        looks.used++;
    }
    *row_at(at) = *block;
    leave_looks();
}

static int remove_row(uint64_t address, struct large *block) { /* Knuth 6.4, algorithm R; 0: not there */
    if (!looks.rows || !take_looks()) return 0;
    unsigned at = large_place(address), hole = at;
    int found = row_at(at)->address == address;
    if (found) {
        *block = *row_at(at);
        while (row_at(++at)->address) {
            unsigned mask = looks.rows - 1, from = large_home(row_at(at)->address);
            if (((at - from) & mask) >= ((at - hole) & mask)) *row_at(hole) = *row_at(at), hole = at;
        }
        row_at(hole)->address = 0;
        looks.used--;
    }
    leave_looks();
    return found;
}

/* Look at a block and log what is new: bytes of it that were surely written, counted in whole pages from its
 * start, bytes that may have been, and whether pages between are not there. */
static void look_at(struct large *block, int reads) {
    int error = errno;
    struct sight s = {.reads = reads};
    uint64_t head;
    if (!sight_of(block, &s)) return errno = error, unseen();
    uint64_t least = bytes_in(block, s.least), most = bytes_in(block, s.most);
    if (least != block->least || most != block->most) {
        uint64_t *place = append(LOOK, 3, &head);
        if (place) {
            place[1] = least | (uint64_t)(s.least < s.front) << 48, place[2] = most;
            __atomic_store_n(place, PLACED(block->address) | head, __ATOMIC_RELEASE);
        }
    }
    block->least = least, block->most = most;
    errno = error;
}

/* By one thread at a time, in slices: others are not kept waiting. Then it is logged when it began. */
static void look_at_all(void) {
    struct large some[SLICE];
    uint64_t chunks = 0, began = __atomic_load_n(&kept.number, __ATOMIC_RELAXED), head;
    unsigned at = 0, count = 1;
    while (count) {
        if (!take_looks()) break;
        for (count = 0; at < looks.rows && count < SLICE; at++)
            if (row_at(at)->address) some[count++] = *row_at(at);
        leave_looks();
        for (unsigned i = 0; i < count; i++) {
            uint64_t least = some[i].least, most = some[i].most;
            look_at(&some[i], looks.ending ? ASKED : UNREAD);
            if (some[i].mapped && some[i].least != UNKNOWN_YET) chunks += some[i].least;
            if ((least == some[i].least && most == some[i].most) || !take_looks()) continue;
            struct large *row = row_at(large_place(some[i].address));
            if (row->address == some[i].address && row->bytes == some[i].bytes)
                row->least = some[i].least, row->most = some[i].most;
            leave_looks();
        }
    }
    looks.chunks = chunks;
    uint64_t *place = looks.used ? append(LOOK, 3, &head) : NULL;
    if (!place) return;
    place[1] = began & LOW_48, place[2] = 0;
    __atomic_store_n(place, head, __ATOMIC_RELEASE);
}

static int look(uint64_t now) { /* whether this thread looked */
    if (state.phase != ON || __atomic_exchange_n(&looks.looking, 1, __ATOMIC_ACQUIRE)) return 0;
    int error = errno;
    uint64_t began = mine_ns();
    look_at_all();
    sample(kept.number, now);
    looks.due = looks.used_ns + REST * (mine_ns() - began);
    looks.last = now;
    __atomic_store_n(&looks.next, now + APART_NS, __ATOMIC_RELAXED);
    __atomic_store_n(&looks.looking, 0, __ATOMIC_RELEASE);
    errno = error;
    return 1;
}
static int look_if_due(uint64_t now) { /* by the time that the program has had; by the clock, if it rests */
    if (now < __atomic_load_n(&looks.next, __ATOMIC_RELAXED)) return 0;
    looks.used_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    if (looks.used_ns >= looks.due || now - looks.last >= RESTED_NS) return look(now);
    __atomic_store_n(&looks.next, now + APART_NS, __ATOMIC_RELAXED);
    return 0;
}

static int no_time(void) { return __atomic_load_n(&looks.spent, __ATOMIC_RELAXED) > BURST_NS + looks.used_ns / SHARE; }
static void spent_since(uint64_t then) {
    uint64_t took = now_ns() - then; /* who waits for the processor in between has not looked for so long */
    __atomic_fetch_add(&looks.spent, took < MOST_NS ? took : MOST_NS, __ATOMIC_RELAXED);
}

/* What is there of [first, ...) of a block that nobody has written yet: as the looks after it will find it. */
static void see_stale(struct large *block, uint64_t first, struct sight *s) {
    uint64_t began = looks.let_go > 0 || block->mapped ? 0 : now_ns();
    if (!began || no_time()) return;
    struct large rest = *block;
    int error = errno;
    rest.address += first * page_bytes - (first ? rest.address & (page_bytes - 1) : 0);
    rest.bytes = block->address + block->bytes - rest.address;
    s->marks = block->marked;
    if (rest.address >= block->address + block->bytes || !sight_of(&rest, s)) s->runs = 0;
    errno = error;
    spent_since(began);
}

/* `how` it came: its bytes say nothing, are zeros, or hold what was resized, of which goes_on tells. */
enum { ANYTHING, ZEROS, CARRIED };
static __attribute__((noinline)) void given_large(void *p, size_t size, int how) {
    if (state.phase != ON) return;
    struct large block = {.address = (uintptr_t)p, .bytes = size, .zeroed = how == ZEROS, .least = UNKNOWN_YET,
                          .most = UNKNOWN_YET};
    struct sight s = {0};
    block.mapped = serves == 1 && ((const size_t *)p)[-1] & 2;
    block.marked = !block.zeroed && !shares_pages;
    if (how != CARRIED) see_stale(&block, 0, &s);
    memcpy(block.stale, s.run, sizeof s.run);
    enter_large(&block);
    if (looks.let_go <= 0) look_if_due(now_ns());
}

/* A block was resized, of which `room` bytes hold what they held: of these only those are stale that were. */
static __attribute__((noinline)) void goes_on(void *p, const struct large *left, size_t room) {
    struct large block = {0};
    if (!take_looks()) return;
    struct large *row = row_at(large_place((uintptr_t)p));
    if (row->address == (uintptr_t)p) block = *row;
    leave_looks();
    if (!block.address) return;
    struct sight tail = {0}, s = {0};
    uint32_t old = (room + (block.address & (page_bytes - 1)) + page_bytes - 1) / page_bytes, to;
    int stays = left->address == block.address;
    block.zeroed |= left->address && left->zeroed;
    block.marked = !block.zeroed && !shares_pages && !(stays && left->stale[0][1] && !left->marked);
    if (room < block.bytes) see_stale(&block, old, &tail);
    for (int i = 0; i < RUNS && stays; i++) {
        to = left->stale[i][1] < old ? left->stale[i][1] : old;
        if (left->stale[i][0] < to) see(&s, left->stale[i][0], to);
    }
    for (int i = 0; i < tail.runs; i++) see(&s, tail.run[i][0] + old, tail.run[i][1] + old);
    end_run(&s);
    memcpy(block.stale, s.run, sizeof s.run);
    if (!take_looks()) return;
    row = row_at(large_place((uintptr_t)p));
    if (row->address == (uintptr_t)p) *row = block;
    leave_looks();
}

/* Before it goes; `left` is what was known of it, of address 0 if nothing. Whether calloc had given it. */
static __attribute__((noinline)) int gone_large(void *p, struct large *left) {
    struct large block;
    if (left) left->address = 0;
    mine->look = mine->due = 0; /* its time is told after a pause */
    if (state.phase != ON) return 0;
    uint64_t now = looks.let_go > 0 ? 0 : now_ns();
    if (now && look_if_due(now)) now = now_ns(); /* while it counts among the others */
    if (!remove_row((uintptr_t)p, &block)) return 0;
    if (left) *left = block;
    if (!now) return looks.let_go--, unseen(), block.zeroed; /* a race loses one */
    if (no_time()) return looks.let_go = LET_GO, unseen(), block.zeroed;
    look_at(&block, OWN);
    spent_since(now);
    return block.zeroed;
}

static int look_now_and_then(void) { return look_if_due(now_ns()); }
