/* The log of one process image: its format, its streams, its lock. Included by recorder.c.
 *
 *   a thread ─► its stream: a chunk of the log file, mapped shared ─full─► a copy further back in the log
 *
 * A stream's memory is the log file, so nothing is ever flushed: a program that crashes, calls _exit or
 * is killed leaves every event it made. A thread keeps one chunk mapped, at most CHUNK_BYTES of it resident;
 * when that is full it is copied and begins anew, as pages that are there already cost a fraction of
 * fresh ones. The file is opened by path for each copy and closed at once, so a program that closes all
 * descriptors does no harm.
 *
 * Order      numbers are taken before a free and after an allocation, so that in the log no address is
 *            reused before it was freed. They are dense: a reader merges threads by placing each record.
 * Fork       the kernel wipes `state` in the child, which starts anew: with its own log, or off. `kept`
 *            stays: the child counts on where its parent was, so the parent's log up to there and its
 *            own are one history.
 * Lock       under it nothing may allocate, and nothing may be a cancellation point: so system calls
 *            are made bare. Signals are blocked: a handler that allocates, which POSIX forbids, never
 *            deadlocks.
 * Ends       glibc frees buffers of a thread after the last of its thread-specific destructors and then
 *            gives its cache back (__libc_thread_freeres). So in the last round THREAD_EXIT is written
 *            where the next record would go, and a record that comes all the same takes its place and
 *            puts it behind itself. The thread that runs main has no end: glibc keeps its cache.
 *
 * Log file   struct header, then chunks of records, each ended by a zero word; 64-bit words:
 *   FREE, REALLOC_FROM, THREAD_EXIT    1 word   op | address << 1 | number << 48
 *   MALLOC, CALLOC, REALLOC, MEMALIGN  3 words  the same; size | slack << 48; caller | log2 align << 48
 *   the same + SHORT, but MEMALIGN     2 words  the same; size | caller << 16; slack is what rounds to 16
 *   STEERED                            3 words  op | kind << 4 | number << 48; operand; the break before
 *   SYNC                               3 words  op | thread << 4; number; time, ns. The last one before a record
 *                                               tells its number; one before that, when a pause began
 *   LOOK                               3 words  as MALLOC: of a live block, bytes surely written, slack 1 where
 *                                               not from its start on; bytes that may have been; or, of
 *                                               address 0: before which number a look at all began
 *   NEAR                               1 word   op | address - base; in the upper half size | slot << 16 |
 *                                               kind << 30: 1 malloc, 2 calloc, 3 realloc
 *   NEAR_FREE                          1/2      op | address - base
 *            Address 0 is a refused request, slack (usable less requested size) 0xffff unknown. A number
 *            without a record is no event. Operands as in schema.py.
 *   Near     what most records are. Their number is the last record's of the stream and 1, for they are
 *            written in peace (numbers.h), and the one before was as well. `base`, and the caller that stands
 *            in each slot, are as the SHORT records of the chunk have left them: base_of the address, so that what
 *            lies a GiB to either side is near; the caller at its lowest byte. They may lie at half a word; before others a PAD fills that up. */
#define HEADER_BYTES 65536 /* the largest page size of any machine */
#define CHUNK_BYTES 65536UL /* 3 to 15 thousand events */
#define MANY 8 /* threads; of those beyond, a chunk is filled up to USED_BYTES: with its stacks one takes 64 KiB */
#define USED_BYTES 53248UL
#define SLOTS 256 /* callers that near records may name: behind the chunk's records, read by nobody else */
#define STEP_BYTES (4UL << 20) /* by which a long log grows at most */
#define SPARE_BYTES (1UL << 20) /* of the disk that are left, besides half of the log, for the trace */
#define SYNC_EVERY 4096 /* events between two readings of the clock at most; below 2^16 */
#define CHECK_EVERY 16 /* events between two looks at the processor's own clock, where they are quick: pauses.h */
#define STREAMS 65536 /* threads alive at once */
#define KEYS_INSIDE 32 /* pthread_setspecific allocates for a key from this one on */
#define ROOM (8 * (11 + 3 * CHECK_EVERY)) /* bytes: PAD, two SYNC, the longest record, THREAD_EXIT; those until the next look */
#define LOW_48 ((1UL << 48) - 1)
#define PLACED(p) ((uint64_t)(p) << 1) /* 47 bits are a program's; another malloc than glibc's has blocks of 8 bytes */
#define MOST_NEAR 0x7fffffffUL /* a compare's immediate */
#define LEAST_BASE 16UL /* beyond NULL: that is near to none */
#define WINDOW ((char *)0x300000000000) /* chunks lie far from the program's own mappings */

enum { FREE = 1, REALLOC_FROM, THREAD_EXIT, MALLOC, CALLOC, REALLOC, MEMALIGN, STEERED, SYNC = 12, LOOK, NEAR, NEAR_FREE, SHORT = 5 };
enum { PAD = STEERED, MALLOPT = 1, TRIM, SBRK }; /* kinds; a PAD is half a word */
enum { ENDS_UNSEEN = 1, STACKED = 2, STACKS_CUT = 4, ATTACHED = 8, CUT_ASKED = 16, CONTINUES = 32,
       WITHOUT_TABLES = 64 };
enum { RECORD, WAIT, STOP }; /* what control.h asks */
/* header.flags: there was no key; callers are nodes of tree.h; some stacks had no room there; the process ran
 * before, unrecorded; the log has the size asked for; it goes on with the one in `parent`; frames were found
 * by pointers alone */
struct header {
    char magic[8];
    uint64_t header_bytes, chunk_bytes, pid;
    uint64_t lost, lost_errno; /* 1 + the first number that could not be logged, and why */
    uint64_t first, flags;     /* number of the first event: a child's are behind its parent's */
    char program[4096];        /* path of the executable */
    char parent[4096];         /* name of the log that holds the numbers below `first` */
    char executed[4096];       /* what the process has become since; empty while it is itself */
    uint64_t unseen;           /* looks at large blocks that were left out: looks.h */
};
struct __attribute__((aligned(128))) stream { /* one thread's place in the log; no other thread writes beside it */
    uint32_t *next, *end;    /* where the next record goes; past the last one's place: a zero word, then slots. NULL without */
    uint64_t due, look;      /* numbers: no near record from that one on; the processor's clock is looked at again */
    uint64_t base;           /* of near records */
    uint64_t synced, thread; /* told by the last SYNC; the thread, in order of first event */
    uint64_t checked, ticks, step; /* at the last look: number, its clock; events until the next one */
    uint64_t ticks_synced, ns;     /* both clocks at the last SYNC */
    uint64_t segment;        /* of the log that the chunk is in */
    int tid, rounds;         /* of thread-specific destructors; in the last one the thread ends */
    uint64_t alone, owned;   /* numbers in a row that it alone took; whether it was their owner: numbers.h */
};

static struct __attribute__((aligned(HEADER_BYTES))) { /* whole pages of its own: what else lies in them would be wiped, too */
    enum { UNSTARTED, ON, OFF } phase; /* UNSTARTED again in a forked child */
    int lock, nodes_told; /* tree.h */
    int python_lock, arena_lock; /* python.h */
    uint64_t streams, chunks, bytes; /* counts; of the log file */
    uint64_t segment, position;      /* of the log; bytes of those before it */
    uint64_t owner, tickets, patience, claimed, without; /* of numbers: numbers.h; claimed at that number */
    struct header *header;
    char path[4096];
    struct stream stream[STREAMS]; /* the first is nobody's: it never has room */
} state;

static struct {
    uint64_t number __attribute__((aligned(64))); /* the next event's */
    uint64_t threads __attribute__((aligned(64))); /* that had an event */
    long parent, pid; /* whose children are recorded, 0 for all; the process that has `path` */
    pthread_t main;
    char folder[4000], path[4096], library[4096]; /* of the logs; the log; this library */
} kept;

static __thread struct stream *mine __attribute__((tls_model("initial-exec"))) = state.stream;
static __thread uint64_t my_number __attribute__((tls_model("initial-exec"))); /* 1 + the thread's */
static void leave(void *); /* the destructor of `key` tells that a thread ends */
static pthread_key_t key;
static int key_made;
static void tell_origin(void); /* origin.h */
static void begin_area(void); /* numbers.h */
static void begin_looks(int); /* looks.h */
static int look_now_and_then(void);
static void tell_file(const char *), tell_taken(const char *, const char *), tell(const char *, const char *);
static void obey(void); /* control.h */
static int stacks_wanted(void); /* tree.h */
static void look_for_modules(void); /* attached.h */
static void tell_python(void); /* python.h */
static int asked(int), waits(void), began_late(void); /* control.h */
static uint64_t allowed(uint64_t, uint64_t);
static void taken(uint64_t), next_segment(void), stop_if_asked(void);

#include "files.h"

/* Room in the file up to `end`: blocks of its own, as without them a store on a full disk would be a
 * SIGBUS; or, where there is no such thing, a length. Some of the disk is left for the trace. */
static int grow(int fd, size_t end) {
    if (end <= state.bytes) return 1;
    struct statfs disk;
    if (!syscall(SYS_fstatfs, fd, &disk)
        && (uint64_t)disk.f_bavail * (uint64_t)disk.f_bsize < end - state.bytes + end / 2 + SPARE_BYTES)
        return errno = ENOSPC, 0;
    size_t step = state.bytes / 4 & -CHUNK_BYTES;
    size_t ahead = end + (step < STEP_BYTES ? step : STEP_BYTES);
    uint64_t room = allowed(end - state.bytes, ahead - state.bytes);
    if (!room) {
        if (state.header) state.header->flags |= CUT_ASKED;
        return errno = EFBIG, 0;
    }
    if (!permitted(end)) return 0;
    int refused = !permitted(state.bytes + room) || syscall(SYS_fallocate, fd, 0, state.bytes, room);
    if (refused) {
        room = end - state.bytes;
        refused = errno == EOPNOTSUPP || errno == ENOSYS ? syscall(SYS_ftruncate, fd, end)
                                                         : syscall(SYS_fallocate, fd, 0, state.bytes, room);
    }
    if (refused) return 0;
    taken(room);
    return state.bytes += room, 1;
}

static void *map_log(size_t start, size_t length, int flags) {
    int fd = opened(state.path, O_RDWR | flags);
    void *p = MAP_FAILED;
    if (fd >= 0 && grow(fd, start + length))
        p = (void *)syscall(SYS_mmap, WINDOW + state.position + start, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, start);
    int error = errno;
    closed(fd);
    errno = error;
    return p == MAP_FAILED || syscall(SYS_madvise, p, length, MADV_DONTFORK) ? NULL : p;
}

static void make_key(void) {
    if (!key_made && !pthread_key_create(&key, leave)) key_made = key < KEYS_INSIDE ? 1 : -1;
}

static void remember(void) { /* HEAPWRIGHT_RECORD is PARENT:FOLDER; the program may take it away */
    const char *wanted = getenv("HEAPWRIGHT_RECORD");
    char *folder = NULL;
    if (*kept.folder || !wanted) return;
    long parent = strtol(wanted, &folder, 10);
    if (*folder != ':' || strlen(folder) >= sizeof kept.folder) return;
    kept.parent = parent;
    add_text(kept.folder, sizeof kept.folder, folder + 1);
    if (getpid() == syscall(SYS_gettid)) kept.main = pthread_self();
    obey(); /* control.h */
}

static int followed(void) { return *kept.folder && (!kept.parent || kept.parent == getppid()); }

static void tell_beside(const char *name, const char *text) { /* add a line to a file of the folder */
    static char path[sizeof kept.folder + 64];
    *path = 0;
    add_text(path, sizeof path, kept.folder);
    add_text(path, sizeof path, name);
    int fd = opened(path, O_WRONLY | O_CREAT | O_APPEND);
    if (!appended(fd, text, strlen(text))) errno = 0;
    closed(fd);
}

static int begin_log(uint64_t);
static void start(uint64_t number) {
    state.phase = OFF;
    remember();
    if (asked(WAIT)) {
        state.phase = UNSTARTED;
        return;
    }
    int waited = began_late();
    if (!*kept.folder) return;
    static char line[64], before[sizeof state.header->parent];
    int forked = *kept.path && kept.pid != getpid();
    *before = 0;
    if (forked) add_text(before, sizeof before, strrchr(kept.path, '/') + 1);
    if (!followed()) {
        *line = 0;
        add_number(line, sizeof line, getpid());
        add_text(line, sizeof line, "\n");
        tell_beside("/others", line);
        return;
    }
    if (asked(STOP) || syscall(SYS_madvise, &state, sizeof state, MADV_WIPEONFORK)) return;
    if (!begin_log(forked || waited ? number : 0)) return;
    begin_looks(forked);
    if (forked) add_text(state.header->parent, sizeof state.header->parent, before);
    else if (waited) state.header->flags |= ATTACHED;
}

static int begin_log(uint64_t number) { /* whether there is room for one */
    struct header *header = NULL;
    for (int image = 1; !header; image++) { /* exec keeps the process number */
        *state.path = 0;
        add_text(state.path, sizeof state.path, kept.folder);
        add_text(state.path, sizeof state.path, "/");
        add_number(state.path, sizeof state.path, getpid());
        add_text(state.path, sizeof state.path, ".");
        add_number(state.path, sizeof state.path, image);
        header = map_log(0, HEADER_BYTES, O_CREAT | O_EXCL);
        if (!header && errno != EEXIST) return 0;
    }
    make_key();
    begin_area();
    memcpy(header->magic, "HWRECRD4", 8);
    header->header_bytes = HEADER_BYTES, header->chunk_bytes = CHUNK_BYTES, header->pid = getpid();
    if (syscall(SYS_readlink, "/proc/self/exe", header->program, sizeof header->program - 1) < 0) *header->program = 0;
    header->first = number;
    if (key_made != 1) header->flags |= ENDS_UNSEEN;
    if (stacks_wanted()) header->flags |= STACKED;
    *kept.path = 0;
    add_text(kept.path, sizeof kept.path, state.path);
    kept.pid = getpid();
    state.header = header;
    if (!state.streams) state.streams = 1;
    state.phase = ON;
    return tell_origin(), 1;
}

static struct stream *adopt(void) { /* a stream for this thread: a dead thread's, or a new one */
    struct stream *s = state.stream + 1, *past = state.stream + state.streams;
    if (mine != state.stream && mine->tid == syscall(SYS_gettid)) s = mine; /* of a recording before: here.h */
    else while (s < past && ((key_made == 1 && s->rounds < PTHREAD_DESTRUCTOR_ITERATIONS)
                        || !syscall(SYS_tgkill, getpid(), s->tid, 0))) s++;
    if (s == past && state.streams++ == STREAMS) return errno = EAGAIN, NULL;
    if (s->rounds >= PTHREAD_DESTRUCTOR_ITERATIONS && s->end) s->next += 2; /* its THREAD_EXIT stays */
    if (!my_number) my_number = ++kept.threads; /* a forked child's only thread has one already */
    s->thread = my_number - 1;
    s->tid = syscall(SYS_gettid);
    s->rounds = 0;
    if (key_made == 1) pthread_setspecific(key, s);
    return mine = s;
}

/* A full chunk is copied to the next place in the log, and begins anew where it is mapped. Its pages are
 * there already: fresh ones of a file would cost more than all else. Until its first word is gone, the
 * records stand twice. */
static size_t used_bytes(const struct stream *s) { return s - state.stream > MANY ? USED_BYTES : CHUNK_BYTES; }
static uint64_t base_of(uint64_t address) { return address > LEAST_BASE + MOST_NEAR / 2 ? address - MOST_NEAR / 2 - 1 : LEAST_BASE; }
static uint64_t *slots_of(const struct stream *s) { return (uint64_t *)s->end + 1; }
static uint64_t *chunk_of(const struct stream *s) { return slots_of(s) + SLOTS - used_bytes(s) / sizeof(uint64_t); }
static int handed_on(const struct stream *s, uint64_t *chunk, size_t at) {
    size_t bytes = used_bytes(s); /* whole: the kernel takes one large page for it */
    int fd = opened(state.path, O_RDWR), done = 0;
    if (fd >= 0 && grow(fd, at + CHUNK_BYTES) && permitted(at + CHUNK_BYTES)) {
        long written = syscall(SYS_pwrite64, fd, chunk, bytes, at);
        done = written == (long)bytes;
        if (written >= 0 && !done) errno = ENOSPC;
    }
    int error = errno;
    closed(fd);
    errno = error;
    if (!done) return 0;
    __atomic_store_n(chunk, 0, __ATOMIC_SEQ_CST);
    memset(chunk + 1, 0, bytes - sizeof *chunk);
    return 1;
}

static int next_chunk(struct stream *s) {
    size_t at = HEADER_BYTES + state.chunks * CHUNK_BYTES;
    uint64_t *chunk = s->end ? chunk_of(s) : NULL;
    if (s->end && s->next < s->end) memset(s->next, 0, sizeof *chunk); /* a THREAD_EXIT that something follows */
    if (chunk && s->segment == state.segment) {
        if (!handed_on(s, chunk, at)) return 0;
    } else {
        uint64_t *old = chunk;
        if (!(chunk = map_log(at, CHUNK_BYTES, 0))) return 0;
        if (old) syscall(SYS_munmap, old, CHUNK_BYTES);
    }
    s->segment = state.segment;
    s->next = (uint32_t *)chunk;
    s->end = (uint32_t *)(chunk + used_bytes(s) / sizeof *chunk - SLOTS - 1);
    s->base = LEAST_BASE;
    if (!(state.chunks & (state.chunks + 1))) tell_file("/proc/self/maps"); /* at the 1st, 2nd, 4th, ... */
    return ++state.chunks != 0;
}

static sigset_t hold(void) {
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    while (__atomic_exchange_n(&state.lock, 1, __ATOMIC_ACQUIRE)) sched_yield();
    return old;
}
static void release(sigset_t old) {
    __atomic_store_n(&state.lock, 0, __ATOMIC_RELEASE);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

#include "numbers.h"
#include "append.h"
