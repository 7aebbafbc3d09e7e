/* Who asked, where no whole stacks are kept: the first function outside of those that only hand a request
 * on, which are libc's (strdup, fopen, ...), the C++ library's and operator new, wherever it is from.
 * Included by recorder.c, after unwind.h; x86-64.
 *
 *   caller ─ between the first and the last of them? ─ no ─► it asked
 *            └ yes: in one of them? ─► by the unwind tables outwards, MOST_STEPS at most ─► the first that is not
 *
 * Safe       nothing here allocates: modules are listed once, before the program begins. Those that are
 *            opened later are not known: their operator new stands for itself.
 * Omits      functions whose frame is found by bp, and glibc before 2.35, whose tables cannot be found
 *            without a lock: there the caller itself asked */
#define MOST_STEPS 16 /* frames that hand on */
#define PASSING 6     /* modules and functions that are known to */
#define HOP_BITS 10
#define LOST 0xffff

static uint64_t hops[1 << HOP_BITS]; /* pc << 16 | what `hop` says of it */
struct range { uintptr_t start, bytes; };
static struct { struct range every, of[PASSING]; int count; } passing; /* every: from the first to the last */

extern void *_Znwm(size_t) __attribute__((weak)), *_Znam(size_t) __attribute__((weak)); /* operator new, new[] */

static void passes_on(uintptr_t start, uintptr_t bytes) {
    if (passing.count == PASSING || !bytes) return;
    uintptr_t end = start + bytes, low = passing.every.start, high = low + passing.every.bytes;
    if (!passing.count || start < low) low = start;
    if (end > high) high = end;
    passing.of[passing.count++] = (struct range){start, bytes};
    passing.every = (struct range){low, high - low};
}

static inline int hands_on(uintptr_t pc) {
    for (int i = 0; i < passing.count; i++)
        if (pc - passing.of[i].start < passing.of[i].bytes) return 1;
    return 0;
}

static int module_passes_on(struct dl_phdr_info *module, size_t size, void *unused) {
    (void)size, (void)unused;
    const char *slash = strrchr(module->dlpi_name, '/'), *name = slash ? slash + 1 : module->dlpi_name;
    if (strncmp(name, "libc.so.", 8) && strncmp(name, "libstdc++.so.", 13) && strncmp(name, "libc++.so.", 10)
        && strncmp(name, "libc++abi.so.", 13)) return 0;
    for (int i = 0; i < module->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &module->dlpi_phdr[i];
        if (segment->p_type == PT_LOAD && segment->p_flags & PF_X)
            passes_on(module->dlpi_addr + segment->p_vaddr, segment->p_memsz);
    }
    return 0;
}

static void function_passes_on(void *function) { /* a program's own operator new */
    Dl_info found;
    const ElfW(Sym) *symbol = NULL;
    if (!function || hands_on((uintptr_t)function)) return;
    if (dladdr1(function, &found, (void **)&symbol, RTLD_DL_SYMENT) && symbol)
        passes_on((uintptr_t)found.dli_saddr, symbol->st_size);
}

static void know_who_passes_on(void) {
    const char *version = gnu_get_libc_version();
    if (strncmp(version, "2.", 2) || atoi(version + 2) < 35) return;
    dl_iterate_phdr(module_passes_on, NULL);
    function_passes_on((void *)_Znwm);
    function_passes_on((void *)_Znam);
}

static __attribute__((noinline)) uint64_t learned_hop(uintptr_t pc, uint64_t *place) {
    uint64_t bytes = 0;
    if (hands_on(pc)) {
        struct rule rule = rule_of(pc - 1);
        bytes = rule.kind == BY_SP && rule.cfa > 0 && rule.cfa < LOST ? (uint64_t)rule.cfa : LOST;
    }
    __atomic_store_n(place, pc << 16 | bytes, __ATOMIC_RELAXED);
    return bytes;
}
/* Bytes from sp at pc to that of the caller, where pc's function hands on; LOST where they are not known; else 0. */
static inline uint64_t hop(uintptr_t pc) {
    uint64_t *place = &hops[pc * 0x9E3779B97F4A7C15UL >> (64 - HOP_BITS)], word = __atomic_load_n(place, __ATOMIC_RELAXED);
    return __builtin_expect(word >> 16 == pc, 1) ? word & 0xffff : learned_hop(pc, place);
}

/* The first caller that does more than hand on; `caller`, to which the call of CFA `sp` returns, where it
 * cannot be found. What the tables say of those functions is exact: their stack can be read. */
static __attribute__((noinline)) uint64_t who_asked(uint64_t caller, uintptr_t sp) {
    uintptr_t pc = caller;
    if (tree.depth || python.on) return caller;
    for (int steps = 0; steps < MOST_STEPS; steps++) {
        uint64_t bytes = pc - passing.every.start < passing.every.bytes ? hop(pc) : 0;
        if (!bytes) return pc;
        if (bytes == LOST) break;
        sp += bytes;
        pc = *(const uintptr_t *)(sp - 8);
    }
    return caller;
}
static inline int is_handed_on(uint64_t caller) { return caller - passing.every.start < passing.every.bytes; }
static inline uint64_t asker(uint64_t caller, uintptr_t sp) {
    return __builtin_expect(is_handed_on(caller), 0) ? who_asked(caller, sp) : caller;
}
#define FRAME ((uintptr_t)__builtin_dwarf_cfa())
#define ASKER asker(CALLER, FRAME)
