/* Record every malloc, free and friend of a program on glibc: an LD_PRELOAD library.
 *
 *   malloc ─► __libc_malloc ─► number the event ─► append to this thread's stream
 *                                                    └─ a chunk of the log file, mapped shared
 *
 * A stream's memory is the log file itself, so nothing need be flushed: a program that crashes,
 * calls _exit or is killed leaves every event it made. The file is opened by path for each chunk
 * and closed at once, so a program that closes all descriptors does no harm.
 *
 * Exactness   glibc's heap must lie where it would without us: nothing here allocates.
 * Order       the number is taken before a free and after an allocation, so an address is never
 *             reused, in the log, before it was freed. Numbers are dense: a reader merges the
 *             threads by placing each record at its number.
 * Fork        the state page is wiped in the child (MADV_WIPEONFORK), which then starts anew:
 *             with its own log, or off. vfork shares the heap, and so the log.
 * Signals     blocked while a lock is held. A handler that allocates inside malloc, which POSIX
 *             forbids, may lose an event but never deadlocks here.
 *
 * Log file    page 0: struct header; then chunks of CHUNK_BYTES, each the records of a stream,
 *             ended by a zero word. All words are 64 bits, in the machine's byte order:
 *               FREE, REALLOC_FROM, THREAD_EXIT   1 word:   address >> 4 | op << 44 | number << 48
 *               MALLOC, CALLOC, REALLOC, MEMALIGN 3 words:  the same; size | slack << 48;
 *                                                           caller | log2 align << 48
 *               SYNC                              3 words:  thread | op << 44; full number of the
 *                                                           next record; CLOCK_MONOTONIC in ns
 *             An address of 0 is a refused request; a slack of 0xffff is unknown.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/single_threaded.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define LIKELY(condition) __builtin_expect(!!(condition), 1)
#define CALLER ((uint64_t)__builtin_return_address(0))
#define HEADER_BYTES 65536      /* the largest page size of any machine */
#define CHUNK_BYTES (1UL << 20) /* 44 to 130 thousand events */
#define SYNC_EVERY 4096         /* events between two readings of the clock; below 2^16 */
#define STREAMS 65536           /* threads alive at once */
#define SIZE_MAX_48 ((1UL << 48) - 1)
#define WINDOW ((char *)0x300000000000) /* far from where programs map: their layout stays theirs */

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t), *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

enum { FREE = 1, REALLOC_FROM, THREAD_EXIT, MALLOC, CALLOC, REALLOC, MEMALIGN, SYNC };

struct header {
    char magic[8];         /* "HWRECORD" */
    uint64_t header_bytes; /* chunks start here */
    uint64_t chunk_bytes;
    uint64_t pid;
    uint64_t heap_start;   /* the break before the first allocation */
    uint64_t lost;         /* 0, or 1 + the first number that could not be logged */
    uint64_t lost_errno;   /* why */
    char program[4096];    /* path of the executable */
};

struct stream {      /* one thread's place in the log */
    uint64_t *next;  /* where the next record goes */
    uint64_t *end;   /* past the chunk; NULL when there is none */
    uint64_t synced; /* number told by the last SYNC */
    uint64_t thread; /* in order of first event */
    int tid;
    int leaving;     /* rounds of thread-specific destructors seen */
};

static struct {
    enum { UNSTARTED, ON, OFF } phase; /* UNSTARTED again in a forked child */
    int lock;
    uint64_t number; /* of the next event */
    uint64_t threads, streams, chunks;
    struct header *header;
    char path[4096];
    struct stream stream[STREAMS]; /* the first is nobody's: it has no room, now or ever */
} state __attribute__((aligned(HEADER_BYTES)));

static __thread struct stream *mine __attribute__((tls_model("initial-exec"))) = state.stream;
static pthread_key_t key;
static int key_made;

static void note_mappings(void) /* which file lies where, for the names of callers */
{
    static char path[sizeof state.path + 8], buffer[4096];
    snprintf(path, sizeof path, "%s.maps", state.path);
    int from = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    int to = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    ssize_t length;
    while (from >= 0 && to >= 0 && (length = read(from, buffer, sizeof buffer)) > 0)
        if (write(to, buffer, length) != length) break;
    if (from >= 0) close(from);
    if (to >= 0) close(to);
}

static void *map_log(int fd, size_t start, size_t length)
{
    if (fallocate(fd, 0, start, length) && (errno != EOPNOTSUPP || ftruncate(fd, start + length)))
        return NULL; /* without blocks of its own, a store on a full disk would be a SIGBUS */
    void *p = mmap(WINDOW + start, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, start);
    return p == MAP_FAILED ? NULL : p;
}

static void leave(void *stream) /* a thread ends: in the last round, after other destructors */
{
    extern void record(int, void *);
    struct stream *s = stream;
    if (s == mine && ++s->leaving < PTHREAD_DESTRUCTOR_ITERATIONS)
        pthread_setspecific(key, s);
    else if (s == mine)
        record(THREAD_EXIT, NULL);
}

static uint64_t first_break(void) /* proc(5): start_brk, field 47 of stat; 0 unknown */
{
    static char text[2048];
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0) close(fd);
    text[length > 0 ? length : 0] = 0;
    const char *at = strrchr(text, ')');
    for (int field = 3; at && field <= 47; field++) at = strchr(at + 1, ' ');
    return at ? strtoull(at, NULL, 10) : 0;
}

static void start(void) /* within or after the first allocation, so the break has moved */
{
    const char *wanted = getenv("HEAPWRIGHT_RECORD"); /* PARENT:FOLDER, 0 for any parent */
    char *folder = NULL;
    long parent = wanted ? strtol(wanted, &folder, 10) : -1;
    state.phase = OFF;
    if (!wanted || *folder != ':' || (parent && parent != getppid())) return;
    if (madvise(&state, sizeof state, MADV_WIPEONFORK)) return;
    int fd = -1;
    for (int image = 1; fd < 0 && image < 10000; image++) { /* exec keeps the process number */
        snprintf(state.path, sizeof state.path, "%s/%d.%d", folder + 1, getpid(), image);
        fd = open(state.path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0 && errno != EEXIST) return;
    }
    struct header *header = map_log(fd, 0, HEADER_BYTES);
    close(fd);
    if (!header) return;
    header->header_bytes = HEADER_BYTES;
    header->chunk_bytes = CHUNK_BYTES;
    header->pid = getpid();
    header->heap_start = first_break();
    if (readlink("/proc/self/exe", header->program, sizeof header->program - 1) < 0) header->program[0] = 0;
    memcpy(header->magic, "HWRECORD", 8);
    if (!key_made) key_made = !pthread_key_create(&key, leave);
    state.header = header;
    state.streams = 1;
    state.phase = ON;
}

static struct stream *adopt(void) /* a stream for this thread: one of a dead thread, or a new one */
{
    struct stream *s = NULL;
    for (uint64_t i = 1; i < state.streams && !s; i++)
        if (state.stream[i].leaving == PTHREAD_DESTRUCTOR_ITERATIONS
            && syscall(SYS_tgkill, getpid(), state.stream[i].tid, 0))
            s = &state.stream[i];
    if (!s && state.streams < STREAMS) s = &state.stream[state.streams++];
    if (!s) return NULL;
    s->thread = state.threads++;
    s->tid = syscall(SYS_gettid);
    s->leaving = 0;
    if (key_made) pthread_setspecific(key, s);
    return mine = s;
}

static int next_chunk(struct stream *s)
{
    int fd = open(state.path, O_RDWR | O_CLOEXEC);
    uint64_t *chunk = fd < 0 ? NULL : map_log(fd, HEADER_BYTES + state.chunks * CHUNK_BYTES, CHUNK_BYTES);
    int error = errno;
    if (fd >= 0) close(fd);
    errno = error;
    if (!chunk) return 0;
    if (s->end) munmap((char *)s->end - CHUNK_BYTES, CHUNK_BYTES);
    s->next = chunk;
    s->end = chunk + CHUNK_BYTES / sizeof *chunk;
    state.chunks++;
    if (!(state.chunks & (state.chunks - 1))) note_mappings();
    return 1;
}

static void hold(sigset_t *old)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, old);
    while (__atomic_exchange_n(&state.lock, 1, __ATOMIC_ACQUIRE)) sched_yield();
}

static void release(const sigset_t *old)
{
    __atomic_store_n(&state.lock, 0, __ATOMIC_RELEASE);
    pthread_sigmask(SIG_SETMASK, old, NULL);
}

/* This thread's stream with room for a record of the given number after a SYNC; NULL when off. */
static __attribute__((noinline)) struct stream *refill(uint64_t number)
{
    if (state.phase == OFF) return NULL;
    int error = errno;
    sigset_t old;
    hold(&old);
    if (state.phase == UNSTARTED) start();
    struct stream *s = mine->end ? mine : NULL;
    if (state.phase == ON && ((!s && !(s = adopt())) || (s->next + 6 > s->end && !next_chunk(s)))) {
        state.header->lost_errno = errno;
        state.header->lost = number + 1;
        state.phase = OFF;
    }
    if (state.phase == ON) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        s->next[1] = s->synced = number;
        s->next[2] = now.tv_sec * 1000000000UL + now.tv_nsec;
        s->next[0] = s->thread | (uint64_t)SYNC << 44;
        s->next += 3;
    }
    release(&old);
    errno = error;
    return state.phase == ON ? s : NULL;
}

/* Room for a record in this thread's stream, NULL when off; *head is its first word less address.
 * The caller stores the first word last: a record is there whole or not at all. */
static inline uint64_t *append(uint64_t op, int words, uint64_t *head)
{
    struct stream *s = mine;
    uint64_t number = LIKELY(__libc_single_threaded) ? state.number++
                                                     : __atomic_fetch_add(&state.number, 1, __ATOMIC_RELAXED);
    if (!LIKELY(s->end - s->next >= 3 && number - s->synced < SYNC_EVERY) && !(s = refill(number)))
        return NULL;
    uint64_t *place = s->next;
    s->next = place + words;
    *head = op << 44 | number << 48;
    return place;
}

static inline size_t usable(const void *p) /* glibc's chunk header: size, with 2 = mapped on its own */
{
    size_t head = ((const size_t *)p)[-1];
    return (head & ~7UL) - (head & 2 ? 16 : 8);
}

__attribute__((visibility("hidden"))) void record(int op, void *p)
{
    uint64_t head, *place = append(op, 1, &head);
    if (place) *place = (uint64_t)p >> 4 | head;
}

static inline void *given(int op, void *p, size_t size, uint64_t align, uint64_t caller)
{
    uint64_t head, *place = append(op, 3, &head);
    if (!place) return p;
    uint64_t slack = p ? usable(p) - size : 0xffff;
    if (slack > 0xffff) slack = 0xffff;
    place[1] = (size > SIZE_MAX_48 ? SIZE_MAX_48 : size) | slack << 48;
    place[2] = (caller & SIZE_MAX_48) | align << 48;
    __atomic_store_n(place, (uint64_t)p >> 4 | head, __ATOMIC_RELEASE);
    return p;
}

static void *aligned(size_t align, size_t size, uint64_t caller) /* glibc rounds align up */
{
    return given(MEMALIGN, __libc_memalign(align, size), size, align > 1 ? 64 - __builtin_clzl(align - 1) : 0, caller);
}

static void *resized(void *old, size_t size, uint64_t caller)
{
    if (!old) return given(MALLOC, __libc_realloc(NULL, size), size, 0, caller);
    if (size == 0) {
        record(FREE, old);
        return __libc_realloc(old, 0);
    }
    record(REALLOC_FROM, old);
    return given(REALLOC, __libc_realloc(old, size), size, 0, caller);
}

void *malloc(size_t size) { return given(MALLOC, __libc_malloc(size), size, 0, CALLER); }

void free(void *p)
{
    if (p) record(FREE, p);
    __libc_free(p);
}

void *calloc(size_t count, size_t each)
{
    size_t size;
    if (__builtin_mul_overflow(count, each, &size)) size = SIZE_MAX;
    return given(CALLOC, __libc_calloc(count, each), size, 0, CALLER);
}

void *realloc(void *old, size_t size) { return resized(old, size, CALLER); }

void *reallocarray(void *old, size_t count, size_t each)
{
    size_t size;
    if (!__builtin_mul_overflow(count, each, &size)) return resized(old, size, CALLER);
    errno = ENOMEM;
    return NULL;
}

void *memalign(size_t align, size_t size) { return aligned(align, size, CALLER); }
void *aligned_alloc(size_t align, size_t size) { return aligned(align, size, CALLER); }
void *valloc(size_t size) { return aligned(sysconf(_SC_PAGESIZE), size, CALLER); }

void *pvalloc(size_t size)
{
    size_t page = sysconf(_SC_PAGESIZE);
    return aligned(page, size > SIZE_MAX - page ? size : (size + page - 1) & -page, CALLER);
}

int posix_memalign(void **out, size_t align, size_t size)
{
    if (align % sizeof(void *) || !align || align & (align - 1)) return EINVAL;
    void *p = aligned(align, size, CALLER);
    if (p) *out = p;
    return p ? 0 : ENOMEM;
}

size_t malloc_usable_size(void *p) { return p ? usable(p) : 0; }

__attribute__((destructor)) static void finish(void) /* libraries loaded late get their names */
{
    sigset_t old;
    hold(&old);
    if (state.phase == ON) note_mappings();
    release(&old);
}
