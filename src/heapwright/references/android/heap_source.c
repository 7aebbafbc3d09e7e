/* Dalvik's heap over dlmalloc's own code, for the births and deaths of a graph trace: see drive.h.
 *
 * The spaces are real: mspaces in a process of 32 bits. What decides over them is written anew here
 * from the rules of Android 4.4's HeapSource.cpp and Heap.cpp, apart from the twin. An object that is
 * dead by the trace is freed by the next collection; a collection marks nothing.
 */
#include "dlmalloc.h"

enum { LIMIT = TOLD, START, UTILIZATION, MIN_FREE, MAX_FREE, CONCURRENT };
enum { COLLECTIONS = OWN, BESIDE, LAST_RESORT, DIGEST };
enum { HEADER = 8, BUFFER = 128, SPARE = 32, MOST_DEAD = 1 << 24, WORD_SHIFT = 8 };
enum { BEFORE_CONCURRENT = 128 << 10, LEAST_FOR_CONCURRENT = 256 << 10 };
static const size_t NEVER = ~(size_t)0;

static size_t bytes, ideal, soft = NEVER, concurrent_start = NEVER;
static int wanted;
static char **dead;
static size_t deaths;

static void digest(size_t value) {
    uint64_t sum = (uint64_t)figure[DIGEST] ^ value;
    figure[DIGEST] = (int64_t)(sum * 1099511628211ull >> 1);
}

static void set_ideal(size_t most) {
    if (most > (size_t)setting[LIMIT]) most = setting[LIMIT];
    size_t now = mspace_footprint(own);
    mspace_set_footprint_limit(own, most < now ? now : most);
    soft = most < now ? most : NEVER;
    ideal = most;
}

static void sift(size_t at, size_t count) { /* of a heap by address */
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && dead[child + 1] > dead[child]) child++;
        if (dead[at] >= dead[child]) return;
        char *kept = dead[at];
        dead[at] = dead[child], dead[child] = kept;
    }
}
static void sort_dead(void) {
    for (size_t at = deaths / 2; at-- > 0;) sift(at, deaths);
    for (size_t count = deaths; count-- > 1;) {
        char *last = dead[count];
        dead[count] = dead[0], dead[0] = last;
        sift(0, count);
    }
}

static void collect(int which) {
    void *batch_of[BUFFER];
    size_t count = 0, freed = 0;
    sort_dead();
    for (size_t i = 0; i < deaths; i++) {
        freed += mspace_usable_size(dead[i]) + sizeof(size_t);
        batch_of[count++] = dead[i];
        int word_ends = i + 1 == deaths || (dead[i + 1] - zone) >> WORD_SHIFT != (dead[i] - zone) >> WORD_SHIFT;
        if (i + 1 == deaths || (word_ends && count >= BUFFER - SPARE)) {
            mspace_bulk_free(own, batch_of, count);
            count = 0;
        }
    }
    deaths = 0;
    bytes -= freed;
    size_t target = bytes / (size_t)setting[UTILIZATION] * 1024;
    if (target > bytes + (size_t)setting[MAX_FREE]) target = bytes + setting[MAX_FREE];
    else if (target < bytes + (size_t)setting[MIN_FREE]) target = bytes + setting[MIN_FREE];
    set_ideal(target);
    size_t allowed = soft <= ideal ? soft : mspace_footprint_limit(own);
    concurrent_start = allowed < LEAST_FOR_CONCURRENT ? NEVER : allowed - BEFORE_CONCURRENT;
    figure[which]++;
    digest(freed), digest(bytes), digest(mspace_footprint(own)), digest(ideal);
}

static char *allocate(size_t need) {
    if (bytes + need > soft) return 0;
    char *p = mspace_calloc(own, 1, need);
    if (!p) return 0;
    bytes += mspace_usable_size(p) + sizeof(size_t);
    if (setting[CONCURRENT] && bytes > concurrent_start) wanted = 1;
    return p;
}
static char *allocate_and_grow(size_t need) {
    char *p = allocate(need);
    if (p) return p;
    size_t before = ideal;
    if (soft <= ideal) {
        soft = NEVER;
        if ((p = allocate(need))) {
            set_ideal(bytes);
            return p;
        }
    }
    mspace_set_footprint_limit(own, setting[LIMIT]);
    p = allocate(need);
    mspace_set_footprint_limit(own, mspace_footprint(own));
    set_ideal(p ? bytes : before);
    return p;
}

static void begin(void) {
    dead = zeros(MOST_DEAD * sizeof *dead);
    used = PAGE;
    own = create_mspace_with_base(zone, used, 0);
    if (!own) die("the space is too small");
    ideal = setting[START];
    mspace_set_footprint_limit(own, ideal);
}
static char *obtain(const struct event *e) {
    size_t need = e->size + HEADER;
    char *p = 0;
    if (wanted) wanted = 0, collect(BESIDE);
    if (e->size + HEADER < setting[LIMIT]) {
        if ((p = allocate(need))) return p;
        collect(COLLECTIONS);
        if ((p = allocate(need)) || (p = allocate_and_grow(need))) return p;
    }
    collect(LAST_RESORT);
    return allocate_and_grow(need);
}
static void release(const struct event *e, char *p) {
    (void)e;
    if (deaths == MOST_DEAD) die("too many are dead");
    dead[deaths++] = p;
}
static char *resize(const struct event *e, struct object *o) {
    (void)e, (void)o;
    die("a graph trace has no realloc");
}
static size_t usable(char *p) { return mspace_usable_size(p); }
static void leave(int32_t thread) { (void)thread; }
static void finish(void) { figure[HELD] = mspace_footprint(own), figure[PEAK] = mspace_max_footprint(own); }
