/* What was really written: how many pages of large blocks hold memory. Included by recorder.c.
 *
 *   a large block is given ─► a row of `large`     it is freed or resized ─► a look; LOOK if it has news
 *   now and then, and at the end ─► a look at each that lives, and process.h's at the whole process
 *
 * A page that was never written holds no memory: mincore tells. What calloc gave may have been read, and
 * then shows the system's page of zeros: PAGEMAP_SCAN tells it apart, or the bit of pages held alone.
 *
 * Cost       a look at a block is a system call, 1 us, and 1 us more for each 4 MiB. Looks at blocks that
 *            go may take BURST_NS and a 1/SHARE of the processor time so far; those at every block wait
 *            until the program has had REST times what the last one took. What is left out is counted: header.unseen
 * Lock       whoever does not get it soon goes on without: a handler that allocates never waits for the
 *            code that it interrupted, nor a forked child for a thread that it has not. A row may so stay
 *            behind its block; it is looked at in vain, and leaves when the address is given again
 * Memory     a row of 24 bytes for each large block alive, 1/2 of 3/4 empty */
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

struct large { uint64_t address, bytes : 62, zeroed : 1, mapped : 1, seen; }; /* seen: resident bytes */
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

/* Resident pages of [from, to), whole pages; *reach is how many there are up to the last such one. In a
 * heap the last page is left out where that before it holds nothing: the next chunk's header is there. */
static uint64_t present(uintptr_t from, uintptr_t to, int heap, uint64_t *reach) {
    union { unsigned char page[AT_ONCE]; uint64_t word[AT_ONCE / 8]; } in;
    uint64_t count = 0;
    for (uintptr_t at = from; at < to; at += AT_ONCE * looks.page) {
        size_t pages = (to - at) / looks.page < AT_ONCE ? (to - at) / looks.page : AT_ONCE;
        in.word[(pages - 1) / 8] = 0; /* what lies behind the last page */
        if (syscall(SYS_mincore, at, pages * looks.page, in.page)) return UNKNOWN_YET; /* not mapped, not allowed */
        if (heap && at + pages * looks.page == to && pages > 1 && !(in.page[pages - 2] & 1)) in.page[pages - 1] = 0;
        for (size_t i = 0; i <= (pages - 1) / 8; i++) {
            uint64_t set = in.word[i] & 0x0101010101010101UL;
            if (set) {
                count += __builtin_popcountl(set);
                *reach = (at - from) / looks.page + 8 * i + 8 - __builtin_clzl(set) / 8;
            }
        }
    }
    return count;
}

struct scan { uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, inverted, mask, any, wanted; };
struct region { uint64_t start, end, categories; };
#define SCAN _IOWR('f', 16, struct scan) /* Linux 6.7: PAGEMAP_SCAN */
enum { IS_PRESENT = 8, IS_ZERO_PAGE = 32, ALONE = 56, HERE = 63 };

/* The same without pages of zeros. */
static uint64_t written(uintptr_t from, uintptr_t to, int heap, uint64_t *reach) {
    struct region found[16];
    struct scan asked = {.size = sizeof asked, .start = from, .end = to, .vec = (uintptr_t)found, .vec_len = 16,
                         .inverted = IS_ZERO_PAGE, .mask = IS_PRESENT | IS_ZERO_PAGE, .wanted = IS_PRESENT};
    int fd = opened("/proc/self/pagemap", O_RDONLY);
    long told = fd < 0 ? -1 : syscall(SYS_ioctl, fd, SCAN, &asked);
    uint64_t count = 0, page[64];
    if (told < 0 && fd >= 0 && state.header && !state.header->first) /* a forked child holds no page alone */
        for (uintptr_t at = from; at < to; at += 64 * looks.page) {
            size_t pages = (to - at) / looks.page < 64 ? (to - at) / looks.page : 64;
            long got = syscall(SYS_pread64, fd, page, 8 * pages, at / looks.page * 8);
            for (long i = 0; i < got / 8; i++)
                if (page[i] >> HERE & page[i] >> ALONE & 1) count++, *reach = (at - from) / looks.page + i + 1;
        }
    else if (told < 0) count = present(from, to, heap, reach);
    for (; told >= 0; asked.start = asked.walk_end, told = syscall(SYS_ioctl, fd, SCAN, &asked)) {
        for (long i = 0; i < told; i++) {
            if (heap && found[i].start == to - looks.page) continue;
            count += (found[i].end - found[i].start) / looks.page;
            *reach = (found[i].end - from) / looks.page;
        }
        if (asked.walk_end >= to || asked.walk_end <= asked.start) break;
    }
    closed(fd);
    return count;
}

/* Look at a block and log what is new: bytes of it resident, counted in whole pages from its start, and
 * bytes up to the last such page, which are more where it was not written from the start on. */
static uint64_t look_at(const struct large *block) {
    int error = errno;
    uintptr_t from = block->address & -looks.page, to = (block->address + block->bytes + looks.page - 1) & -looks.page;
    uint64_t reach = 0, count = block->zeroed ? written(from, to, !block->mapped, &reach)
                                               : present(from, to, !block->mapped, &reach), head;
    if (count == UNKNOWN_YET) return errno = error, unseen(), block->seen;
    uint64_t before = block->address - from, bytes = count * looks.page, last = reach * looks.page;
    bytes = bytes <= before ? 0 : bytes - before < block->bytes ? bytes - before : block->bytes;
    last = last <= before ? 0 : last - before < block->bytes ? last - before : block->bytes;
    if (bytes != block->seen) {
        uint64_t *place = append(LOOK, 3, &head);
        if (place) {
            place[1] = bytes, place[2] = last;
            __atomic_store_n(place, block->address >> 4 | head, __ATOMIC_RELEASE);
        }
    }
    errno = error;
    return bytes;
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
            uint64_t seen = look_at(&some[i]);
            chunks += some[i].mapped ? seen : 0;
            if (seen == some[i].seen || !take_looks()) continue;
            struct large *row = row_at(large_place(some[i].address));
            if (row->address == some[i].address && row->bytes == some[i].bytes) row->seen = seen;
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

static __attribute__((noinline)) void given_large(void *p, size_t size, int zeroed) {
    if (state.phase != ON) return;
    struct large block = {.address = (uintptr_t)p, .bytes = size, .zeroed = zeroed, .seen = UNKNOWN_YET};
    block.mapped = serves == 1 && ((const size_t *)p)[-1] & 2;
    enter_large(&block);
    if (looks.let_go <= 0) look_if_due(now_ns());
}

static __attribute__((noinline)) int gone_large(void *p) { /* whether calloc had given it */
    struct large block;
    if (state.phase != ON) return 0;
    uint64_t now = looks.let_go > 0 ? 0 : now_ns();
    if (now && look_if_due(now)) now = now_ns(); /* while it counts among the others */
    if (!remove_row((uintptr_t)p, &block)) return 0;
    if (!now) return looks.let_go--, unseen(), block.zeroed; /* a race loses one */
    if (__atomic_load_n(&looks.spent, __ATOMIC_RELAXED) > BURST_NS + looks.used_ns / SHARE)
        return looks.let_go = LET_GO, unseen(), block.zeroed;
    look_at(&block);
    uint64_t took = now_ns() - now; /* who waits for the processor in between has not looked for so long */
    __atomic_fetch_add(&looks.spent, took < MOST_NS ? took : MOST_NS, __ATOMIC_RELAXED);
    return block.zeroed;
}

static int look_now_and_then(void) { return look_if_due(now_ns()); }
