/* Recording a process that runs already: this library is loaded into it by attach.c, and these functions
 * are called. Included by recorder.c; x86-64.
 *
 *   heapwright_attach(FOLDER) ─► a log ─► every module's entry for malloc, free, ... names ours
 *   heapwright_detach()       ─► the entries name what they did ─► the log is no longer mapped
 *
 * Order      free is ours before malloc is and longer: a block that is seen to be given is seen to go
 * Later      a module that is loaded meanwhile gets our entries when dlopen returns; where dlopen must
 *            see its real caller, whose RUNPATH counts, at some event soon after
 * Stays      this library: threads may be within it. It does nothing then
 * Safe       nothing is patched but words that hold the very address that dlsym tells, or are yet to be
 *            bound lazily; they are stored at once, while other threads run
 * Omits      function pointers that the program copied; the loader's own requests, which are no calls
 *            through an entry; modules in other namespaces (dlmopen) */
enum { ATTACHED_WELL, OTHER_MALLOC, NO_LOG, TWICE, NO_LIBC }; /* as in attach.py */

static void *attached_dlopen(const char *, int);
/* Names of our own functions: by their public ones the loader would find libc's. */
#define OWN(name) extern __typeof__(name) own_##name __attribute__((alias(#name), visibility("hidden")));
#define EACH(of) of(free) of(realloc) of(reallocarray) of(malloc) of(calloc) of(memalign) of(aligned_alloc) \
    of(posix_memalign) of(valloc) of(pvalloc) of(mallopt) of(malloc_trim) of(sbrk) of(brk)
#define HOOK(name) {#name, (void *)own_##name, NULL},
EACH(OWN)
static struct hook { const char *name; void *ours, *real; } hooks[] = {EACH(HOOK) {"dlopen", (void *)attached_dlopen, NULL}};
#define HOOKS (sizeof hooks / sizeof *hooks)
#define FREEING 3 /* the first ones */
static struct { int on, busy; unsigned long long modules; } attached;
struct pass { int from, past, on; };

static void set_entry(uintptr_t *entry, void *to, uintptr_t relro, uintptr_t relro_end) {
    uintptr_t at = (uintptr_t)entry, page = at & -4096UL;
    int hard = at >= relro && at < relro_end;
    if (hard && syscall(SYS_mprotect, page, 4096, PROT_READ | PROT_WRITE)) return;
    __atomic_store_n(entry, (uintptr_t)to, __ATOMIC_SEQ_CST);
    if (hard) syscall(SYS_mprotect, page, 4096, PROT_READ);
}

static int patch_module(struct dl_phdr_info *info, size_t size, void *data) {
    const struct pass *pass = data;
    uintptr_t base = info->dlpi_addr, relro = 0, relro_end = 0, start = -1UL, end = 0;
    const ElfW(Dyn) *dynamic = NULL;
    if (size >= offsetof(struct dl_phdr_info, dlpi_tls_modid)) attached.modules = info->dlpi_adds + info->dlpi_subs;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        if (p->p_type == PT_DYNAMIC) dynamic = (const void *)(base + p->p_vaddr);
        if (p->p_type == PT_GNU_RELRO) relro = base + p->p_vaddr, relro_end = (relro + p->p_memsz) & -4096UL, relro &= -4096UL;
        if (p->p_type == PT_LOAD) {
            if (base + p->p_vaddr < start) start = base + p->p_vaddr;
            if (base + p->p_vaddr + p->p_memsz > end) end = base + p->p_vaddr + p->p_memsz;
        }
    }
    uintptr_t mine_at = (uintptr_t)&attached;
    const char *name = info->dlpi_name;
    if (!dynamic || (mine_at >= start && mine_at < end) || (name && (strstr(name, "/ld-linux") || strstr(name, "linux-vdso"))))
        return 0;
    const ElfW(Sym) *symbols = NULL;
    const char *names = NULL;
    const ElfW(Rela) *tables[2] = {NULL, NULL};
    size_t bytes[2] = {0, 0};
    for (const ElfW(Dyn) *d = dynamic; d->d_tag; d++) {
        uintptr_t at = d->d_un.d_ptr < base ? base + d->d_un.d_ptr : d->d_un.d_ptr;
        if (d->d_tag == DT_SYMTAB) symbols = (const void *)at;
        if (d->d_tag == DT_STRTAB) names = (const void *)at;
        if (d->d_tag == DT_RELA) tables[0] = (const void *)at;
        if (d->d_tag == DT_RELASZ) bytes[0] = d->d_un.d_val;
        if (d->d_tag == DT_JMPREL) tables[1] = (const void *)at;
        if (d->d_tag == DT_PLTRELSZ) bytes[1] = d->d_un.d_val;
        if (d->d_tag == DT_PLTREL && d->d_un.d_val != DT_RELA) return 0;
    }
    if (!symbols || !names) return 0;
    for (int which = 0; which < 2; which++)
        for (const ElfW(Rela) *r = tables[which], *past = (const void *)((const char *)r + bytes[which]); r && r < past; r++) {
            unsigned long type = ELF64_R_TYPE(r->r_info), symbol = ELF64_R_SYM(r->r_info);
            if (!symbol || (type != R_X86_64_JUMP_SLOT && type != R_X86_64_GLOB_DAT && type != R_X86_64_64) || r->r_addend) continue;
            const char *called = names + symbols[symbol].st_name;
            uintptr_t *entry = (uintptr_t *)(base + r->r_offset), value = __atomic_load_n(entry, __ATOMIC_RELAXED);
            for (int i = pass->from; i < pass->past; i++) {
                if (!hooks[i].real || strcmp(called, hooks[i].name)) continue;
                int unbound = type == R_X86_64_JUMP_SLOT && value >= start && value < end && !symbols[symbol].st_shndx;
                if (pass->on && (value == (uintptr_t)hooks[i].real || unbound)) set_entry(entry, hooks[i].ours, relro, relro_end);
                if (!pass->on && value == (uintptr_t)hooks[i].ours) set_entry(entry, hooks[i].real, relro, relro_end);
            }
        }
    return 0;
}

static void patch(int on) {
    struct pass freeing = {0, FREEING, on}, giving = {FREEING, HOOKS, on};
    dl_iterate_phdr(patch_module, on ? &freeing : &giving);
    dl_iterate_phdr(patch_module, on ? &giving : &freeing);
}

static int read_count(struct dl_phdr_info *info, size_t size, void *data) {
    *(unsigned long long *)data = size >= offsetof(struct dl_phdr_info, dlpi_tls_modid) ? info->dlpi_adds + info->dlpi_subs : 0;
    return 1;
}
static void look_for_modules(void) { /* no lock of ours is held */
    unsigned long long count = 0;
    if (!attached.on || __atomic_exchange_n(&attached.busy, 1, __ATOMIC_ACQUIRE)) return;
    dl_iterate_phdr(read_count, &count);
    if (count != attached.modules) patch(1);
    __atomic_store_n(&attached.busy, 0, __ATOMIC_RELEASE);
}

static int has_search_path(const void *caller) { /* or is in another namespace, or unknown */
    Dl_info where;
    struct link_map *map = NULL;
    if (!dladdr1(caller, &where, (void **)&map, RTLD_DL_LINKMAP) || !map || !map->l_ld) return 1;
    for (const ElfW(Dyn) *d = map->l_ld; d->d_tag; d++)
        if (d->d_tag == DT_RPATH || d->d_tag == DT_RUNPATH) return 1;
    return 0;
}
static void *attached_dlopen(const char *file, int flags) {
    void *(*real)(const char *, int) = (void *(*)(const char *, int))hooks[HOOKS - 1].real;
    if (!file || (!strchr(file, '/') && has_search_path(__builtin_return_address(0)))) {
        attached.modules = 0;
        return real(file, flags); /* a jump: the caller stays who it is */
    }
    void *handle = real(file, flags);
    int error = errno;
    look_for_modules();
    errno = error;
    return handle;
}

/* What an earlier recording of this process left, or of one that it was forked from. Each thread takes its
 * own stream up again; no entry names our functions now. */
static void begin_again(void) {
    for (uint64_t i = 1; i < state.streams && i < STREAMS; i++) { /* its numbers and its clock were those of then: */
        struct stream *s = state.stream + i; /* a pause told of by them would be behind all that follows */
        s->next = s->end = NULL;
        s->ns = s->checked = s->synced = s->due = s->look = 0;
    }
    state.position += state.bytes;
    state.bytes = state.chunks = state.segment = 0;
    state.header = NULL;
    *kept.path = 0;
    kept.number = 0;
    looks.used = whole.samples = whole.next = 0;
    memset(looks.row + looks.first, 0, looks.rows * sizeof *looks.row);
}

/* Whether the program's is libc's. One linked to a fixed place that takes its address has an entry of its own
 * for it, which the loader tells instead: an undefined symbol with a value; it leads where ours is put. */
static int on_libcs(const struct hook *hook) {
    void *found = dlsym(RTLD_DEFAULT, hook->name);
    const ElfW(Sym) *symbol = NULL;
    Dl_info about;
    if (found == hook->real) return 1;
    return found && dladdr1(found, &about, (void **)&symbol, RTLD_DL_SYMENT) && symbol && symbol->st_shndx == SHN_UNDEF;
}

__attribute__((visibility("default"))) int heapwright_attach(const char *folder) { /* PARENT:FOLDER, PARENT - for its own */
    if (attached.on || state.phase == ON) return TWICE;
    void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    if (!libc) return NO_LIBC;
    for (size_t i = 0; i < HOOKS; i++) hooks[i].real = dlsym(libc, hooks[i].name);
    if (!hooks[HOOKS - 1].real) hooks[HOOKS - 1].real = dlsym(RTLD_DEFAULT, "dlopen"); /* before glibc 2.34 */
    if (!on_libcs(hooks + FREEING) || !on_libcs(hooks)) return OTHER_MALLOC;
    libc_handle = libc;
    if (state.header || *kept.path) begin_again();
    *kept.folder = 0;
    kept.parent = *folder == '-' ? getppid() : 0;
    kept.main = 0;
    add_text(kept.folder, sizeof kept.folder, folder + 1);
    if (getpid() == syscall(SYS_gettid)) kept.main = pthread_self();
    obey();
    begin_sequences();
    errno = 0;
    sigset_t old = hold();
    state.phase = UNSTARTED;
    start(take_number());
    if (state.phase == ON) state.header->flags |= ATTACHED;
    release(old);
    if (state.phase != ON) return NO_LOG | errno << 8;
    attached.on = 1;
    attached.busy = 1;
    patch(1);
    attached.busy = 0;
    return ATTACHED_WELL;
}

static void unmapped(void *at, size_t bytes) { /* for who writes there yet, in vain */
    syscall(SYS_mmap, at, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
}

__attribute__((visibility("default"))) int heapwright_detach(const char *none) {
    (void)none;
    if (!attached.on) return 0;
    while (__atomic_exchange_n(&attached.busy, 1, __ATOMIC_ACQUIRE)) sched_yield();
    attached.on = 0;
    patch(0);
    tell_end();
    sigset_t old = hold();
    if (state.header) {
        state.phase = OFF;
        syscall(SYS_nanosleep, &(struct timespec){0, 5000000}, NULL); /* who was within append is through */
        for (uint64_t i = 1; i < state.streams && i < STREAMS; i++)
            if (state.stream[i].end) unmapped(chunk_of(state.stream + i), CHUNK_BYTES);
        unmapped(state.header, HEADER_BYTES);
        if (control) unmapped(control, sizeof *control);
        leave_nodes();
    }
    release(old);
    return 0;
}
