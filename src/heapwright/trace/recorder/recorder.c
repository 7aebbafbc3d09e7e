/* Record every malloc, free and friend of a program on glibc: an LD_PRELOAD library.
 *
 *   malloc ─► __libc_malloc ─► number the event ─► append to this thread's stream: log.h
 *   mallopt, malloc_trim, sbrk ─► the same: what steers the allocator
 *   exec ─► the next image is recorded too: exec.h          at the start: origin.h
 *   a large block ─► what of it was written: looks.h        now and then: process.h
 *   who asked: askers.h; whole stacks: tree.h
 *
 * Exactness  glibc's heap must lie where it would without us: nothing here allocates. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <gnu/libc-version.h>
#include <limits.h>
#include <link.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/single_threaded.h> /* glibc 2.32 */
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define CALLER ((uint64_t)__builtin_return_address(0))

extern void *__libc_malloc(size_t) __attribute__((noplt)), *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t), *__libc_memalign(size_t, size_t);
extern void __libc_free(void *) __attribute__((noplt)), *__sbrk(intptr_t), *__curbrk;
extern int __libc_mallopt(int, int);

static int serves; /* whose malloc: see who_serves */
static int plain, never_plain; /* glibc's own serves, no whole stacks are kept, and no Python asks: nothing else to look at */
static void not_plain(void); /* append.h */

#include "log.h"
#ifdef __x86_64__
#include "unwind.h"
#include "tree.h"
#else /* call sites alone */
#define TABLES ((char *)0x2e0000000000)
static struct { uint64_t depth; } tree;
static void want_stacks(uint64_t depth) { (void)depth; }
static int stacks_wanted(void) { return 0; }
static uint64_t stack_node(uint64_t caller) { return caller; }
#endif
#include "control.h"
#include "exec.h"
#include "origin.h"

#include "looks.h"
#include "python_arenas.h"
#include "process.h"

/* Whose malloc serves: glibc's, whose chunk headers we read, or another preloaded after us under glibc's
 * names for it (a flight), which is asked. Found at the first event, while the program has one thread. */
static size_t (*other_usable)(void *);
static size_t of_mapped = 16; /* what the header of a mapped chunk counts beyond its usable bytes */
/* serves: 0 not yet known, 1 glibc's, 2 another */
static __attribute__((noinline)) int who_serves(void) {
    Dl_info malloc_of, libc;
    int other = dladdr((void *)__libc_malloc, &malloc_of) && dladdr((void *)__sbrk, &libc)
                && malloc_of.dli_fbase != libc.dli_fbase;
    if (other) other_usable = (size_t (*)(void *))next("malloc_usable_size");
    const char *version = gnu_get_libc_version(); /* before 2.43 a word at its end was not its owner's */
    if (strncmp(version, "2.", 2) || atoi(version + 2) >= 43) of_mapped = 8;
    plain = !other && !never_plain;
    return serves = 1 + other;
}

static inline size_t usable(void *p) { /* glibc's chunk header: its bytes, and 2 if mapped on its own */
    if (__builtin_expect((serves ? serves : who_serves()) != 1, 0)) return other_usable(p);
    size_t head = ((const size_t *)p)[-1];
    return (head & ~7UL) - (head & 2 ? of_mapped : 8);
}

static inline void gone(uint64_t op, void *p) {
    uint64_t head, *place = append(op, 1, &head);
    if (place) *place = PLACED(p) | head;
}
static size_t product(size_t a, size_t b) { return __builtin_mul_overflow(a, b, &a) ? SIZE_MAX : a; }

#include "python.h"
#ifdef __x86_64__
#include "askers.h"
#else
static void know_who_passes_on(void) {}
#define ASKER CALLER
#define FRAME 0
static int is_handed_on(uint64_t caller) { return (void)caller, 0; }
static uint64_t who_asked(uint64_t caller, uintptr_t sp) { return (void)sp, caller; }
#endif

#define SMALL_BYTES (LARGE_BYTES < 65536UL ? LARGE_BYTES : 65536UL)
/* Whether a block of glibc's is what it makes of so small a request, by its chunk's header: rounded up to 16,
 * at most 15 bytes beyond size + 8. The header's lowest 3 bits are flags. */
static inline int is_rounded(uint64_t chunk, size_t size) { return size < SMALL_BYTES && chunk <= ((size + 23) | 15); }

/* Of a small block in peace a near record, if it can be one: 30 instructions, where the caller has a slot. */
static inline __attribute__((always_inline)) int given_near(uint64_t op, void *p, size_t size, uint64_t caller) {
    struct stream *s = mine;
    if (__builtin_expect(kept.number >= s->due, 0)) return 0;
    uint64_t near = (uint64_t)p - s->base, slot = caller % SLOTS;
    if (__builtin_expect(near > MOST_NEAR || slots_of(s)[slot] != caller, 0)) return 0; /* the former if !p */
    const uint64_t *chunk = (const uint64_t *)p - 1;
    if (__builtin_expect(!is_rounded(*chunk, size), 0)) return 0;
    if (*chunk & 6 && (*chunk & 2 || (uint64_t)p >> ARENA_SHIFT != my_arena)) return 0;
    uint32_t *place = s->next;
    if (__builtin_expect(!counted(s), 0)) return 0;
    place[1] = (op - MALLOC + 1) << 30 | slot << 16 | size;
    __atomic_store_n(place, near | NEAR, __ATOMIC_RELEASE);
    s->next = place + 2;
    return 1;
}
/* The same in two words, of which near records of the same caller and thereabouts may follow. */
static void given_short(uint64_t op, void *p, size_t size, uint64_t caller) {
    uint64_t head, *place = append(op + SHORT, 2, &head);
    if (!place) return;
    place[1] = caller << 16 | size;
    __atomic_store_n(place, PLACED(p) | head, __ATOMIC_RELEASE);
    mine->base = base_of((uint64_t)p);
    slots_of(mine)[caller % SLOTS] = is_handed_on(caller) ? 0 : caller; /* who asked such is looked for each time */
}
static __attribute__((noinline)) void *given_otherwise(uint64_t op, void *p, size_t size, uint64_t align, uint64_t caller) {
    if (plain && p && op != MEMALIGN && !(((const size_t *)p)[-1] & 2) && is_rounded(((const size_t *)p)[-1], size)) {
        given_short(op, p, size, caller);
        if (((const size_t *)p)[-1] & 4) lies_in((uint64_t)p);
        return p;
    }
    if (__builtin_expect(python_inside, 0)) { /* never where all is plain */
        if (p && serves == 1 && ((const size_t *)p)[-1] & 4) lies_in((uint64_t)p);
        return python_ground = p;
    }
    if (__builtin_expect(python.on, 0)) caller = python_site(caller);
    if (size >= LARGE_BYTES) mine->look = mine->due = 0; /* its time is told after a pause */
    uint64_t head, *place = append(op, 3, &head), slack = LOW_48;
    if (!place) return p;
    if (p) slack = usable(p) - size;
    place[1] = (size < LOW_48 ? size : LOW_48) | (slack < 0xffff ? slack : 0xffff) << 48;
    if (tree.depth != 0 && !python.on) caller = stack_node(caller);
    place[2] = (caller & LOW_48) | align << 48;
    __atomic_store_n(place, PLACED(p) | head, __ATOMIC_RELEASE);
    if (p && serves == 1 && ((const size_t *)p)[-1] & 4) lies_in((uint64_t)p);
    if (size >= LARGE_BYTES && p) given_large(p, size, op == CALLOC ? ZEROS : op == REALLOC ? CARRIED : ANYTHING);
    return p;
}
static inline void *given(uint64_t op, void *p, size_t size, uint64_t caller) {
    return goes_on_near(mine) && given_near(op, p, size, caller) ? p : given_otherwise(op, p, size, 0, caller);
}
static __attribute__((noinline)) void *given_late(uint64_t op, void *p, size_t size, uint64_t caller, uintptr_t sp) {
    if (is_handed_on(caller)) caller = who_asked(caller, sp);
    return given(op, p, size, caller);
}
/* What is rare is called last: nothing is saved for it. */
static inline __attribute__((always_inline)) void *given_here(uint64_t op, void *p, size_t size, uint64_t caller, uintptr_t sp) {
    return __builtin_expect(given_near(op, p, size, caller), 1) ? p : given_late(op, p, size, caller, sp);
}
static inline int leaves(void *p, struct large *left) { /* before it is freed or resized: as gone_large */
    size_t head = __builtin_expect(plain || serves == 1, 1) ? ((const size_t *)p)[-1] : usable(p);
    return __builtin_expect(head >= LARGE_BYTES, 0) ? gone_large(p, left) : 0;
}

static inline void *aligned(size_t align, size_t size, uint64_t caller) { /* glibc rounds align up */
    int log2 = align > 1 ? 64 - __builtin_clzl(align - 1) : 0;
    return given_otherwise(MEMALIGN, __libc_memalign(align, size), size, log2, caller);
}

static inline void *resized(void *old, size_t size, uint64_t caller) {
    if (!old || python_inside) return given(MALLOC, __libc_realloc(old, size), size, caller);
    size_t room = usable(old);
    struct large left;
    left.address = 0;
    int zeroed = leaves(old, &left);
    gone(size ? REALLOC_FROM : FREE, old);
    void *p = __libc_realloc(old, size);
    if (size) given(REALLOC, p, size, caller);
    if (p && size >= LARGE_BYTES) goes_on(p, &left, room);
    if (size && !p && room >= LARGE_BYTES) given_large(old, room, zeroed ? ZEROS : CARRIED); /* it stays */
    return p;
}

static size_t whole_pages(size_t n, size_t page) { return n > SIZE_MAX - page ? n : (n + page - 1) & -page; }

void *malloc(size_t n) {
    void *p = __libc_malloc(n);
    return given_here(MALLOC, p, n, CALLER, FRAME);
}
void *calloc(size_t a, size_t b) {
    void *p = __libc_calloc(a, b);
    return given_here(CALLOC, p, product(a, b), CALLER, FRAME);
}
void *realloc(void *old, size_t n) { return resized(old, n, ASKER); }
void *reallocarray(void *old, size_t a, size_t b) { return resized(old, product(a, b), ASKER); }
void *memalign(size_t align, size_t n) { return aligned(align, n, ASKER); }
void *aligned_alloc(size_t align, size_t n) { return aligned(align, n, ASKER); }
void *valloc(size_t n) { return aligned(sysconf(_SC_PAGESIZE), n, ASKER); }
void *pvalloc(size_t n) { return aligned(sysconf(_SC_PAGESIZE), whole_pages(n, sysconf(_SC_PAGESIZE)), ASKER); }
size_t malloc_usable_size(void *p) { return p ? usable(p) : 0; }
int posix_memalign(void **out, size_t align, size_t n) {
    if (align % sizeof n || !align || align & (align - 1)) return EINVAL;
    void *p = aligned(align, n, ASKER);
    return p ? *out = p, 0 : ENOMEM;
}
static __attribute__((noinline)) void free_otherwise(void *p) {
    if (p && (plain || !python_inside)) leaves(p, NULL), gone(FREE, p);
    __libc_free(p);
}
static inline __attribute__((always_inline)) int gone_near(void *p) {
    struct stream *s = mine;
    if (__builtin_expect(kept.number >= s->due, 0)) return 0;
    uint64_t near = (uint64_t)p - s->base;
    if (__builtin_expect(near > MOST_NEAR || ((const size_t *)p)[-1] >= LARGE_BYTES, 0)) return 0; /* the former if !p */
    uint32_t *place = s->next;
    if (__builtin_expect(!counted(s), 0)) return 0;
    *place = near | NEAR_FREE;
    s->next = place + 1;
    return 1;
}
static __attribute__((noinline)) void free_late(void *p) {
    if (!goes_on_near(mine) || !gone_near(p)) return free_otherwise(p);
    __libc_free(p);
}
void free(void *p) { /* of a small block some 25 instructions */
    if (__builtin_expect(!gone_near(p), 0)) return free_late(p);
    __libc_free(p);
}

static void steered(uint64_t kind, uint64_t operand, uint64_t before) {
    uint64_t head, *place = append(STEERED, 3, &head);
    if (!place) return;
    place[1] = operand & LOW_48;
    place[2] = before & LOW_48;
    __atomic_store_n(place, kind << 4 | head, __ATOMIC_RELEASE);
}

int mallopt(int param, int value) {
    steered(MALLOPT, (uint64_t)(uint16_t)param << 32 | (uint32_t)value, 0);
    return __libc_mallopt(param, value);
}
int malloc_trim(size_t pad) {
    static int (*real)(size_t);
    if (!real) real = (int (*)(size_t))next("malloc_trim");
    if (state.phase == ON) look_now_and_then(); /* at what it is about to give back */
    steered(TRIM, pad < LOW_48 ? pad : LOW_48, 0);
    return real(pad);
}
void *sbrk(intptr_t increment) { /* glibc's malloc calls __sbrk */
    void *before = __sbrk(increment);
    if (increment && before != (void *)-1) steered(SBRK, increment, (uint64_t)before);
    return before;
}
int brk(void *address) {
    static int (*real)(void *);
    if (!real) real = (int (*)(void *))next("brk");
    char *before = __sbrk(0);
    int result = real(address);
    if (!result && before != __curbrk) steered(SBRK, (uint64_t)((char *)__curbrk - before), (uint64_t)before);
    return result;
}

static void tell_end(void);
#ifdef __x86_64__
#include "attached.h"
#include "here.h"
#else
static void look_for_modules(void) {}
#endif

__attribute__((constructor)) static void begin(void) { /* while there are few keys, if any */
    Dl_info here;
    sigset_t old = hold();
    remember();
    make_key();
    if (*kept.folder) begin_sequences();
    release(old);
    if (!*kept.library && dladdr(&state, &here) && here.dli_fname && *here.dli_fname == '/')
        add_text(kept.library, sizeof kept.library, here.dli_fname);
    know_who_passes_on();
    python_begin();
}

static void tell_end(void) { /* what large blocks hold, the process's memory, files mapped late */
    uint64_t now = now_ns();
    whole.next = 0;
    looks.ending = 1;
    look(now);
    looks.ending = 0;
    if (state.phase == ON && mine->end) { /* when its last events were, if it has rested since */
        uint64_t number = take_number();
        refill(&number, 0);
    }
    sigset_t old = hold();
    if (state.phase == ON) tell_mappers(), tell_taken("resident_kib", "page_faults"), tell_file("/proc/self/maps");
    release(old);
}
__attribute__((destructor)) static void finish(void) { tell_end(); }
void _exit(int status) {
    if (state.phase == ON && state.header->pid == (uint64_t)getpid()) tell_end(); /* no child of vfork */
    for (;;) syscall(SYS_exit_group, status);
}
void _Exit(int status) { _exit(status); }
