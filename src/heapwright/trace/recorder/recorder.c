/* Record every malloc, free and friend of a program on glibc: an LD_PRELOAD library.
 *
 *   malloc ─► __libc_malloc ─► number the event ─► append to this thread's stream
 *                                                    └─ a chunk of the log file, mapped shared
 *
 * A stream's memory is the log file, so nothing is ever flushed: a program that crashes, calls _exit or
 * is killed leaves every event it made. The file is opened by path for each chunk and closed at once, so
 * a program that closes all descriptors does no harm.
 *
 * Exactness  glibc's heap must lie where it would without us: nothing here allocates.
 * Order      numbers are taken before a free and after an allocation, so that in the log no address is
 *            reused before it was freed. They are dense: a reader merges threads by placing each record.
 * Fork       the kernel wipes `state` in the child, which starts anew: with its own log, or off.
 * Signals    blocked while the lock is held: a handler that allocates, which POSIX forbids, never deadlocks.
 *
 * Log file   struct header, then chunks of records, each ended by a zero word; 64-bit words:
 *   FREE, REALLOC_FROM, THREAD_EXIT    1 word   address >> 4 | op << 44 | number << 48
 *   MALLOC, CALLOC, REALLOC, MEMALIGN  3 words  the same; size | slack << 48; caller | log2 align << 48
 *   SYNC                               3 words  thread | op << 44; number of the next record; time, ns
 *            Address 0 is a refused request, slack (usable less requested size) 0xffff unknown. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/single_threaded.h> /* glibc 2.32 */
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define HEADER_BYTES 65536      /* the largest page size of any machine */
#define CHUNK_BYTES (1UL << 20) /* 44 to 130 thousand events */
#define SYNC_EVERY 4096         /* events between two readings of the clock; below 2^16 */
#define STREAMS 65536           /* threads alive at once */
#define LOW_48 ((1UL << 48) - 1)
#define WINDOW ((char *)0x300000000000) /* chunks lie far from the program's own mappings */
#define CALLER ((uint64_t)__builtin_return_address(0))

enum { FREE = 1, REALLOC_FROM, THREAD_EXIT, MALLOC, CALLOC, REALLOC, MEMALIGN, SYNC };
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t), *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);
struct header {
    char magic[8];
    uint64_t header_bytes, chunk_bytes, pid;
    uint64_t lost, lost_errno; /* 1 + the first number that could not be logged, and why */
    char program[4096];        /* path of the executable */
};
struct stream {              /* one thread's place in the log */
    uint64_t *next, *end;    /* where the next record goes; past the chunk, NULL without one */
    uint64_t synced, thread; /* number told by the last SYNC; the thread, in order of first event */
    int tid, rounds;         /* of thread-specific destructors, the last of which says THREAD_EXIT */
};

static struct {
    enum { UNSTARTED, ON, OFF } phase; /* UNSTARTED again in a forked child */
    int lock;
    uint64_t number, threads, streams, chunks; /* the next event's; counts */
    struct header *header;
    char path[4096];
    struct stream stream[STREAMS]; /* the first is nobody's: it never has room */
} state __attribute__((aligned(HEADER_BYTES)));

static __thread struct stream *mine __attribute__((tls_model("initial-exec"))) = state.stream;
static void leave(void *); /* the destructor of `key` tells that a thread ends */
static pthread_key_t key;
static int key_made;

static void note(const char *source) { /* stat: where the heap began; maps: which file lies where, for names */
    static char path[sizeof state.path + 8], buffer[4096];
    snprintf(path, sizeof path, "%s.proc", state.path);
    int from = open(source, O_RDONLY | O_CLOEXEC);
    int to = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    for (ssize_t length; (length = read(from, buffer, sizeof buffer)) > 0;)
        if (write(to, buffer, length) != length) break;
    close(from);
    close(to);
}

static void *map_log(size_t start, size_t length, int flags) {
    int fd = open(state.path, O_RDWR | O_CLOEXEC | flags, 0600);
    void *p = MAP_FAILED; /* without blocks of its own, a store on a full disk would be a SIGBUS */
    if (fd >= 0 && (!fallocate(fd, 0, start, length) || (errno == EOPNOTSUPP && !ftruncate(fd, start + length))))
        p = mmap(WINDOW + start, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, start);
    if (fd >= 0) close(fd);
    return p == MAP_FAILED || madvise(p, length, MADV_DONTFORK) ? NULL : p;
}

static void start(void) {
    const char *wanted = getenv("HEAPWRIGHT_RECORD"); /* PARENT:FOLDER, 0 for any parent */
    char *folder = NULL;
    long parent = wanted ? strtol(wanted, &folder, 10) : -1;
    state.phase = OFF;
    if (!wanted || *folder != ':' || (parent && parent != getppid())
        || madvise(&state, sizeof state, MADV_WIPEONFORK)) return;
    struct header *header = NULL;
    for (int image = 1; !header; image++) { /* exec keeps the process number */
        snprintf(state.path, sizeof state.path, "%s/%d.%d", folder + 1, getpid(), image);
        header = map_log(0, HEADER_BYTES, O_CREAT | O_EXCL);
        if (!header && errno != EEXIST) return;
    }
    *header = (struct header){"HWRECORD", HEADER_BYTES, CHUNK_BYTES, getpid(), 0, 0, ""};
    if (readlink("/proc/self/exe", header->program, sizeof header->program - 1) < 0) *header->program = 0;
    if (!key_made) key_made = !pthread_key_create(&key, leave);
    state.header = header;
    state.streams = 1;
    state.phase = ON;
    note("/proc/self/stat");
}

static struct stream *adopt(void) { /* a stream for this thread: a dead thread's, or a new one */
    struct stream *s = state.stream + 1, *past = state.stream + state.streams;
    while (s < past && (s->rounds < PTHREAD_DESTRUCTOR_ITERATIONS || !syscall(SYS_tgkill, getpid(), s->tid, 0))) s++;
    if (s == past && state.streams++ == STREAMS) return NULL;
    s->thread = state.threads++;
    s->tid = syscall(SYS_gettid);
    s->rounds = 0;
    if (key_made) pthread_setspecific(key, s);
    return mine = s;
}

static int next_chunk(struct stream *s) {
    uint64_t *chunk = map_log(HEADER_BYTES + state.chunks * CHUNK_BYTES, CHUNK_BYTES, 0);
    if (!chunk) return 0;
    if (s->end) munmap((char *)s->end - CHUNK_BYTES, CHUNK_BYTES);
    s->next = chunk;
    s->end = chunk + CHUNK_BYTES / sizeof *chunk;
    if (!(state.chunks & (state.chunks + 1))) note("/proc/self/maps"); /* at the 1st, 2nd, 4th, ... */
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

/* This thread's stream with a SYNC and then room for the record of this number; NULL when off. */
static __attribute__((noinline)) struct stream *refill(uint64_t number) {
    if (state.phase == OFF) return NULL;
    int error = errno;
    sigset_t old = hold();
    if (state.phase == UNSTARTED) start();
    struct stream *s = mine->end ? mine : NULL;
    if (state.phase == ON && ((!s && !(s = adopt())) || (s->end - s->next < 6 && !next_chunk(s)))) {
        state.header->lost_errno = errno;
        state.header->lost = number + 1;
        state.phase = OFF;
    }
    if (state.phase == OFF) s = NULL;
    else {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        s->next[1] = s->synced = number;
        s->next[2] = now.tv_sec * 1000000000UL + now.tv_nsec;
        __atomic_store_n(s->next, s->thread | (uint64_t)SYNC << 44, __ATOMIC_RELEASE);
        s->next += 3;
    }
    release(old);
    errno = error;
    return s;
}

/* Room for a record; NULL when off. Its first word, *head | address >> 4, is stored last: all or nothing. */
static inline uint64_t *append(uint64_t op, int words, uint64_t *head) {
    struct stream *s = mine;
    uint64_t number = __builtin_expect(__libc_single_threaded, 1)
                          ? state.number++ : __atomic_fetch_add(&state.number, 1, __ATOMIC_RELAXED);
    if (__builtin_expect(s->end - s->next < 3 || number - s->synced >= SYNC_EVERY, 0)) s = refill(number);
    if (!s) return NULL;
    *head = op << 44 | number << 48;
    return (s->next += words) - words;
}

static inline size_t usable(const void *p) { /* glibc's chunk header: its bytes, and 2 if mapped on its own */
    size_t head = ((const size_t *)p)[-1];
    return (head & ~7UL) - (head & 2 ? 16 : 8);
}

static inline void gone(uint64_t op, void *p) {
    uint64_t head, *place = append(op, 1, &head);
    if (place) *place = (uint64_t)p >> 4 | head;
}
static inline void *given(uint64_t op, void *p, size_t size, uint64_t align, uint64_t caller) {
    uint64_t head, *place = append(op, 3, &head), slack = p ? usable(p) - size : LOW_48;
    if (!place) return p;
    place[1] = (size < LOW_48 ? size : LOW_48) | (slack < 0xffff ? slack : 0xffff) << 48;
    place[2] = (caller & LOW_48) | align << 48;
    __atomic_store_n(place, (uint64_t)p >> 4 | head, __ATOMIC_RELEASE);
    return p;
}

static void leave(void *stream) { /* a thread ends; other destructors may come after, but the last round */
    if (stream != mine) return;
    if (++mine->rounds < PTHREAD_DESTRUCTOR_ITERATIONS) pthread_setspecific(key, mine);
    else gone(THREAD_EXIT, NULL);
}

static inline void *aligned(size_t align, size_t size, uint64_t caller) { /* glibc rounds align up */
    int log2 = align > 1 ? 64 - __builtin_clzl(align - 1) : 0;
    return given(MEMALIGN, __libc_memalign(align, size), size, log2, caller);
}

static inline void *resized(void *old, size_t size, uint64_t caller) {
    if (!old) return given(MALLOC, __libc_realloc(old, size), size, 0, caller);
    gone(size ? REALLOC_FROM : FREE, old);
    void *p = __libc_realloc(old, size);
    return size ? given(REALLOC, p, size, 0, caller) : p;
}

static size_t product(size_t a, size_t b) { return __builtin_mul_overflow(a, b, &a) ? SIZE_MAX : a; }
static size_t whole_pages(size_t n, size_t page) { return n > SIZE_MAX - page ? n : (n + page - 1) & -page; }

void *malloc(size_t n) { return given(MALLOC, __libc_malloc(n), n, 0, CALLER); }
void *calloc(size_t a, size_t b) { return given(CALLOC, __libc_calloc(a, b), product(a, b), 0, CALLER); }
void *realloc(void *old, size_t n) { return resized(old, n, CALLER); }
void *reallocarray(void *old, size_t a, size_t b) { return resized(old, product(a, b), CALLER); }
void *memalign(size_t align, size_t n) { return aligned(align, n, CALLER); }
void *aligned_alloc(size_t align, size_t n) { return aligned(align, n, CALLER); }
void *valloc(size_t n) { return aligned(sysconf(_SC_PAGESIZE), n, CALLER); }
void *pvalloc(size_t n) { return aligned(sysconf(_SC_PAGESIZE), whole_pages(n, sysconf(_SC_PAGESIZE)), CALLER); }
size_t malloc_usable_size(void *p) { return p ? usable(p) : 0; }
int posix_memalign(void **out, size_t align, size_t n) {
    if (align % sizeof n || !align || align & (align - 1)) return EINVAL;
    void *p = aligned(align, n, CALLER);
    return p ? *out = p, 0 : ENOMEM;
}
void free(void *p) {
    if (p) gone(FREE, p);
    __libc_free(p);
}

__attribute__((destructor)) static void finish(void) { /* libraries loaded late get their names */
    sigset_t old = hold();
    if (state.phase == ON) note("/proc/self/maps");
    release(old);
}
