/* What `heapwright record` asks of the recorder beside its folder: the file FOLDER/control, mapped shared.
 * Included by recorder.c; written by control.py. Without the file nothing is asked. */
#define CONTROL_MAGIC 0x314c544e4f435748UL /* "HWCONTL1" */
struct control {
    uint64_t magic;
    uint64_t depth;             /* frames of a stack at most; 0: the call site alone */
    uint64_t state;             /* what to do; looked at when a chunk is full, after a pause, and after SYNC_EVERY events */
    uint64_t most, used;        /* bytes of all logs: allowed (0: any), taken */
    uint64_t segment;           /* a log ends and the next one begins when this has grown */
    uint64_t owner;             /* without this process the recording ends; 0: whatever becomes of it */
    uint64_t no_python;         /* 1: what a Python asks of its own allocator is left out */
};
static struct control *control;
static int late; /* it waited at first */

static void obey(void) {
    static char path[sizeof kept.folder + 16];
    *path = 0;
    add_text(path, sizeof path, kept.folder);
    add_text(path, sizeof path, "/control");
    int fd = opened(path, O_RDWR);
    if (fd < 0) return;
    void *p = (void *)syscall(SYS_mmap, TABLES - (1UL << 41), sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    closed(fd);
    if (p == MAP_FAILED || ((struct control *)p)->magic != CONTROL_MAGIC) return;
    control = p;
    want_stacks(control->depth);
    late = control->state == WAIT;
}
static int began_late(void) { return late; }

static int asked(int what) { return control && __atomic_load_n(&control->state, __ATOMIC_RELAXED) == (uint64_t)what; }

/* Bytes by which a log may grow that asks for so many; 0 where fewer are allowed than it needs. */
static uint64_t allowed(uint64_t needed, uint64_t bytes) {
    if (!control || !control->most) return bytes;
    uint64_t left = control->most > control->used ? control->most - control->used : 0;
    return left < needed ? 0 : bytes < left ? bytes : left & -CHUNK_BYTES;
}
static void taken(uint64_t bytes) { if (control) __atomic_fetch_add(&control->used, bytes, __ATOMIC_RELAXED); }

static int waits(void) { return state.phase == UNSTARTED && asked(WAIT); }
static void stop_if_asked(void) { /* with the lock held */
    if (state.phase != ON || !control) return;
    if (!asked(STOP) && !(control->owner && syscall(SYS_kill, control->owner, 0) && errno == ESRCH)) return;
    tell_taken("resident_kib", "page_faults");
    tell_file("/proc/self/maps");
    state.phase = OFF;
}

/* The log ends, the next one begins: every thread comes by, as none has room; numbers taken before are
 * the old one's. With the lock held. */
static void next_segment(void) {
    if (state.phase != ON || !control || control->segment == state.segment) return;
    uint64_t segment = control->segment;
    struct header *old = state.header;
    char *name = strrchr(kept.path, '/') + 1;
    static char before[sizeof old->parent];
    *before = 0;
    add_text(before, sizeof before, name);
    tell_taken("resident_kib", "page_faults");
    tell_file("/proc/self/maps");
    state.position += state.bytes;
    state.bytes = state.chunks = 0;
    for (uint64_t i = 1; i < state.streams && i < STREAMS; i++) {
        __atomic_store_n(&state.stream[i].synced, kept.number + (1UL << 62), __ATOMIC_SEQ_CST); /* too far off for any */
        __atomic_store_n(&state.stream[i].look, 0, __ATOMIC_SEQ_CST);
    }
    uint64_t first = take_number();
    state.segment = segment;
    if (!begin_log(first)) { /* no room: the old one tells so */
        old->lost_errno = errno, old->lost = first + 1;
        state.phase = OFF;
        return;
    }
    state.header->flags |= CONTINUES;
    add_text(state.header->parent, sizeof state.header->parent, before);
    syscall(SYS_munmap, old, HEADER_BYTES);
}
