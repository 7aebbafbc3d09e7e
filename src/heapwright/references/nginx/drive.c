/* Drives nginx's own ngx_slab.c with the events of a trace and says where every block lies.
 *
 *   stdin   int64 slots, zone's bytes, touch: whether blocks are written; then batches:
 *           int64 count, count x struct event; count 0 ends
 *   stdout  after each batch count x {offset from the first page + 1, or 0}; after the last one
 *           int64[FIGURES]
 *
 * nginx has no realloc: it is a block, a copy and a free; a refused one leaves the old block. It has no
 * memalign: a block of at least the alignment, none beyond a page.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <ngx_core.h>

enum { FREE, MALLOC, CALLOC, REALLOC, MEMALIGN, THREAD_EXIT, NEW };
enum { SLOTS, ZONE, TOUCH, SETTINGS };
enum { BATCH = 1 << 15, PAGE = 4096, ALIGN = 16, SIZES = 9 /* of objects that share a page */ };
enum { HEADER, PFREE, ERRORS, REFUSED, RESIDENT, COUNTERS, FIGURES = COUNTERS + 4 * SIZES };

struct event { int64_t size; int32_t slot; uint8_t op, align, pad[2]; };
struct object { char *address; size_t size; };

long errors_logged;
ngx_uint_t ngx_pagesize = PAGE, ngx_pagesize_shift = 12;
static ngx_cycle_t cycle;
ngx_cycle_t *ngx_cycle = &cycle;
static struct event batch[BATCH];
static int64_t placed[BATCH], setting[SETTINGS], figure[FIGURES];
static struct object *objects;
static ngx_slab_pool_t *pool;

static _Noreturn void die(const char *why) {
    if (write(2, why, strlen(why))) {}
    _exit(2);
}
void ngx_debug_point(void) { die("the pool is broken"); }

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

static char *obtain(const struct event *e) {
    size_t size = e->size, align = e->op == MEMALIGN ? (size_t)1 << (e->align & 63) : 1;
    if (align > ALIGN && size < align) size = align;
    if (align > PAGE) return 0;
    if (e->op == CALLOC) return ngx_slab_calloc(pool, size);
    return ngx_slab_alloc(pool, size);
}

static int64_t replay(const struct event *e) {
    if (e->op > NEW || e->op == THREAD_EXIT) return 0;
    if (e->slot >= setting[SLOTS]) die("an event names no object");
    struct object none = {0}, *o = e->slot < 0 ? &none : &objects[e->slot];
    if (e->op == FREE) {
        if (o->address) ngx_slab_free(pool, o->address);
        o->address = 0;
        return 0;
    }
    char *p = obtain(e);
    if (!p) {
        figure[REFUSED] += e->slot >= 0;
        if (e->op != REALLOC) o->address = 0;
        return o->address ? o->address - (char *)pool->start + 1 : 0;
    }
    if (e->op == REALLOC && o->address) {
        memcpy(p, o->address, o->size < (size_t)e->size ? o->size : (size_t)e->size);
        ngx_slab_free(pool, o->address);
    }
    o->address = p, o->size = e->size;
    if (e->slot < 0) {
        ngx_slab_free(pool, p);
        return 0;
    }
    if (setting[TOUCH] && e->size && e->op != CALLOC)
        for (char *at = p; at < p + e->size; at += PAGE - ((uintptr_t)at & (PAGE - 1))) *at = 1;
    return p - (char *)pool->start + 1;
}

int main(void) {
    take(setting, sizeof setting);
    objects = calloc(setting[SLOTS] + 1, sizeof *objects);
    char *zone = mmap(0, setting[ZONE], PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    size_t pages = (setting[ZONE] + PAGE - 1) / PAGE;
    unsigned char *resident = calloc(pages, 1);
    if (!objects || !resident || zone == MAP_FAILED) die("there is not enough memory");
    madvise(zone, setting[ZONE], MADV_NOHUGEPAGE);
    pool = (ngx_slab_pool_t *)zone;
    pool->end = (u_char *)zone + setting[ZONE];
    pool->min_shift = 3;
    pool->addr = zone;
    ngx_slab_sizes_init();
    ngx_slab_init(pool);
    for (int64_t count;;) {
        take(&count, sizeof count);
        if (!count) break;
        if (count < 0 || count > BATCH) die("a batch is too long");
        take(batch, count * sizeof *batch);
        for (int64_t i = 0; i < count; i++) placed[i] = replay(&batch[i]);
        give(placed, count * sizeof *placed);
    }
    figure[HEADER] = sizeof *pool, figure[PFREE] = pool->pfree, figure[ERRORS] = errors_logged;
    if (mincore(zone, setting[ZONE], resident)) die("the pages cannot be counted");
    for (size_t i = 0; i < pages; i++) figure[RESIDENT] += resident[i] & 1;
    for (int i = 0; i < SIZES; i++) {
        int64_t *row = &figure[COUNTERS + 4 * i];
        row[0] = pool->stats[i].total, row[1] = pool->stats[i].used;
        row[2] = pool->stats[i].reqs, row[3] = pool->stats[i].fails;
    }
    give(figure, sizeof figure);
    _exit(0);
}
