/* From a frame to its caller: by the unwind tables of the module, or by its frame pointer. Included by
 * recorder.c; x86-64.
 *
 *   pc ─► remembered: which rule ─► rule: where the caller's sp, bp and pc are ─► the caller
 *         └ not yet ─► the module's .eh_frame_hdr ─► its description of this place ─► a rule
 *
 * Terms      CFA: sp of the caller before the call, whose pc lies below it; rule: how the CFA and the
 *            caller's bp are found; programs have some hundred different ones
 * Safe       nothing here allocates or locks: modules are found by _dl_find_object (glibc 2.35), rules
 *            and what is remembered are words that are stored at once. What is read on the stack is
 *            known to be readable: in the part of the thread's own stack that was looked at, or in a
 *            page that the kernel was asked about just now.
 * Source     DWARF 5, 6.4; Linux Standard Base 5.0, 10.6 (.eh_frame, .eh_frame_hdr); System V ABI, AMD64
 *            supplement, 3.4 and 3.7
 * Omits      registers but sp, bp and pc: what needs others ends a stack. Code without tables, such as
 *            a JIT's, is taken to keep a frame pointer */
#define RULES 4096
#define REMEMBERED_BITS 16
#define MOST_FRAME (64UL << 20) /* bytes of one frame */
#define OWN_PAGES 2048 /* of a thread's stack that are asked about at once */
#define NESTED 16 /* states that a description remembers */

enum { BY_SP = 1, BY_BP, BY_WORD_AT_BP, BY_SIGNAL, BY_FRAME, OUTERMOST };
enum { BP_SAME, BP_AT_CFA, BP_AT_BP, BP_LOST };
struct rule { int32_t cfa; int16_t bp; uint8_t kind, bp_kind; }; /* offsets in bytes; 0 kind: none */
union word_of_rule { struct rule rule; uint64_t word; };

struct found { /* glibc's struct dl_find_object, which older headers lack */
    unsigned long long flags;
    void *start, *end, *map, *tables;
    unsigned long long reserved[7];
};
static int (*find_object)(void *, struct found *);
static int asked_for_find_object;

static uint64_t rules[RULES];
static uint64_t remembered[1 << REMEMBERED_BITS]; /* pc << 16 | row of `rules` */

struct bytes { const uint8_t *at, *end; };

static uint64_t fixed(struct bytes *b, int count) {
    uint64_t value = 0;
    if (b->end - b->at < count) return b->at = b->end, 0;
    for (int i = 0; i < count; i++) value |= (uint64_t)b->at[i] << 8 * i;
    b->at += count;
    return value;
}
static int64_t leb(struct bytes *b, int is_signed) {
    uint64_t value = 0;
    int shift = 0;
    uint8_t last = 0x80;
    while (last & 0x80 && b->at < b->end) {
        last = *b->at++;
        if (shift < 64) value |= (uint64_t)(last & 0x7f) << shift;
        shift += 7;
    }
    return (is_signed && shift < 64 && last & 0x40) ? (int64_t)(value | -(1UL << shift)) : (int64_t)value;
}
static uintptr_t pointer(struct bytes *b, uint8_t encoding, uintptr_t data) { /* DW_EH_PE_* */
    uintptr_t here = (uintptr_t)b->at, value;
    switch (encoding & 15) {
    case 0: case 4: case 12: value = fixed(b, 8); break;
    case 2: value = fixed(b, 2); break;
    case 3: value = fixed(b, 4); break;
    case 10: value = (int16_t)fixed(b, 2); break;
    case 11: value = (int32_t)fixed(b, 4); break;
    case 1: value = leb(b, 0); break;
    case 9: value = leb(b, 1); break;
    default: return b->at = b->end, 0;
    }
    if ((encoding & 0x70) == 0x10) value += here;
    if ((encoding & 0x70) == 0x30) value += data;
    return value;
}

/* The description of the function around pc in a sorted .eh_frame_hdr; NULL when there is none. */
static const uint8_t *description(uintptr_t pc, const uint8_t *head) {
    if (!head || head[0] != 1 || head[2] == 0xff || head[3] != 0x3b) return NULL;
    struct bytes b = {head + 4, head + 32};
    pointer(&b, head[1], (uintptr_t)head);
    int64_t low = 0, high = pointer(&b, head[2], (uintptr_t)head);
    const int32_t *row = (const int32_t *)b.at;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if ((uintptr_t)head + row[2 * middle] <= pc) low = middle + 1;
        else high = middle;
    }
    return low ? head + row[2 * low - 1] : NULL;
}

struct part { struct bytes program; uint8_t encoding, sized, of_signals; int64_t code, data; };

static int common_part(const uint8_t *at, const uint8_t *end, struct part *to) {
    struct bytes b = {at, end};
    uint64_t length = fixed(&b, 4);
    if (length >= 0xfffffff0 || length > (size_t)(b.end - b.at)) return 0;
    b.end = b.at + length;
    if (fixed(&b, 4)) return 0;
    int version = fixed(&b, 1);
    const char *letter = (const char *)b.at;
    while (b.at < b.end && *b.at) b.at++;
    b.at++;
    to->code = leb(&b, 0), to->data = leb(&b, 1);
    if (version == 1) b.at++;
    else leb(&b, 0);
    to->encoding = to->sized = to->of_signals = 0;
    if (*letter == 'z') to->sized = 1, leb(&b, 0), letter++;
    for (; *letter; letter++) {
        if (*letter == 'R') to->encoding = fixed(&b, 1);
        else if (*letter == 'L') fixed(&b, 1);
        else if (*letter == 'P') pointer(&b, fixed(&b, 1), 0);
        else if (*letter == 'S') to->of_signals = 1;
        else return 0;
    }
    return to->program = b, b.at <= b.end;
}

struct known { int64_t cfa, bp; uint8_t cfa_register, cfa_kind, bp_kind, outermost; };

/* CFA by an expression: a word at bp + n, where a function aligned its stack; or that of a PLT. */
static void expression(struct known *now, struct bytes b, uintptr_t pc) {
    now->cfa_kind = 0;
    if (b.at == b.end) return;
    if (*b.at == 0x76) { /* DW_OP_breg6 n, DW_OP_deref */
        b.at++, now->cfa = leb(&b, 1);
        if (b.end - b.at == 1 && *b.at == 0x06) now->cfa_kind = BY_WORD_AT_BP;
    } else if (b.end - b.at > 4 && b.at[0] == 0x77 && b.at[1] == 8 && b.at[2] == 0x80)
        now->cfa_kind = BY_SP, now->cfa = (pc & 15) >= 11 ? 16 : 8;
}
static void defined(struct known *now, int number, int64_t offset) {
    now->cfa_register = number, now->cfa = offset;
    now->cfa_kind = number == 7 ? BY_SP : number == 6 ? BY_BP : 0;
}
static void saved(struct known *now, int64_t number, int kind, int64_t offset) {
    if (number == 6) now->bp_kind = kind, now->bp = offset;
    if (number == 16) now->outermost = kind == BP_LOST || (kind == BP_AT_CFA && offset != -8);
}

static void follow(struct known *now, const struct part *part, struct bytes b, uintptr_t start, uintptr_t pc) {
    struct known first = *now, stack[NESTED];
    int height = 0;
    while (b.at < b.end && start <= pc) {
        uint8_t op = *b.at++, low = op & 63;
        int64_t n;
        switch (op & 0xc0 ? op & 0xc0 : op) {
        case 0x40: start += low * part->code; break;
        case 0x80: saved(now, low, BP_AT_CFA, leb(&b, 0) * part->data); break;
        case 0xc0: n = low; goto restored;
        case 0x01: start = pointer(&b, part->encoding, 0); break;
        case 0x02: start += fixed(&b, 1) * part->code; break;
        case 0x03: start += fixed(&b, 2) * part->code; break;
        case 0x04: start += fixed(&b, 4) * part->code; break;
        case 0x05: n = leb(&b, 0), saved(now, n, BP_AT_CFA, leb(&b, 0) * part->data); break;
        case 0x11: n = leb(&b, 0), saved(now, n, BP_AT_CFA, leb(&b, 1) * part->data); break;
        case 0x2f: n = leb(&b, 0), saved(now, n, BP_AT_CFA, -leb(&b, 0) * part->data); break;
        case 0x06: n = leb(&b, 0);
        restored:
            if (n == 6) now->bp_kind = first.bp_kind, now->bp = first.bp;
            if (n == 16) now->outermost = first.outermost;
            break;
        case 0x07: saved(now, leb(&b, 0), BP_LOST, 0); break;
        case 0x08: saved(now, leb(&b, 0), BP_SAME, 0); break;
        case 0x09: n = leb(&b, 0), leb(&b, 0), saved(now, n, BP_LOST, 0); break;
        case 0x0a: if (height < NESTED) stack[height++] = *now; break;
        case 0x0b: if (height) *now = stack[--height]; break;
        case 0x0c: n = leb(&b, 0), defined(now, n, leb(&b, 0)); break;
        case 0x12: n = leb(&b, 0), defined(now, n, leb(&b, 1) * part->data); break;
        case 0x0d: defined(now, leb(&b, 0), now->cfa); break;
        case 0x0e: now->cfa = leb(&b, 0); break;
        case 0x13: now->cfa = leb(&b, 1) * part->data; break;
        case 0x0f: case 0x10: case 0x16: {
            if (op != 0x0f) n = leb(&b, 0);
            size_t length = leb(&b, 0);
            if (length > (size_t)(b.end - b.at)) length = b.end - b.at;
            struct bytes text = {b.at, b.at + length};
            b.at += length;
            if (op == 0x0f) expression(now, text, pc);
            else if (op == 0x10 && length && *text.at == 0x76) text.at++, saved(now, n, BP_AT_BP, leb(&text, 1));
            else saved(now, n, BP_LOST, 0);
            break;
        }
        case 0x14: case 0x15: n = leb(&b, 0), leb(&b, 0), saved(now, n, BP_LOST, 0); break;
        case 0x2e: leb(&b, 0); break; /* DW_CFA_GNU_args_size */
        case 0x00: case 0x2d: break;
        default: b.at = b.end, now->cfa_kind = 0;
        }
    }
}

static struct rule looked_up(uintptr_t pc) {
    struct rule by_frame = {.kind = BY_FRAME}, end = {.kind = OUTERMOST};
    struct found module;
    struct part part;
    if (!find_object || find_object((void *)pc, &module)) return by_frame;
    const uint8_t *at = description(pc, module.tables), *past = (const uint8_t *)module.end;
    if (!at || at < (const uint8_t *)module.start || at >= past) return by_frame;
    struct bytes b = {at, past};
    uint64_t length = fixed(&b, 4);
    if (length >= 0xfffffff0 || length < 4 || length > (size_t)(b.end - b.at)) return by_frame;
    b.end = b.at + length;
    const uint8_t *common = b.at - (uint32_t)fixed(&b, 4);
    if (common < (const uint8_t *)module.start || common >= past || !common_part(common, past, &part)) return by_frame;
    uintptr_t start = pointer(&b, part.encoding, 0), bytes = pointer(&b, part.encoding & 15, 0);
    if (pc - start >= bytes) return by_frame;
    if (part.of_signals) return (struct rule){.kind = BY_SIGNAL};
    if (part.sized) {
        uint64_t skipped = leb(&b, 0);
        if (skipped > (size_t)(b.end - b.at)) return by_frame;
        b.at += skipped;
    }
    struct known now = {0};
    follow(&now, &part, part.program, 0, UINTPTR_MAX);
    follow(&now, &part, b, start, pc);
    if (now.outermost || !now.cfa_kind || now.cfa != (int32_t)now.cfa) return end;
    if (now.bp_kind != BP_LOST && now.bp != (int16_t)now.bp) return end;
    return (struct rule){now.cfa, now.bp, now.cfa_kind, now.bp_kind};
}

static __attribute__((noinline)) struct rule learned(uintptr_t pc, uint64_t *place) {
    if (!asked_for_find_object) {
        find_object = (int (*)(void *, struct found *))dlsym(RTLD_DEFAULT, "_dl_find_object");
        asked_for_find_object = 1;
        if (!find_object && state.phase == ON) state.header->flags |= WITHOUT_TABLES;
    }
    union word_of_rule found = {.rule = looked_up(pc)};
    uint64_t row = found.word * 0x9E3779B97F4A7C15UL >> 52, none;
    for (int tries = 0; tries < RULES; tries++, row = (row + 1) % RULES) {
        none = 0;
        if (__atomic_load_n(&rules[row], __ATOMIC_RELAXED) != found.word
            && !__atomic_compare_exchange_n(&rules[row], &none, found.word, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)
            && none != found.word) continue;
        __atomic_store_n(place, pc << 16 | row, __ATOMIC_RELEASE);
        break;
    }
    return found.rule;
}

static inline struct rule rule_of(uintptr_t pc) {
    uint64_t at = pc * 0x9E3779B97F4A7C15UL >> (64 - REMEMBERED_BITS);
    uint64_t first = __atomic_load_n(&remembered[at], __ATOMIC_ACQUIRE);
    if (__builtin_expect(first >> 16 == pc, 1)) return (union word_of_rule){.word = rules[first & 0xffff]}.rule;
    uint64_t second = __atomic_load_n(&remembered[at ^ 1], __ATOMIC_ACQUIRE);
    if (second >> 16 == pc) return (union word_of_rule){.word = rules[second & 0xffff]}.rule;
    return learned(pc, &remembered[first && !second ? at ^ 1 : at]);
}

struct walk {
    uintptr_t pc, sp, bp;
    uintptr_t saved, by; /* where bp was saved, 0: not; the word that holds sp, 0: none */
    int used;            /* the last step took bp for the caller's sp */
    uintptr_t low, top;  /* what is readable of the thread's own stack */
    uintptr_t page;     /* another one that is */
    int exact, signals; /* pc is no return address; signal frames so far */
};

static int readable(uintptr_t page) { /* a call that is refused in any case, if only it can be read */
    register uint64_t size __asm__("r10") = 8;
    long answer = SYS_rt_sigprocmask;
    __asm__ volatile("syscall" : "+a"(answer) : "D"(-1L), "S"(page), "d"(0L), "r"(size) : "rcx", "r11", "memory");
    return answer != -EFAULT;
}

static inline int word(struct walk *w, uintptr_t at, uintptr_t *into) {
    if (at & 7) return 0;
    if (__builtin_expect(at - w->low >= w->top - w->low, 0) && (at & -4096UL) != w->page) {
        if (at < 4096 || at >> 47 || !readable(at & -4096UL)) return 0;
        w->page = at & -4096UL;
    }
    *into = *(const uintptr_t *)at;
    return 1;
}

/* To the caller of the frame; 0 where there is none, or none that can be believed. */
static inline int step(struct walk *w) {
    struct rule rule = rule_of(w->exact ? w->pc : w->pc - 1);
    uintptr_t cfa, pc, bp = w->bp;
    w->saved = w->by = 0;
    w->used = rule.kind != BY_SP;
    if (__builtin_expect(rule.kind == BY_SP, 1)) cfa = w->sp + rule.cfa;
    else if (rule.kind == BY_BP) cfa = w->bp + rule.cfa;
    else if (rule.kind == BY_FRAME) cfa = w->bp + 16, rule.bp_kind = BP_AT_CFA, rule.bp = -16;
    else if (rule.kind == BY_WORD_AT_BP) {
        if (!word(w, w->by = w->bp + rule.cfa, &cfa)) return 0;
    } else if (rule.kind == BY_SIGNAL) { /* sp is that of struct ucontext: gregs of bp, sp, ip */
        if (w->signals++ == 4 || !word(w, w->sp + 120, &bp) || !word(w, w->sp + 168, &pc)
            || !word(w, w->sp + 160, &cfa)) return 0;
        w->pc = pc, w->sp = cfa, w->bp = bp, w->exact = 1;
        return pc > 4096 && !(pc >> 47);
    } else return 0;
    if (cfa - w->sp - 1 >= MOST_FRAME || !word(w, cfa - 8, &pc)) return 0;
    if (rule.bp_kind == BP_AT_CFA || rule.bp_kind == BP_AT_BP) {
        if (!word(w, w->saved = (rule.bp_kind == BP_AT_CFA ? cfa : w->bp) + rule.bp, &bp)) return 0;
    } else if (rule.bp_kind == BP_LOST) bp = 0;
    w->pc = pc, w->sp = cfa, w->bp = bp, w->exact = 0;
    return pc > 4096 && !(pc >> 47);
}
