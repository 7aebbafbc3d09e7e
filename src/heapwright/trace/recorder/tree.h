/* Call stacks as nodes of a tree: each (caller's node, pc) is one number, told once. Included by recorder.c.
 *
 *   the frames of an event ─ met those of the last one? ─ the rest: a table ─► its node
 *                                                           └ not there ─► a row of the file of nodes
 *
 * The file lies beside the log, PID.IMAGE.stacks: rows of two words, pc and caller's node; the first row
 * holds STACKS_MAGIC and the number of the first node that it tells: a forked child counts on from its
 * parent, whose file tells the others. Node 0 is nobody.
 *
 * Frames     return addresses; of the function that a signal interrupted the pc + 1, so that the place
 *            is a byte before, as with the others; PC_LEFT_OUT where a stack has more than wanted
 * Threads    who reads the table needs no lock: an entry is stored whole before its pc, and never
 *            changed; a larger table replaces a full one, which stays
 * Fork       the table is the child's own, as all memory; the file of nodes is not, it begins anew */
#define STACKS_MAGIC 0x314b415453575748UL /* "HWWSTAK1" */
#define PC_LEFT_OUT 1UL
#define MOST_NODES (1U << 21) /* as many as a trace holds */
#define TREE_BYTES 65536UL /* by which the file is mapped */
#define TREE_STEP TREE_BYTES /* by which it grows */
#define FRAMES_MOST 1000
#define TABLES ((char *)0x2e0000000000)

struct entry { uint64_t pc; uint32_t parent, node; }; /* pc 0: empty */
struct table { uint64_t mask; struct entry at[]; };
struct frame {
    uint64_t pc, sp, bp; /* in it */
    uint64_t saved, by;  /* where bp was read, and what sp was computed from; 0: nowhere */
    uint32_t node;
    uint8_t used, needed; /* bp, by the step to its caller; by that or by one further out */
};
struct trail { /* of a thread: its last stack, outermost first; then room for the frames at hand */
    uintptr_t top, low, busy; /* its stack's end; readable from there; sp of who is at work here */
    uint64_t owner, count;    /* 1 + the thread's number; of frames that can be compared, 0: none */
    struct frame frames[];    /* twice as many as wanted */
};

static struct { /* survives a fork */
    uint64_t depth;   /* frames wanted, 0: no stacks */
    struct table *table;
    uint64_t nodes;   /* numbers given */
    uint64_t mapped;  /* bytes of tables so far */
    char *trails;
    uint64_t trail_bytes;
} tree;
static struct { /* the file of nodes of this process: anew where state.nodes_told is wiped */
    uint64_t first, bytes; /* the first node it tells; of the file */
    uint64_t *rows, *past; /* what is mapped of it: where the next node goes */
    int full;
    char path[4096];
} nodes_file;
extern void *__libc_stack_end;

static void *fresh(size_t bytes) {
    void *p = (void *)syscall(SYS_mmap, TABLES + tree.mapped, bytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return NULL;
    tree.mapped += (bytes + TREE_BYTES) & -TREE_BYTES;
    return p;
}

static struct table *new_table(uint64_t entries) {
    struct table *t = fresh(sizeof *t + entries * sizeof *t->at);
    if (t) t->mask = entries - 1;
    return t;
}

static void want_stacks(uint64_t depth) { /* before the first event */
    if (!depth || tree.depth) return;
    if (depth > FRAMES_MOST) depth = FRAMES_MOST;
    tree.trail_bytes = (sizeof(struct trail) + 2 * depth * sizeof(struct frame) + 63) & -64UL;
    tree.trails = fresh(STREAMS * tree.trail_bytes);
    tree.table = new_table(1 << 12);
    if (tree.trails && tree.table) tree.depth = depth, not_plain();
}

static inline uint64_t entry_of(uint64_t pc, uint64_t parent) {
    return (pc * 0x9E3779B97F4A7C15UL ^ parent * 0xC2B2AE3D27D4EB4FUL) * 0x9E3779B97F4A7C15UL >> 32;
}

static inline uint32_t known_node(const struct table *t, uint64_t pc, uint32_t parent) {
    for (uint64_t i = entry_of(pc, parent);; i++) {
        const struct entry *e = &t->at[i & t->mask];
        uint64_t here = __atomic_load_n(&e->pc, __ATOMIC_ACQUIRE);
        if (here == pc && e->parent == parent) return e->node;
        if (!here) return 0;
    }
}

static void enter_node(struct table *t, uint64_t pc, uint32_t parent, uint32_t node) {
    uint64_t i = entry_of(pc, parent);
    while (t->at[i & t->mask].pc) i++;
    struct entry *e = &t->at[i & t->mask];
    e->parent = parent, e->node = node;
    __atomic_store_n(&e->pc, pc, __ATOMIC_RELEASE);
}

/* The next rows of the file of nodes, mapped; 0 when it cannot grow. With the lock held. */
static int file_of_nodes(void) {
    int anew = !state.nodes_told, fd = -1;
    if (anew) {
        memset(&nodes_file, 0, sizeof nodes_file);
        state.nodes_told = 1, nodes_file.first = tree.nodes + 1;
        add_text(nodes_file.path, sizeof nodes_file.path, state.path);
        add_text(nodes_file.path, sizeof nodes_file.path, ".stacks");
    } else if (nodes_file.past && nodes_file.rows < nodes_file.past) return 1;
    if (nodes_file.full) return 0;
    fd = opened(nodes_file.path, O_RDWR | O_CREAT);
    uint64_t at = anew ? 0 : (tree.nodes + 1 - nodes_file.first + 1) * 16 & -TREE_BYTES;
    if (fd >= 0 && at + TREE_BYTES > nodes_file.bytes) {
        int refused = !permitted(nodes_file.bytes + TREE_STEP)
            || syscall(SYS_fallocate, fd, 0, nodes_file.bytes, TREE_STEP);
        if (refused && (errno == EOPNOTSUPP || errno == ENOSYS)) refused = syscall(SYS_ftruncate, fd, nodes_file.bytes + TREE_STEP);
        if (refused) closed(fd), fd = -1;
        else nodes_file.bytes += TREE_STEP;
    }
    char *p = MAP_FAILED;
    if (fd >= 0) {
        if (nodes_file.past) syscall(SYS_munmap, (char *)nodes_file.past - TREE_BYTES, TREE_BYTES);
        p = (char *)syscall(SYS_mmap, TABLES - (1UL << 40) + at, TREE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, at);
        nodes_file.past = NULL;
    }
    closed(fd);
    if (p == MAP_FAILED) return nodes_file.full = 1, 0;
    syscall(SYS_madvise, p, TREE_BYTES, MADV_DONTFORK);
    nodes_file.rows = (uint64_t *)p, nodes_file.past = (uint64_t *)(p + TREE_BYTES);
    if (anew) *nodes_file.rows++ = STACKS_MAGIC, *nodes_file.rows++ = nodes_file.first;
    return 1;
}

/* The node of a call, which is new or was a moment ago; its caller's own where there is no room. */
static uint32_t new_node(uint64_t pc, uint32_t parent) {
    uint32_t node = known_node(tree.table, pc, parent);
    if (node) return node;
    if (state.phase != ON || tree.nodes >= MOST_NODES || !file_of_nodes()) {
        if (state.phase == ON) state.header->flags |= STACKS_CUT;
        return parent;
    }
    if (tree.nodes * 2 >= tree.table->mask) {
        struct table *old = tree.table, *larger = new_table((old->mask + 1) * 4);
        if (!larger) return state.header->flags |= STACKS_CUT, parent;
        for (uint64_t i = 0; i <= old->mask; i++)
            if (old->at[i].pc) enter_node(larger, old->at[i].pc, old->at[i].parent, old->at[i].node);
        __atomic_store_n(&tree.table, larger, __ATOMIC_RELEASE);
    }
    node = ++tree.nodes;
    nodes_file.rows[0] = pc, nodes_file.rows[1] = parent;
    nodes_file.rows += 2;
    enter_node(tree.table, pc, parent, node);
    return node;
}

/* Fills in the nodes of these frames, outermost first, and returns the innermost's. */
static uint32_t nodes_of(struct frame *frames, uint64_t count, uint32_t parent) {
    const struct table *t = __atomic_load_n(&tree.table, __ATOMIC_ACQUIRE);
    uint64_t i = 0;
    for (uint32_t node; i < count && (node = known_node(t, frames[i].pc, parent)); i++) frames[i].node = parent = node;
    if (i == count) return parent;
    int error = errno;
    sigset_t old = hold();
    for (; i < count; i++) frames[i].node = parent = new_node(frames[i].pc, parent);
    release(old);
    errno = error;
    return parent;
}

/* What is readable of the thread's stack from sp on is found out, a page at a time and each once. */
static __attribute__((noinline)) void look_at_stack(struct trail *t, uintptr_t sp) {
    uintptr_t self = (uintptr_t)pthread_self(), end = (uintptr_t)__libc_stack_end;
    if (t->owner != my_number) t->count = t->busy = 0, t->top = 0; /* another thread's until now */
    if (sp >= t->top) {
        t->owner = my_number;
        t->top = self > sp && self - sp < end - sp ? self : end; /* TCB: above a thread's stack */
        t->low = t->top & -4096UL;
    }
    uintptr_t low = t->low;
    if (sp >= t->top || (low - (sp & -4096UL)) / 4096 > OWN_PAGES) return; /* another stack than its own */
    while (low > sp && readable(low - 4096)) low -= 4096;
    t->low = low;
}

static inline struct frame frame_of(const struct walk *w) {
    return (struct frame){w->pc + (w->exact != 0), w->sp, w->bp, w->saved, w->by, 0, 0, 0};
}
/* Whether the frame below this one, which is as it was, was called by it as the last time. */
static inline int calls_as_before(const struct frame *f) {
    return *(const uint64_t *)(f->sp - 8) == f->pc
           && (!f->needed || !f->saved || *(const uint64_t *)f->saved == f->bp)
           && (!f->by || *(const uint64_t *)f->by == f->sp);
}

/* The frames from w's on into now[0, ...), innermost first. Where they meet the last stack and all that
 * stands above there is as it was, they end, and *met is how many of its frames go on. */
static uint64_t frames_from(struct walk *w, struct trail *t, uint64_t depth, uint64_t *met) {
    struct frame *last = t->frames, *now = last + depth;
    int64_t k = (int64_t)t->count - 1;
    uint64_t count = 0;
    for (;;) {
        while (k >= 0 && last[k].sp < w->sp) k--;
        if (k >= 0 && last[k].sp == w->sp && last[k].pc == w->pc && (last[k].bp == w->bp || !last[k].needed)) {
            int64_t j = k;
            while (j && calls_as_before(&last[j - 1])) j--;
            if (!j) { /* of this one, who called below may be another */
                last[k].bp = w->bp, last[k].saved = w->saved, last[k].by = w->by;
                return *met = k + 1, count;
            }
            k = j - 1;
        }
        if (count == depth) return now[count - 1].pc = PC_LEFT_OUT, count; /* the outermost gives way */
        now[count++] = frame_of(w);
        int more = step(w);
        now[count - 1].used = more && w->used;
        if (!more) return count;
    }
}

/* The node of the stack whose innermost frame is `caller`. The frames below it are ours. */
static __attribute__((noinline)) uint64_t stack_node(uint64_t caller) {
    struct walk w = {.exact = 1};
    __asm__ volatile("lea 0(%%rip), %0\n\tmov %%rsp, %1\n\tmov %%rbp, %2" : "=&r"(w.pc), "=&r"(w.sp), "=&r"(w.bp));
    struct trail *t = (struct trail *)(tree.trails + (mine - state.stream) * tree.trail_bytes);
    if (t->owner != my_number || w.sp < t->low || w.sp >= t->top) look_at_stack(t, w.sp);
    /* A signal's handler at work while this thread was here; what it left by longjmp lies below. */
    if (t->busy && w.sp < t->busy) return nodes_of(&(struct frame){.pc = caller}, 1, 0);
    t->busy = w.sp;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    w.low = t->low, w.top = t->top;
    if (w.sp < w.low || w.sp >= w.top) w.low = w.top = t->count = 0; /* another stack than its own */
    int own = 0, more = 1;
    while (own++ < 8 && (more = step(&w)) && w.pc != caller) {}
    uint64_t depth = tree.depth, met = 0, count = 1;
    struct frame *now = t->frames + depth, *last = t->frames;
    if (own > 8 || !more) now[0] = (struct frame){.pc = caller}, t->count = 0;
    else {
        struct walk again = w;
        count = frames_from(&w, t, depth, &met);
        if (met + count > depth) met = t->count = 0, w = again, count = frames_from(&w, t, depth, &met);
    }
    uint32_t parent = met ? last[met - 1].node : 0;
    if (count) {
        t->count = 0; /* what a handler that leaves by longjmp would leave half-made */
        for (uint64_t i = 0, at = met; i < count; i++, at++) {
            last[at] = now[count - 1 - i];
            last[at].needed = last[at].used || (at && !last[at - 1].saved && last[at - 1].needed);
        }
        parent = nodes_of(last + met, count, parent);
    }
    /* Those of another stack, or of which some were left out or interrupted, are not compared again. */
    int whole = w.top && !w.signals && last[0].pc != PC_LEFT_OUT && last[0].sp <= w.top && last[0].sp > w.low;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    t->count = whole ? met + count : 0;
    t->busy = 0;
    return parent;
}

static void unmapped(void *at, size_t bytes);
static void leave_nodes(void) { /* for good */
    if (nodes_file.past) unmapped((char *)nodes_file.past - TREE_BYTES, TREE_BYTES);
    nodes_file.full = 1;
}
static int stacks_wanted(void) { return tree.depth != 0; }
