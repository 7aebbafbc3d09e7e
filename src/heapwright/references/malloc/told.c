/* What a library says of itself at the end, in the order of its twin's `statistics`. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include "told.h"

static const char *const TCMALLOC[] = { /* gperftools: malloc_extension.h */
    "generic.current_allocated_bytes", "generic.heap_size", "generic.total_physical_bytes",
    "tcmalloc.central_cache_free_bytes", "tcmalloc.transfer_cache_free_bytes",
    "tcmalloc.thread_cache_free_bytes", "tcmalloc.pageheap_free_bytes",
    "tcmalloc.pageheap_unmapped_bytes", "tcmalloc.pageheap_committed_bytes",
    "tcmalloc.pageheap_scavenge_count", "tcmalloc.pageheap_commit_count",
    "tcmalloc.pageheap_decommit_count", "tcmalloc.pageheap_reserve_count",
    "tcmalloc.current_total_thread_cache_bytes", "tcmalloc.pageheap_total_decommit_bytes"};

static const char *const JEMALLOC[] = { /* jemalloc(3): of all arenas */
    "stats.allocated", "stats.active", "stats.mapped", "stats.retained", "stats.resident",
    "stats.arenas.4096.pdirty", "stats.arenas.4096.pmuzzy", "stats.arenas.4096.dirty_npurge",
    "stats.arenas.4096.dirty_nmadvise", "stats.arenas.4096.dirty_purged",
    "stats.arenas.4096.muzzy_npurge", "stats.arenas.4096.muzzy_nmadvise",
    "stats.arenas.4096.muzzy_purged", "stats.arenas.4096.tcache_bytes",
    "stats.arenas.4096.small.nfills"};

static int ask_jemalloc(int (*ctl)(const char *, void *, size_t *, void *, size_t), int64_t told[MOST_TOLD]) {
    int count = 0;
    uint64_t epoch = 1;
    size_t bytes = sizeof epoch;
    ctl("epoch", &epoch, &bytes, &epoch, sizeof epoch);
    for (; count < (int)(sizeof JEMALLOC / sizeof *JEMALLOC); count++) {
        size_t value = 0;
        bytes = sizeof value;
        told[count] = ctl(JEMALLOC[count], &value, &bytes, 0, 0) ? -1 : (int64_t)value;
    }
    return count;
}

int ask(int64_t told[MOST_TOLD]) {
    int (*ctl)(const char *, void *, size_t *, void *, size_t) = dlsym(RTLD_NEXT, "mallctl");
    int (*property)(const char *, size_t *) = dlsym(RTLD_NEXT, "MallocExtension_GetNumericProperty");
    int count = 0;
    if (ctl) return ask_jemalloc(ctl, told);
    if (!property) return 0;
    for (; count < (int)(sizeof TCMALLOC / sizeof *TCMALLOC); count++) {
        size_t value = 0;
        told[count] = property(TCMALLOC[count], &value) ? (int64_t)value : -1;
    }
    return count;
}
