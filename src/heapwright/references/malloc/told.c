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

int ask(int64_t told[MOST_TOLD]) {
    int (*property)(const char *, size_t *) = dlsym(RTLD_NEXT, "MallocExtension_GetNumericProperty");
    int count = 0;
    if (!property) return 0;
    for (; count < (int)(sizeof TCMALLOC / sizeof *TCMALLOC); count++) {
        size_t value = 0;
        told[count] = property(TCMALLOC[count], &value) ? (int64_t)value : -1;
    }
    return count;
}
