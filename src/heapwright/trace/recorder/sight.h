/* What a block holds of memory, page by page, and what of it was written. Included by looks.h.
 *
 *   mincore, pagemap ─► runs of resident pages ─► stale, or written ─► bytes at least, bytes at most
 *
 * A page that was never written holds no memory: mincore tells. What calloc gave may have been read, and
 * then shows the system's page of zeros: PAGEMAP_SCAN tells it apart, or the bit of pages held alone.
 * In a heap a page may be there from a block before: so what is there when a block is given is remembered,
 * as stale, and its first word is marked, which says nothing yet: where the mark is gone, it was written again.
 * What calloc cleared was not written while it is all zeros. A forked child shares its pages, so it marks none:
 * a block was written at least up to its last page that is not stale, at most as far as pages follow that one.
 *
 * Cost       a system call, 1 us, and 1 us more for each 4 MiB; a word of each stale page. */
#define AT_ONCE 1024 /* pages told by a call of mincore */
#define UNKNOWN_YET (~0UL)
#define RUNS 4 /* of stale pages that are remembered of a block; where there are more, the nearest become one */

struct large {
    uint64_t address, bytes : 61, zeroed : 1, mapped : 1, marked : 1;
    uint64_t least, most;     /* bytes written, at the last look */
    uint32_t stale[RUNS][2];  /* pages that were there when it was given: the first, past the last; ascending */
};
static uint64_t page_bytes;
static int shares_pages; /* a forked child, with who forked it */

/* What a look sees of the pages of a block, or of any area: runs of resident ones, in order. */
struct sight {
    const struct large *block;         /* whose stale pages are told apart; none: NULL */
    enum { UNREAD, OWN, ASKED } reads; /* whether marks are read: by who has the block, or through the system */
    int marks;                         /* whether what is seen is marked */
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
static uint64_t *mark_in(const struct large *block, uint64_t page) { /* the first word of it in the block */
    return (uint64_t *)(page ? (block->address & -page_bytes) + page * page_bytes : block->address);
}
static uint64_t mark_for(const uint64_t *at) { return (uintptr_t)at * 0x9E3779B97F4A7C15UL; }
/* The words [at, last] of a page: as they are, or a copy where the block may be gone by now; NULL where it is. */
static const uint64_t *words_of(const struct sight *s, const uint64_t *at, const uint64_t *last, uint64_t copy[512]) {
    size_t bytes = (size_t)(last - at + 1) * sizeof *at;
    struct iovec here = {copy, bytes}, there = {(void *)(uintptr_t)at, bytes};
    if (s->reads == OWN) return at;
    return syscall(SYS_process_vm_readv, getpid(), &here, 1, &there, 1, 0) == (long)bytes ? copy : NULL;
}
static int as_before(const struct sight *s, uint64_t page) { /* whether it is stale, and not known to be written */
    const struct large *block = s->block;
    uint64_t copy[512], stale = 0;
    for (int i = 0; i < RUNS; i++) stale |= page >= block->stale[i][0] && page < block->stale[i][1];
    if (!stale) return 0;
    const uint64_t *at = mark_in(block, page), *words;
    if (s->reads == UNREAD || !(block->zeroed || block->marked)) return 1;
    if (!block->zeroed) return !(words = words_of(s, at, at, copy)) || *words == mark_for(at);
    const uint64_t *last = (const uint64_t *)(((uintptr_t)at | 4095) - 7);
    if ((uintptr_t)last >= block->address + block->bytes) last = (const uint64_t *)((block->address + block->bytes - 8) & -8UL);
    if (!(words = words_of(s, at, last, copy))) return 1;
    while (at < last && !*words) at++, words++;
    return !*words;
}
static void end_run(struct sight *s) {
    uint64_t first = s->first, past = s->past, last = past;
    const struct large *block = s->block;
    s->first = s->past = 0;
    /* A page alone at the end of a block in a heap: the next chunk's header is there */
    if (past <= first || (block && !block->mapped && past == s->pages && first && past - first == 1)) return;
    for (uint64_t at = first; s->marks && at < past; at++) *mark_in(block, at) = mark_for(mark_in(block, at));
    while (block && last > first && as_before(s, last - 1)) last--;
    if (last > first) s->front = last, s->least = s->total + last - first, s->most = s->least + past - last;
    else if (!first) s->most = past;
    if (block && s->reads != UNREAD && (block->zeroed || block->marked)) s->most = s->least;
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
    for (uintptr_t at = from; at < to; at += AT_ONCE * page_bytes) {
        size_t pages = (to - at) / page_bytes < AT_ONCE ? (to - at) / page_bytes : AT_ONCE;
        in.word[(pages - 1) / 8] = 0; /* what lies behind the last page */
        if (syscall(SYS_mincore, at, pages * page_bytes, in.page)) return 0;
        for (size_t i = 0; i <= (pages - 1) / 8; i++) {
            uint64_t set = in.word[i] & all, base = (at - from) / page_bytes + 8 * i;
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
    struct sight s = {.pages = (to - from) / page_bytes};
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
    if (told < 0 && fd >= 0 && !shares_pages)
        for (uintptr_t at = from; at < to; at += 64 * page_bytes) {
            size_t pages = (to - at) / page_bytes < 64 ? (to - at) / page_bytes : 64;
            long got = syscall(SYS_pread64, fd, page, 8 * pages, at / page_bytes * 8);
            for (uint64_t i = 0, base = (at - from) / page_bytes; got > 0 && i < (uint64_t)got / 8; i++)
                if (page[i] >> HERE & page[i] >> ALONE & 1) see(s, base + i, base + i + 1);
        }
    else if (told < 0) known = see_present(s, from, to);
    for (; told >= 0; asked.start = asked.walk_end, told = syscall(SYS_ioctl, fd, SCAN, &asked)) {
        for (long i = 0; i < told; i++)
            see(s, (found[i].start - from) / page_bytes, (found[i].end - from) / page_bytes);
        if (asked.walk_end >= to || asked.walk_end <= asked.start) break;
    }
    closed(fd);
    return known;
}
static int sight_of(const struct large *block, struct sight *s) {
    uintptr_t from = block->address & -page_bytes, to = (block->address + block->bytes + page_bytes - 1) & -page_bytes;
    s->block = block, s->pages = (to - from) / page_bytes;
    if (!(block->zeroed ? see_written(s, from, to) : see_present(s, from, to))) return 0;
    end_run(s);
    return 1;
}

/* Bytes of a block in so many of its pages from the start. */
static uint64_t bytes_in(const struct large *block, uint64_t pages) {
    uint64_t before = block->address & (page_bytes - 1), bytes = pages * page_bytes;
    return bytes <= before ? 0 : bytes - before < block->bytes ? bytes - before : block->bytes;
}
