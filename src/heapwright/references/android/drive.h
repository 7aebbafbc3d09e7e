/* What the drivers of Android's allocators share: a trace's events come in, offsets go out.
 *
 *   stdin   int64 slots, touch: whether blocks are written, zone's bytes, six more that a driver
 *           reads; then batches: int64 count, count x struct event; count 0 ends
 *   stdout  after each batch count x {offset in the zone or -1, usable bytes}; after the last one
 *           int64[FIGURES]
 *
 * A driver defines begin, obtain, release, resize, usable, leave and finish.
 */
#ifdef BARE /* a process of 32 bits, without a C library */
#include "bare.h"
#else
#define _GNU_SOURCE
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#endif

enum { FREE, MALLOC, CALLOC, REALLOC, MEMALIGN, THREAD_EXIT, NEW };
enum { SLOTS, TOUCH, ZONE, TOLD, SETTINGS = TOLD + 6 };
enum { BATCH = 1 << 15, PAGE = 4096, PAGE_SHIFT = 12, ALIGN = 16, AT = 1 << 24 };
enum { REFUSED, RESIDENT, HELD, PEAK, OWN, FIGURES = OWN + 4 };

struct event { int64_t size; int32_t slot, thread; uint8_t op, align, pad[6]; };
struct object { char *address; int64_t size; };
struct place { int64_t offset, usable; };

static struct event batch[BATCH];
static struct place placed[BATCH];
static int64_t setting[SETTINGS], figure[FIGURES];
static struct object *objects;
static char *zone;

static void begin(void);
static char *obtain(const struct event *e);
static char *resize(const struct event *e, struct object *o);
static void release(const struct event *e, char *p);
static size_t usable(char *p);
static void leave(int32_t thread);
static void finish(void);

static _Noreturn void die(const char *why) {
    if (write(2, why, strlen(why))) {}
    _exit(2);
}
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
static void *zeros(int64_t bytes) {
    void *made = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (made == MAP_FAILED) die("there is not enough memory");
    return made;
}
static struct place told(char *p) {
    return p ? (struct place){p - zone, usable(p)} : (struct place){-1, 0};
}

static struct place replay(const struct event *e) {
    if (e->op == THREAD_EXIT) leave(e->thread);
    if (e->op > NEW || e->op == THREAD_EXIT) return told(0);
    if (e->slot >= setting[SLOTS]) die("an event names no object");
    struct object none = {0}, *o = e->slot < 0 ? &none : &objects[e->slot];
    if (e->op == FREE) {
        if (o->address) release(e, o->address);
        o->address = 0;
        return told(0);
    }
    char *p = e->op == REALLOC && o->address ? resize(e, o) : obtain(e);
    if (!p) {
        figure[REFUSED] += e->slot >= 0;
        if (e->op != REALLOC) o->address = 0;
        return told(o->address);
    }
    o->address = p, o->size = e->size;
    if (e->slot < 0) {
        release(e, p);
        return told(0);
    }
    if (setting[TOUCH] && e->size && e->op != CALLOC)
        for (char *at = p; at < p + e->size; at += PAGE - ((uintptr_t)at & (PAGE - 1))) *at = 1;
    return told(p);
}

static int64_t resident_pages(void) {
    int64_t pages = setting[ZONE] >> PAGE_SHIFT, count = 0;
    unsigned char *seen = zeros(pages);
    if (mincore(zone, setting[ZONE], seen)) die("the pages cannot be counted");
    for (int64_t i = 0; i < pages; i++) count += seen[i] & 1;
    return count;
}

int main(void) {
    take(setting, sizeof setting);
    objects = zeros((setting[SLOTS] + 1) * sizeof *objects);
    zone = zeros(setting[ZONE] + AT); /* aligned as the twin's: large alignments go by it */
    zone += -(uintptr_t)zone & (AT - 1);
    madvise(zone, setting[ZONE], MADV_NOHUGEPAGE);
    begin();
    for (int64_t count;;) {
        take(&count, sizeof count);
        if (!count) break;
        if (count < 0 || count > BATCH) die("a batch is too long");
        take(batch, count * sizeof *batch);
        for (int64_t i = 0; i < count; i++) placed[i] = replay(&batch[i]);
        give(placed, count * sizeof *placed);
    }
    figure[RESIDENT] = resident_pages();
    finish();
    give(figure, sizeof figure);
    _exit(0);
}
