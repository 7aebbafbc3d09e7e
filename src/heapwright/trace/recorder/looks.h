/* What was really written: how many pages of large blocks hold memory. Included by recorder.c.
 *
 *   a large block is given ─► a row of `large`     it is freed or resized ─► a look; LOOK if it has news
 *   now and then, and at the end ─► a look at each that lives, and process.h's at the whole process
 *
 * A page that was never written holds no memory: mincore tells. What calloc gave may have been read, and
 * then shows the system's page of zeros: PAGEMAP_SCAN tells it apart, or the bit of pages held alone.
 * In a heap a page may be there from a block before: so what is there when a block is given is remembered,
 * as stale. Of a stale page nobody can tell whether it was written again: a block was written at least up to
 * its last page that was not there, at most as far as pages follow that one.
 *
 * Cost       a look at a block is a system call, 1 us, and 1 us more for each 4 MiB. Looks at blocks that
 *            go may take BURST_NS and a 1/SHARE of the processor time so far; those at every block wait
 *            until the program has had REST times what the last one took. What is left out is counted: header.unseen
 * Lock       whoever does not get it soon goes on without: a handler that allocates never waits for the
 *            code that it interrupted, nor a forked child for a thread that it has not. A row may so stay
 *            behind its block; it is looked at in vain, and leaves when the address is given again
 * Memory     a row of 64 bytes for each large block alive, 1/2 of 3/4 empty */
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
#define AT_ONCE 1024 /* pages told by a call of mincore */
#define SLICE 32 /* rows that are copied under the lock at once */
#define UNKNOWN_YET (~0UL)
#define RUNS 4 /* of stale pages that are remembered of a block; where there are more, the nearest become one */

struct large {
    uint64_t address, bytes : 62, zeroed : 1, mapped : 1;
    uint64_t least, most;     /* bytes written, at the last look */
    uint32_t stale[RUNS][2];  /* pages that were there when it was given: the first, past the last; ascending */
};
static struct {
    int lock, looking, let_go; /* let_go: how many looks more */
    unsigned first, rows, used; /* the table lies in rows [first, first + rows), a power of two of them */
    uint64_t page, spent, next; /* ns; when every block is looked at again, at the soonest */
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

static void begin_looks(void) { /* in a fresh process, and in a forked child, where nobody else runs */
    looks.lock = looks.looking = 0;
    looks.page = sysconf(_SC_PAGESIZE);
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
    uintptr_t from = ((uintptr_t)old + looks.page - 1) & -looks.page, to = (uintptr_t)(old + count) & -looks.page;
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

/* What a look sees of the pages of a block, or of any area: runs of resident ones, in order. */
struct sight {
    const struct large *block;         /* whose stale pages are told apart; none: NULL */
    uint64_t pages, first, past;       /* of the whole; the run that may go on */
    uint64_t total, front, least, most; /* resident; past the last that is not stale; resident up to there;
                                         * and with those that follow it without a gap */
    uint32_t run[RUNS][2];
    int runs;
};
static void nearest_become_one(struct sight *s) {
    int at = 1;
    for (int i = 2; i < RUNS; i++)
        if (s->run[i][0] - s->run[i - 1][1] < s->run[at][0] - s->run[at - 1][1]) at = i;
    s->run[at - 1][1] = s->run[at][1];
    for (s->runs--; at < s->runs; at++) s->run[at][0] = s->run[at + 1][0], s->run[at][1] = s->run[at + 1][1];
}
static void end_run(struct sight *s) {
    uint64_t first = s->first, past = s->past, last = past;
    const struct large *block = s->block;
    s->first = s->past = 0;
    /* A page alone at the end of a block in a heap: the next chunk's header is there */
    if (past <= first || (block && !block->mapped && past == s->pages && first && past - first == 1)) return;
    for (int i = RUNS - 1; block && i >= 0; i--)
        if (block->stale[i][0] < last && block->stale[i][1] >= last) last = block->stale[i][0];
    if (last > first) s->front = last, s->least = s->total + last - first, s->most = s->least + past - last;
    else if (!first) s->most = past;
    s->total += past - first;
    if (s->runs == RUNS) nearest_become_one(s);
    s->run[s->runs][0] = first, s->run[s->runs++][1] = past;
}
static void see(struct sight *s, uint64_t first, uint64_t past) { /* these are resident */
    if (first != s->past) end_run(s), s->first = first;
    s->past = past;
}

/* By mincore; 0 where that is not told: not mapped, not allowed. */
static int see_present(struct sight *s, uintptr_t from, uintptr_t to) {
    union { unsigned char page[AT_ONCE]; uint64_t word[AT_ONCE / 8]; } in;
    const uint64_t all = 0x0101010101010101UL;
    for (uintptr_t at = from; at < to; at += AT_ONCE * looks.page) {
        size_t pages = (to - at) / looks.page < AT_ONCE ? (to - at) / looks.page : AT_ONCE;
        in.word[(pages - 1) / 8] = 0; /* what lies behind the last page */
        if (syscall(SYS_mincore, at, pages * looks.page, in.page)) return 0;
        for (size_t i = 0; i <= (pages - 1) / 8; i++) {
            uint64_t set = in.word[i] & all, base = (at - from) / looks.page + 8 * i;
            if (set == all) see(s, base, base + 8);
            else for (; set; set &= set - 1) {
                uint64_t page = base + (uint64_t)__builtin_ctzl(set) / 8;
                see(s, page, page + 1);
            }
        }
    }
    return 1;
}
static uint64_t present(uintptr_t from, uintptr_t to) { /* pages */
    struct sight s = {.pages = (to - from) / looks.page};
    if (!see_present(&s, from, to)) return UNKNOWN_YET;
    end_run(&s);
    return s.total;
}

struct scan { uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, inverted, mask, any, wanted; };
struct region { uint64_t start, end, categories; };
#define SCAN _IOWR('f', 16, struct scan) /* Linux 6.7: PAGEMAP_SCAN */
enum { IS_PRESENT = 8, IS_ZERO_PAGE = 32, ALONE = 56, HERE = 63 };

/* The same without pages of zeros. */
static int see_written(struct sight *s, uintptr_t from, uintptr_t to) {
    struct region found[16];
    struct scan asked = {.size = sizeof asked, .start = from, .end = to, .vec = (uintptr_t)found, .vec_len = 16,
                         .inverted = IS_ZERO_PAGE, .mask = IS_PRESENT | IS_ZERO_PAGE, .wanted = IS_PRESENT};
    int fd = opened("/proc/self/pagemap", O_RDONLY), known = 1;
    long told = fd < 0 ? -1 : syscall(SYS_ioctl, fd, SCAN, &asked);
    uint64_t page[64];
    if (told < 0 && fd >= 0 && state.header && !state.header->first) /* a forked child holds no page alone */
        for (uintptr_t at = from; at < to; at += 64 * looks.page) {
            size_t pages = (to - at) / looks.page < 64 ? (to - at) / looks.page : 64;
            long got = syscall(SYS_pread64, fd, page, 8 * pages, at / looks.page * 8);
            for (uint64_t i = 0, base = (at - from) / looks.page; got > 0 && i < (uint64_t)got / 8; i++)
                if (page[i] >> HERE & page[i] >> ALONE & 1) see(s, base + i, base + i + 1);
        }
    else if (told < 0) known = see_present(s, from, to);
    for (; told >= 0; asked.start = asked.walk_end, told = syscall(SYS_ioctl, fd, SCAN, &asked)) {
        for (long i = 0; i < told; i++)
            see(s, (found[i].start - from) / looks.page, (found[i].end - from) / looks.page);
        if (asked.walk_end >= to || asked.walk_end <= asked.start) break;
    }
    closed(fd);
    return known;
}
static int sight_of(const struct large *block, struct sight *s) {
    uintptr_t from = block->address & -looks.page, to = (block->address + block->bytes + looks.page - 1) & -looks.page;
    s->block = block, s->pages = (to - from) / looks.page;
    if (!(block->zeroed ? see_written(s, from, to) : see_present(s, from, to))) return 0;
    end_run(s);
    return 1;
}

/* Bytes of a block in so many of its pages from the start. */
static uint64_t bytes_in(const struct large *block, uint64_t pages) {
    uint64_t before = block->address & (looks.page - 1), bytes = pages * looks.page;
    return bytes <= before ? 0 : bytes - before < block->bytes ? bytes - before : block->bytes;
}

/* Look at a block and log what is new: bytes of it that were surely written, counted in whole pages from its
 * start, bytes that may have been, and whether pages between are not there. */
static void look_at(struct large *block) {
    int error = errno;
    struct sight s = {0};
    uint64_t head;
    if (!sight_of(block, &s)) return errno = error, unseen();
    uint64_t least = bytes_in(block, s.least), most = bytes_in(block, s.most);
    if (least != block->least || most != block->most) {
        uint64_t *place = append(LOOK, 3, &head);
        if (place) {
            place[1] = least | (uint64_t)(s.least < s.front) << 48, place[2] = most;
            __atomic_store_n(place, block->address >> 4 | head, __ATOMIC_RELEASE);
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
            look_at(&some[i]);
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

static __attribute__((noinline)) void given_large(void *p, size_t size, int zeroed) {
    if (state.phase != ON) return;
    struct large block = {.address = (uintptr_t)p, .bytes = size, .zeroed = zeroed, .least = UNKNOWN_YET,
                          .most = UNKNOWN_YET};
    block.mapped = serves == 1 && ((const size_t *)p)[-1] & 2;
    uint64_t now = looks.let_go > 0 ? 0 : now_ns();
    if (now && !block.mapped && !no_time()) {
        struct sight s = {0};
        int error = errno;
        if (sight_of(&block, &s)) memcpy(block.stale, s.run, sizeof s.run);
        errno = error;
        spent_since(now);
    }
    enter_large(&block);
    if (now) look_if_due(now);
}

/* A block was resized: what had been there before it is not stale, but for what was in the block that was. */
static __attribute__((noinline)) void goes_on(void *p, const struct large *left) {
    if (!left->address || !take_looks()) return;
    struct large *row = row_at(large_place((uintptr_t)p));
    if (row->address == (uintptr_t)p) {
        struct sight s = {0};
        uint32_t old = (left->bytes + (left->address & (looks.page - 1)) + looks.page - 1) / looks.page;
        for (int i = 0; i < RUNS && left->address == row->address; i++)
            if (left->stale[i][1] && left->stale[i][0] < old)
                see(&s, left->stale[i][0], left->stale[i][1] < old ? left->stale[i][1] : old);
        for (int i = 0; i < RUNS; i++)
            if (row->stale[i][1] > old) see(&s, row->stale[i][0] > old ? row->stale[i][0] : old, row->stale[i][1]);
        end_run(&s);
        memcpy(row->stale, s.run, sizeof s.run);
        row->zeroed |= left->zeroed;
    }
    leave_looks();
}

/* Before it goes; `left` is what was known of it, of address 0 if nothing. Whether calloc had given it. */
static __attribute__((noinline)) int gone_large(void *p, struct large *left) {
    struct large block;
    if (left) left->address = 0;
    if (state.phase != ON) return 0;
    uint64_t now = looks.let_go > 0 ? 0 : now_ns();
    if (now && look_if_due(now)) now = now_ns(); /* while it counts among the others */
    if (!remove_row((uintptr_t)p, &block)) return 0;
    if (left) *left = block;
    if (!now) return looks.let_go--, unseen(), block.zeroed; /* a race loses one */
    if (no_time()) return looks.let_go = LET_GO, unseen(), block.zeroed;
    look_at(&block);
    spent_since(now);
    return block.zeroed;
}

static int look_now_and_then(void) { return look_if_due(now_ns()); }
