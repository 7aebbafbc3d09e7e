/* What the drivers of Android's allocators share: a trace's events come in, offsets go out.
 *
 *   stdin   int64 slots, zone's bytes, touch: whether blocks are written, two more that a driver
 *           reads; then batches: int64 count, count x struct event; count 0 ends
 *   stdout  after each batch count x {offset in the zone or -1, usable bytes}; after the last one
 *           int64[FIGURES]
 *
 * A driver defines begin, obtain, release, resize, usable, leave and finish.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { FREE, MALLOC, CALLOC, REALLOC, MEMALIGN, THREAD_EXIT, NEW };
enum { SLOTS, ZONE, TOUCH, MODE, THRESHOLD, SETTINGS };
enum { BATCH = 1 << 15, PAGE = 4096, ALIGN = 16 };
enum { REFUSED, RESIDENT, HELD, PEAK, FIGURES };

struct event { int64_t size; int32_t slot, thread; uint8_t op, align, pad[6]; };
struct object { char *address; size_t size; };
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
    size_t pages = (setting[ZONE] + PAGE - 1) / PAGE;
    unsigned char *seen = calloc(pages, 1);
    if (!seen || mincore(zone, setting[ZONE], seen)) die("the pages cannot be counted");
    int64_t count = 0;
    for (size_t i = 0; i < pages; i++) count += seen[i] & 1;
    free(seen);
    return count;
}

int main(void) {
    take(setting, sizeof setting);
    objects = calloc(setting[SLOTS] + 1, sizeof *objects);
    zone = mmap(0, setting[ZONE], PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (!objects || zone == MAP_FAILED) die("there is not enough memory");
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
