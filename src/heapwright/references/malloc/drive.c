/* Drives this process's malloc with the events of a trace and says what memory that took.
 *
 *   stdin   int64[SETTINGS], then batches: int64 count, count x struct event; count 0 ends
 *   stdout  after each batch, when PLACED: count x {address, usable size}; at the end
 *           int64[FIGURES], int64[samples][5] and int64[told], what the library says of itself
 *
 * The malloc under test is libc's or a preloaded library's, called through RTLD_NEXT. The malloc
 * that libc itself sees is that of aside.c, in static memory: so the dynamic loader, pthread_create
 * and library constructors take nothing from the heap under test. The baseline is read in
 * .preinit_array, before any library's constructor, with every writable page of the image and
 * every buffer of this program resident: what a constructor of the allocator maps is counted, its
 * static data is not. One real thread per trace thread that is alive; whoever holds the baton runs.
 *
 * Before the baseline the heap's start and that of mappings are settled: see place.h. mallopt and malloc_trim are called where
 * the library that has malloc has them too, and counted as LEFT_OUT elsewhere; sbrk is the program's own
 * everywhere.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/futex.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "clock.h"
#include "footprint.h"
#include "place.h"
#include "told.h"

enum { FREE, MALLOC, CALLOC, REALLOC, MEMALIGN, THREAD_EXIT, NEW, MALLOPT = 13, TRIM, SBRK, WRITTEN };
enum { SLOTS, THREADS, ALIVE, TOUCH /* blocks below so many bytes are written whole */, PLACED, SAMPLE_EVERY, PROBE_EVERY, HUGE_PAGES, HEAP_START,
       END_EVENT /* after it the program has settled: always a sample */,
       VIRTUAL /* the clock is the events': see clock.h */, MAPPED_TOP, SETTINGS };
enum { HOME, ORIGIN /* bytes from the twin's mappings to ours */, STATE /* where the library keeps this thread's */,
       WORKER_STATE /* and the first other one's */, PLACES };
enum { PEAK_PAGES, PEAK_EVENT, PEAK_LIVE, PEAK_USABLE, HIGH_WATER_PAGES, MAPPED_PEAK,
       FAULTS, NANOSECONDS, REFUSED, EXACT, LEFT_OUT, SAMPLES, TOLD, FIGURES };
#ifndef STACK
#define STACK (1 << 16)
#endif
enum { BATCH = 1 << 15, SAMPLE_ROWS = 1 << 13,
       LARGE = 1 << 15 /* bytes: every event of this size is probed */ };
enum { ASLEEP = -1, PARKED, GO };

struct event { int64_t size; int32_t slot, thread; uint8_t op, align; uint16_t time_high; uint32_t time_low; };
struct object { char *address; int64_t size, usable; };
struct worker { pthread_t id; _Atomic int baton; int alive, thread; }; /* a thread that is alive */

static struct event batch[BATCH];
static int64_t placed[BATCH][2], setting[SETTINGS], figure[FIGURES], sample[SAMPLE_ROWS][5];
static struct worker *worker; /* [ALIVE]; row 0 is the main thread */
static int32_t *row_of, *spare, spares; /* by trace thread: its row, 0 while it has none; free rows */
static struct object *objects;
static char *stacks;
static int64_t next_event, count, replayed, live, usable, last_probe, last_sample, leaving;
static struct footprint start; /* the baseline */
static int64_t base_faults, base_high_water;
static void *(*real_malloc)(size_t), *(*real_calloc)(size_t, size_t);
static void *(*real_realloc)(void *, size_t), *(*real_memalign)(size_t, size_t);
static void (*real_free)(void *);
static size_t (*real_usable)(void *);
static int (*real_mallopt)(int, int), (*real_trim)(size_t); /* 0: the library has none */

static void take(void *into, size_t bytes) {
    for (char *at = into; bytes;) {
        ssize_t got = read(0, at, bytes);
        if (got <= 0) _exit(3); /* whoever drives us has gone */
        at += got, bytes -= got;
    }
}
static void give(const void *from, size_t bytes) {
    for (const char *at = from; bytes;) {
        ssize_t sent = write(1, at, bytes);
        if (sent <= 0) _exit(3);
        at += sent, bytes -= sent;
    }
}

static void *reserve(size_t bytes) {
    void *at = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (at == MAP_FAILED) die("there is not enough memory for the table of objects");
    return at;
}
static void *under_test(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) die(name);
    return found;
}

static void *if_of(const char *name, void *library) { /* the function, if the library has it */
    Dl_info found;
    void *function = dlsym(RTLD_NEXT, name);
    return function && dladdr(function, &found) && found.dli_fbase == library ? function : 0;
}

static void prepare_threads(void) { /* everything that they need is resident before the baseline */
    int64_t alive = setting[ALIVE];
    worker = reserve(alive * sizeof *worker);
    if (alive < 2) return;
    row_of = reserve(setting[THREADS] * sizeof *row_of);
    spare = reserve(alive * sizeof *spare);
    while (spares < alive - 1) spare[spares] = alive - 1 - spares, spares++;
    stacks = reserve(alive * STACK);
}

static void *report_state(void *library) { return (void *)(intptr_t)state_of(library); }
static int64_t worker_state(void *library) { /* asked of a thread on the first worker's stack */
    pthread_t id;
    void *state = 0;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, stacks + STACK, STACK);
    if (!pthread_create(&id, &attributes, report_state, library)) pthread_join(id, &state);
    return (intptr_t)state;
}

static void prepare(void) {
    take(setting, sizeof setting);
    if (!setting[HUGE_PAGES]) prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    real_malloc = under_test("malloc"), real_calloc = under_test("calloc");
    real_realloc = under_test("realloc"), real_memalign = under_test("memalign");
    real_free = under_test("free"), real_usable = under_test("malloc_usable_size");
    Dl_info library;
    if (!dladdr(real_malloc, &library)) die("the library that has malloc cannot be told");
    real_mallopt = if_of("mallopt", library.dli_fbase);
    real_trim = if_of("malloc_trim", library.dli_fbase);
    objects = reserve(setting[SLOTS] * sizeof *objects + 1);
    prepare_threads();
    figure[EXACT] = make_ready();
    figure[HIGH_WATER_PAGES] = reset_high_water() ? 0 : -1;
    int64_t place[PLACES] = {settle(setting[HEAP_START]), settle_mappings(setting[MAPPED_TOP])};
    place[STATE] = state_of(library.dli_fbase);
    if (setting[ALIVE] > 1 && place[STATE]) place[WORKER_STATE] = worker_state(library.dli_fbase);
    give(place, sizeof place);
    if (setting[VIRTUAL]) begin_clock();
    base_faults = faults();
    start = footprint();
    base_high_water = status_pages("VmHWM:"); /* resets to a count that may be too high */
}
__attribute__((section(".preinit_array"), used)) static void (*const prepare_first)(void) = prepare;

static void probe(int64_t event) {
    struct footprint now = footprint();
    int64_t pages = now.anonymous - start.anonymous;
    if (pages > figure[PEAK_PAGES]) {
        figure[PEAK_PAGES] = pages, figure[PEAK_EVENT] = event;
        figure[PEAK_LIVE] = live, figure[PEAK_USABLE] = usable;
    }
    last_probe = event;
    if ((event - last_sample < setting[SAMPLE_EVERY] && event != setting[END_EVENT]) || figure[SAMPLES] == SAMPLE_ROWS) return;
    int64_t *row = sample[figure[SAMPLES]++];
    row[0] = event, row[1] = now.mapped - start.mapped, row[2] = pages, row[3] = live, row[4] = usable;
    last_sample = event;
}

static void touch(char *start, int64_t bytes) {
    if (bytes > 0) *(volatile char *)start = 1;
    for (char *at = (char *)(((uintptr_t)start | (PAGE - 1)) + 1); at < start + bytes; at += PAGE)
        *(volatile char *)at = 1;
}

static void steer(const struct event *e) { /* the operands: see schema.py */
    if (e->op == MALLOPT && real_mallopt) real_mallopt((int16_t)(e->size >> 32), (int32_t)e->size);
    else if (e->op == TRIM && real_trim) real_trim(e->size);
    else if (e->op == SBRK) sbrk((int64_t)((uint64_t)e->size << 16) >> 16);
    else figure[LEFT_OUT]++;
}

static void replay(const struct event *e, int64_t out[2]) {
    out[0] = out[1] = 0;
    if (e->op == WRITTEN) {
        if (e->slot < 0 || e->slot >= setting[SLOTS]) die("an event names no object");
        struct object *o = &objects[e->slot];
        if (o->address && setting[TOUCH]) touch(o->address, e->size < o->size ? e->size : o->size);
    } else if (e->op >= MALLOPT) steer(e);
    if (e->op > NEW) return; /* between the objects of a graph: no business of malloc's */
    if (e->slot >= setting[SLOTS] || e->op == THREAD_EXIT) die("an event names no object");
    struct object none = {0}, *o = e->slot < 0 ? &none : &objects[e->slot];
    char *p = 0;
    size_t size = e->size;
    if (o->address && (e->op == FREE || e->op == REALLOC))
        live -= o->size, usable -= o->usable; /* the library is not asked: it would open a cache */
    switch (e->op) {
    case FREE: real_free(o->address); break;
    case NEW:
    case MALLOC: p = real_malloc(size); break;
    case CALLOC: p = real_calloc(1, size); break;
    case MEMALIGN: p = real_memalign((size_t)1 << (e->align & 63), size); break;
    case REALLOC: p = real_realloc(o->address, size ? size : 1); /* a Python's to 0 */
    }
    if (e->op != FREE && !p) {
        figure[REFUSED] += e->slot >= 0;
        if (e->op == REALLOC) p = o->address, size = o->size; /* the old block stays */
    }
    if (e->slot < 0) { /* the recorded program was refused */
        real_free(p);
        p = 0;
    }
    o->address = p, o->size = size;
    out[0] = (intptr_t)p;
    if (!p) return;
    if (e->size < setting[TOUCH] && e->op != CALLOC) touch(p, size);
    out[1] = o->usable = real_usable(p);
    live += size, usable += out[1];
}

static void await_baton(int me) {
    for (int spin = 0; spin < 300; spin++) {
        if (atomic_load(&worker[me].baton) == GO) break;
        __asm__ volatile("" ::: "memory");
    }
    int parked = PARKED;
    atomic_compare_exchange_strong(&worker[me].baton, &parked, ASLEEP);
    while (atomic_load(&worker[me].baton) != GO)
        syscall(SYS_futex, &worker[me].baton, FUTEX_WAIT_PRIVATE, ASLEEP, 0, 0, 0);
    atomic_store(&worker[me].baton, PARKED);
}
static int row_for(int thread) { /* whoever runs this trace thread; a row of its own from now on */
    if (setting[ALIVE] < 2 || !thread) return 0;
    if (thread < 0 || thread >= setting[THREADS]) die("an event names no thread");
    if (!row_of[thread]) {
        if (!spares) die("more threads are alive than were announced");
        row_of[thread] = spare[--spares];
        worker[row_of[thread]].thread = thread;
    }
    return row_of[thread];
}
static void *work(void *row);
static void pass_baton(int to) {
    if (to && !worker[to].alive) {
        pthread_attr_t attributes;
        pthread_attr_init(&attributes);
        pthread_attr_setstack(&attributes, stacks + to * (size_t)STACK, STACK);
        if (pthread_create(&worker[to].id, &attributes, work, (void *)(intptr_t)to))
            die("a thread could not be started: this system allows no more of them");
        worker[to].alive = 1;
    }
    if (atomic_exchange(&worker[to].baton, GO) == ASLEEP)
        syscall(SYS_futex, &worker[to].baton, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
}
static void serve(int me) { /* entered with the baton; thread 0 leaves at the batch's end */
    for (;;) {
        int to = 0;
        if (next_event == count) {
            if (!me) return;
        } else if ((to = row_for(batch[next_event].thread)) == me) {
            const struct event *e = &batch[next_event];
            tell_clock((int64_t)e->time_high << 32 | e->time_low);
            if (e->op == THREAD_EXIT) {
                next_event++;
                if (!me) continue;
                leaving = me;
                pass_baton(0);
                return;
            }
            replay(e, placed[next_event]);
            int64_t event = replayed + next_event++;
            if (e->size >= LARGE || event - last_probe >= setting[PROBE_EVERY] || event == setting[END_EVENT])
                probe(event);
            continue;
        }
        pass_baton(to);
        await_baton(me);
        if (!me && leaving) {
            pthread_join(worker[leaving].id, 0);
            row_of[worker[leaving].thread] = 0, spare[spares++] = leaving;
            worker[leaving].alive = 0, leaving = 0;
        }
    }
}
static void *work(void *row) {
    await_baton((int)(intptr_t)row);
    serve((int)(intptr_t)row);
    return 0;
}

int main(void) {
    for (;; replayed += count) {
        take(&count, sizeof count);
        if (!count) break;
        if (count < 0 || count > BATCH) die("a batch is too long");
        take(batch, count * sizeof *batch);
        memset(placed, 0, count * sizeof *placed);
        next_event = 0;
        int64_t started = now_ns();
        serve(0);
        figure[NANOSECONDS] += now_ns() - started;
        if (setting[PLACED]) give(placed, count * sizeof *placed);
    }
    if (figure[SAMPLES] && sample[figure[SAMPLES] - 1][0] == replayed - 1) figure[SAMPLES]--; /* once */
    if (replayed) last_sample = -setting[SAMPLE_EVERY], probe(replayed - 1);
    figure[FAULTS] = faults() - base_faults;
    struct footprint now = footprint();
    int64_t high_water = status_pages("VmHWM:");
    if (figure[HIGH_WATER_PAGES] >= 0 && high_water > base_high_water)
        figure[HIGH_WATER_PAGES] = high_water - now.shared - start.anonymous;
    figure[MAPPED_PEAK] = (status_pages("VmPeak:") - start.mapped) * PAGE;
    int64_t told[MOST_TOLD];
    figure[TOLD] = ask(told);
    give(figure, sizeof figure);
    give(sample, figure[SAMPLES] * sizeof *sample);
    give(told, figure[TOLD] * sizeof *told);
    _exit(0);
}
