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
static void not_plain(void) { plain = 0, never_plain = 1; }

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
    if (place) *place = (uint64_t)p >> ADDRESS_SHIFT | head;
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

static __attribute__((noinline)) void *given_otherwise(uint64_t op, void *p, size_t size, uint64_t align, uint64_t caller) {
    if (__builtin_expect(python_inside, 0)) {
        if (p && serves == 1 && ((const size_t *)p)[-1] & 4) lies_in((uint64_t)p);
        return python_ground = p;
    }
    if (__builtin_expect(python.on, 0)) caller = python_site(caller);
    if (size >= LARGE_BYTES) mine->due = 0; /* its time is told after a pause */
    uint64_t head, *place = append(op, 3, &head), slack = LOW_48;
    if (!place) return p;
    if (p) slack = usable(p) - size;
    place[1] = (size < LOW_48 ? size : LOW_48) | (slack < 0xffff ? slack : 0xffff) << 48;
    if (tree.depth != 0 && !python.on) caller = stack_node(caller);
    place[2] = (caller & LOW_48) | align << 48;
    __atomic_store_n(place, (uint64_t)p >> ADDRESS_SHIFT | head, __ATOMIC_RELEASE);
    if (p && serves == 1 && ((const size_t *)p)[-1] & 4) lies_in((uint64_t)p);
    if (size >= LARGE_BYTES && p) given_large(p, size, op == CALLOC ? ZEROS : op == REALLOC ? CARRIED : ANYTHING);
    return p;
}
/* Of a small block of glibc's, which rounded its size and header to 16: the same in two words. */
static inline void note(uint64_t op, void *p, size_t size, uint64_t caller, uint64_t number, uint64_t *place) {
    place[1] = caller << 16 | size;
    __atomic_store_n(place, (uint64_t)p >> ADDRESS_SHIFT | (op + SHORT) << 44 | number << 48, __ATOMIC_RELEASE);
}
static __attribute__((noinline)) void *note_late(uint64_t op, void *p, size_t size, uint64_t caller, uint64_t number) {
    if (number == NO_NUMBER) number = number_of(mine);
    uint64_t *place = room_for(2, &number);
    if (((const size_t *)p)[-1] & 4) lies_in((uint64_t)p);
    if (place) note(op, p, size, caller, number, place);
    return p;
}
static __attribute__((noinline)) void *in_new_arena(void *p) { return new_arena((uint64_t)p >> ARENA_SHIFT), p; }

#define SMALL_BYTES (LARGE_BYTES < 65536UL ? LARGE_BYTES : 65536UL)
/* As given_otherwise. Of a small block some 40 instructions; what is rare is called last: nothing is saved for it. */
static inline __attribute__((always_inline)) void *given(uint64_t op, void *p, size_t size, uint64_t align, uint64_t caller) {
    if (__builtin_expect(!plain || size >= SMALL_BYTES || !p || op == MEMALIGN, 0)) return given_otherwise(op, p, size, align, caller);
    uint64_t chunk = ((const size_t *)p)[-1], slack = (chunk & ~7UL) - 8 - size;
    if (__builtin_expect(slack > 15 || chunk & 2, 0)) return given_otherwise(op, p, size, align, caller);
    struct stream *s = mine;
    uint64_t number = number_in_peace(s), *place = s->next;
    if (__builtin_expect(number >= s->due, 0)) return note_late(op, p, size, caller, number); /* NO_NUMBER, too */
    s->next = place + 2;
    note(op, p, size, caller, number, place);
    return chunk & 4 && (uint64_t)p >> ARENA_SHIFT != my_arena ? in_new_arena(p) : p;
}
static __attribute__((noinline)) void *given_to_who_asked(uint64_t op, void *p, size_t size, uint64_t align, uint64_t caller, uintptr_t sp) {
    return given(op, p, size, align, who_asked(caller, sp));
}
static inline __attribute__((always_inline)) void *given_here(uint64_t op, void *p, size_t size, uint64_t caller, uintptr_t sp) {
    return __builtin_expect(is_handed_on(caller), 0) ? given_to_who_asked(op, p, size, 0, caller, sp) : given(op, p, size, 0, caller);
}

static inline int leaves(void *p, struct large *left) { /* before it is freed or resized: as gone_large */
    size_t head = __builtin_expect(plain || serves == 1, 1) ? ((const size_t *)p)[-1] : usable(p);
    return __builtin_expect(head >= LARGE_BYTES, 0) ? gone_large(p, left) : 0;
}

static inline void *aligned(size_t align, size_t size, uint64_t caller) { /* glibc rounds align up */
    int log2 = align > 1 ? 64 - __builtin_clzl(align - 1) : 0;
    return given(MEMALIGN, __libc_memalign(align, size), size, log2, caller);
}

static inline void *resized(void *old, size_t size, uint64_t caller) {
    if (!old || python_inside) return given(MALLOC, __libc_realloc(old, size), size, 0, caller);
    size_t room = usable(old);
    struct large left;
    left.address = 0;
    int zeroed = leaves(old, &left);
    gone(size ? REALLOC_FROM : FREE, old);
    void *p = __libc_realloc(old, size);
    if (size) given(REALLOC, p, size, 0, caller);
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
static __attribute__((noinline)) void free_late(void *p, uint64_t number) {
    if (number == NO_NUMBER) number = number_of(mine);
    uint64_t *place = room_for(1, &number);
    if (place) *place = (uint64_t)p >> ADDRESS_SHIFT | (uint64_t)FREE << 44 | number << 48;
    __libc_free(p);
}
void free(void *p) { /* of a small block some 25 instructions */
    if (__builtin_expect(!p || !plain || ((const size_t *)p)[-1] >= LARGE_BYTES, 0)) return free_otherwise(p);
    struct stream *s = mine;
    uint64_t number = number_in_peace(s), *place = s->next;
    if (__builtin_expect(number >= s->due, 0)) return free_late(p, number);
    s->next = place + 1;
    *place = (uint64_t)p >> ADDRESS_SHIFT | (uint64_t)FREE << 44 | number << 48;
    __libc_free(p);
}

static void steered(uint64_t op, uint64_t operand, uint64_t before) {
    uint64_t head, *place = append(op, 3, &head);
    if (!place) return;
    place[1] = operand & LOW_48;
    place[2] = before & LOW_48;
    __atomic_store_n(place, head, __ATOMIC_RELEASE);
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
