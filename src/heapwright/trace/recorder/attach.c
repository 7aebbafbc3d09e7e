/* Call a function of a library in another process, as a debugger would: loaded into `heapwright record` and
 * called by attach.py. x86-64.
 *
 *   find a thread that may ─► its registers and signal mask kept ─► a stack of its own ─► dlopen, dlsym,
 *   function ─► the stack goes ─► everything as it was; a system call that was interrupted goes on
 *
 * Which may  one that runs neither libc's nor the loader's code, or waits in a system call that neither
 *            malloc nor the loader makes; and is in no signal's handler that came upon such code. It holds
 *            no lock of theirs, then, and what it holds of the loader's may be taken again
 * Others     run on: locks that they hold come free. Only threads that are looked at are stopped
 * Signals    are blocked in the thread meanwhile and wait. Nothing is sent to it: a call ends at a
 *            system call instruction, where the kernel stops it for us
 * Restart    the registers are put back in a stop on the way to a signal's delivery, where the kernel itself
 *            decides whether the interrupted call is made again. epoll_wait and some others it would not:
 *            those we repeat if no signal is pending
 * Source     ptrace(2), signal(7); Linux kernel/signal.c (ptrace_stop), arch/x86/kernel/signal.c (restart) */
#define _GNU_SOURCE
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STACK_BYTES (512UL << 10)
#define STACK_HINT 0x2d0000000000UL
#define SCAN_BYTES (256UL << 10) /* of a stack that are searched for handlers */
#define STUCK_NS 5000000000L
#define STOP_NS 300000000L

enum { DONE, REFUSED, GONE, NOT_SAFE, NOT_LOADED, NO_FUNCTION, LOCKED, NO_MEMORY };
struct plan { /* as in attach.py */
    int64_t pid, patience_ms;
    uint64_t dlopen_at, dlsym_at, dlerror_at;
    uint64_t restorer; /* where a handler returns to: mov $15, %rax; syscall */
    uint64_t libc_start, libc_end, loader_start, loader_end; /* their code */
    char library[4096], function[64], argument[4096];
    int64_t result, error, stopped_ns; /* of the function; errno; how long the thread stood */
    char message[512];
};
struct thread {
    struct plan *plan;
    int tid, memory;
    struct user_regs_struct kept;
    uint64_t mask;
    uint8_t *vectors; /* state of the FPU and its like */
    size_t vector_bytes;
};

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}
static void rest(long ns) { nanosleep(&(struct timespec){0, ns}, NULL); }

/* Wait for the thread to stop: its status, 0 when it did not in time, -1 when it is gone. */
static int stop_of(int tid, int64_t patience_ns) {
    int status;
    for (int64_t until = now_ns() + patience_ns;; rest(20000)) {
        int found = waitpid(tid, &status, __WALL | WNOHANG);
        if (found < 0 && errno != EINTR) return -1;
        if (found > 0) return WIFSTOPPED(status) ? status : -1;
        if (patience_ns >= 0 && now_ns() > until) return 0;
    }
}

/* Stop a seized thread on its way to the program; what it is to get of signals it gets. */
static int interrupted(int tid, int64_t patience_ns, int stands) {
    if (ptrace(PTRACE_INTERRUPT, tid, 0, 0)) return 0;
    if (stands) ptrace(PTRACE_CONT, tid, 0, 0);
    for (;;) {
        int status = stop_of(tid, patience_ns);
        if (status <= 0) return status;
        if (status >> 16 == PTRACE_EVENT_STOP) return WSTOPSIG(status) == SIGTRAP ? 1 : 2; /* 2: the program is stopped */
        int number = WSTOPSIG(status);
        ptrace(PTRACE_CONT, tid, 0, number == (SIGTRAP | 0x80) ? 0 : number);
    }
}

static int is_theirs(const struct plan *p, uint64_t pc) {
    return (pc >= p->libc_start && pc < p->libc_end) || (pc >= p->loader_start && pc < p->loader_end);
}

static int is_wait(long call) { /* that neither malloc nor the loader makes; not read, which it does */
    static const short waits[] = {SYS_poll, SYS_ppoll, SYS_select, SYS_pselect6, SYS_epoll_wait, SYS_epoll_pwait, 441,
        SYS_accept, SYS_accept4, SYS_recvfrom, SYS_recvmsg, SYS_recvmmsg, SYS_sendto, SYS_sendmsg, SYS_connect,
        SYS_nanosleep, SYS_clock_nanosleep, SYS_wait4, SYS_waitid, SYS_pause, SYS_rt_sigtimedwait, SYS_rt_sigsuspend,
        SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_flock, SYS_semop, SYS_semtimedop, SYS_msgrcv, SYS_io_getevents,
        426 /* io_uring_enter */};
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++)
        if (waits[i] == call) return 1;
    return 0;
}

/* Whether a handler of a signal that came upon code of libc or the loader is at work in the thread. */
static int handles_signal(struct thread *t) {
    static uint64_t words[SCAN_BYTES / 8 + 64];
    ssize_t bytes = pread(t->memory, words, sizeof words, t->kept.rsp & -8UL);
    for (ssize_t i = 0; i + 22 < bytes / 8; i++) /* then struct ucontext: gregs[REG_RIP] at 168 */
        if (words[i] == t->plan->restorer && is_theirs(t->plan, words[i + 1 + 168 / 8])) return 1;
    return 0;
}

static int is_safe(struct thread *t) {
    uint64_t pc = t->kept.rip;
    unsigned char before[2];
    if (t->kept.cs != 0x33 || (pc >= t->plan->loader_start && pc < t->plan->loader_end)) return 0;
    if (is_theirs(t->plan, pc)) {
        if ((int64_t)t->kept.orig_rax < 0 || !is_wait(t->kept.orig_rax)) return 0;
        if (pread(t->memory, before, 2, pc - 2) != 2 || before[0] != 0x0f || before[1] != 0x05) return 0;
    }
    return !handles_signal(t);
}

/* A call that ended because we stopped it, and that the kernel will not repeat by itself. */
static void repeat_call(struct thread *t) {
    static const short calls[] = {SYS_epoll_wait, SYS_epoll_pwait, 441, SYS_rt_sigtimedwait, SYS_semop, SYS_semtimedop,
                                  SYS_io_getevents, 333, 426};
    int among = 0;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) among |= (uint64_t)calls[i] == t->kept.orig_rax;
    if (!among || (int64_t)t->kept.rax != -EINTR) return;
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/%d/status", t->tid);
    FILE *file = fopen(path, "re");
    uint64_t pending = 0, blocked = 0, mask;
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "SigPnd: %lx", &mask) == 1 || sscanf(line, "ShdPnd: %lx", &mask) == 1) pending |= mask;
        if (sscanf(line, "SigBlk: %lx", &mask) == 1) blocked = mask;
    }
    if (file) fclose(file);
    if (pending & ~blocked) return;
    t->kept.rax = t->kept.orig_rax, t->kept.rip -= 2, t->kept.orig_rax = -1;
}

static void let_go(struct thread *t) {
    struct user_regs_struct found = t->kept;
    repeat_call(t);
    if (memcmp(&found, &t->kept, sizeof found)) ptrace(PTRACE_SETREGS, t->tid, 0, &t->kept);
    ptrace(PTRACE_DETACH, t->tid, 0, 0);
}

/* On to the next entry into or end of a system call; -1 when the thread is gone, 0 when it was too long. */
static int to_call(struct thread *t, int64_t patience_ns) {
    for (int signal = 0;;) {
        if (ptrace(PTRACE_SYSCALL, t->tid, 0, signal)) return -1;
        int status = stop_of(t->tid, patience_ns);
        while (status > 0 && status >> 16 == PTRACE_EVENT_STOP && WSTOPSIG(status) != SIGTRAP) { /* SIGSTOP came */
            ptrace(PTRACE_LISTEN, t->tid, 0, 0);
            status = stop_of(t->tid, -1);
        }
        if (status <= 0) return status;
        if (WSTOPSIG(status) == (SIGTRAP | 0x80)) return 1;
        signal = status >> 16 ? 0 : WSTOPSIG(status);
    }
}

static int system_call(struct thread *t, long number, const uint64_t *a, int64_t *result) {
    struct user_regs_struct r = t->kept;
    r.rip = t->plan->restorer + 7, r.rax = number, r.orig_rax = -1;
    r.rdi = a[0], r.rsi = a[1], r.rdx = a[2], r.r10 = a[3], r.r8 = a[4], r.r9 = a[5];
    if (ptrace(PTRACE_SETREGS, t->tid, 0, &r) || to_call(t, -1) < 0 || to_call(t, -1) < 0
        || ptrace(PTRACE_GETREGS, t->tid, 0, &r)) return GONE;
    *result = r.rax;
    return DONE;
}

/* Call a function of the process on this stack. LOCKED: it waits for the loader's lock, and was called off. */
static int call(struct thread *t, uint64_t at, uint64_t top, const uint64_t *a, int64_t *result) {
    struct user_regs_struct r = t->kept;
    uint64_t back = t->plan->restorer + 7; /* the system call there is never that of the restorer: see below */
    top = (top & -16UL) - 8;
    if (pwrite(t->memory, &back, 8, top) != 8) return GONE;
    r.rip = at, r.rsp = top, r.rbp = 0, r.rax = 0, r.orig_rax = -1;
    r.rdi = a[0], r.rsi = a[1], r.rdx = a[2], r.eflags &= ~0x400UL; /* the direction flag */
    if (ptrace(PTRACE_SETREGS, t->tid, 0, &r)) return GONE;
    int64_t begun = now_ns();
    for (int calls = 0;; calls++) {
        int stopped = to_call(t, calls == 1 ? STUCK_NS : -1);
        if (stopped < 0) return GONE;
        if (!stopped) { /* still in its first system call */
            if (interrupted(t->tid, STOP_NS, 0) != 1 || ptrace(PTRACE_GETREGS, t->tid, 0, &r)) return GONE;
            if (r.orig_rax == SYS_futex && now_ns() - begun >= STUCK_NS) return LOCKED;
            continue;
        }
        if (ptrace(PTRACE_GETREGS, t->tid, 0, &r)) return GONE;
        if (r.rip != back + 2 || r.rsp != top + 8) continue;
        *result = r.orig_rax; /* at the entry: what the function returned */
        r.orig_rax = SYS_getpid;
        return ptrace(PTRACE_SETREGS, t->tid, 0, &r) || to_call(t, -1) < 0 ? GONE : DONE;
    }
}

static int load_and_call(struct thread *t, uint64_t base) {
    struct plan *p = t->plan;
    uint64_t top = base + STACK_BYTES, library = base, function = base + 4096, argument = base + 4096 + 64;
    int64_t handle, address, text;
    size_t got = 0;
    if (pwrite(t->memory, p->library, sizeof p->library, library) < 0
        || pwrite(t->memory, p->function, sizeof p->function, function) < 0
        || pwrite(t->memory, p->argument, sizeof p->argument, argument) < 0) return GONE;
    int status = call(t, p->dlopen_at, top, (uint64_t[]){library, 2 /* RTLD_NOW */, 0}, &handle);
    if (status) return status;
    if (!handle) {
        status = call(t, p->dlerror_at, top, (uint64_t[]){0, 0, 0}, &text);
        while (!status && text && got + 1 < sizeof p->message && pread(t->memory, p->message + got, 1, text + got) == 1
               && p->message[got]) got++;
        p->message[got] = 0;
        return status ? status : NOT_LOADED;
    }
    status = call(t, p->dlsym_at, top, (uint64_t[]){handle, function, 0}, &address);
    if (status) return status;
    return address ? call(t, address, top, (uint64_t[]){argument, 0, 0}, &p->result) : NO_FUNCTION;
}

/* The thread stands, and may. */
static int use(struct thread *t) {
    uint64_t all = -1, most = 1 << 16;
    int64_t base, begun = now_ns(), ignored;
    struct iovec vectors = {t->vectors = malloc(most), most};
    if (!t->vectors || ptrace(PTRACE_GETREGSET, t->tid, NT_X86_XSTATE, &vectors)
        || ptrace(PTRACE_GETSIGMASK, t->tid, 8, &t->mask) || ptrace(PTRACE_SETSIGMASK, t->tid, 8, &all)) {
        t->plan->error = errno;
        let_go(t);
        return free(t->vectors), REFUSED;
    }
    ptrace(PTRACE_SETOPTIONS, t->tid, 0, PTRACE_O_TRACESYSGOOD);
    int status = system_call(t, SYS_mmap, (uint64_t[]){STACK_HINT, STACK_BYTES, 3, 0x22, -1UL, 0}, &base);
    if (!status && base < 0 && base > -4096) status = NO_MEMORY, t->plan->error = -base;
    else if (!status) {
        status = load_and_call(t, base);
        if (status != GONE && system_call(t, SYS_munmap, (uint64_t[]){base, STACK_BYTES, 0, 0, 0, 0}, &ignored)) status = GONE;
    }
    if (status != GONE && interrupted(t->tid, -1, 1) > 0) { /* where the kernel looks for what was interrupted */
        ptrace(PTRACE_SETREGSET, t->tid, NT_X86_XSTATE, &vectors);
        ptrace(PTRACE_SETSIGMASK, t->tid, 8, &t->mask);
        repeat_call(t);
        ptrace(PTRACE_SETREGS, t->tid, 0, &t->kept);
        ptrace(PTRACE_DETACH, t->tid, 0, 0);
    }
    t->plan->stopped_ns = now_ns() - begun;
    free(t->vectors);
    return status;
}

static char state_of(int tid) {
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0) close(fd);
    text[length > 0 ? length : 0] = 0;
    char *name_end = strrchr(text, ')');
    return name_end && name_end[1] ? name_end[2] : 'X';
}

/* Look at a thread and use it if that may be: -1 when it may not. */
static int try_thread(struct plan *p, int tid, int memory) {
    struct thread t = {.plan = p, .tid = tid, .memory = memory};
    if (strchr("DXZT", state_of(tid))) return -1;
    if (ptrace(PTRACE_SEIZE, tid, 0, 0)) {
        p->error = errno;
        return errno == ESRCH ? -1 : REFUSED;
    }
    int stopped = interrupted(tid, -1, 0);
    if (stopped < 0) return -1;
    if (ptrace(PTRACE_GETREGS, tid, 0, &t.kept)) return GONE;
    if (stopped == 1 && is_safe(&t)) return use(&t);
    let_go(&t);
    return -1;
}

static int called(struct plan *p) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/mem", (int)p->pid);
    int memory = open(path, O_RDWR | O_CLOEXEC), status = -1;
    if (memory < 0) return p->error = errno, errno == ENOENT ? GONE : REFUSED;
    int64_t until = now_ns() + p->patience_ms * 1000000L;
    for (int round = 0; status < 0 && (now_ns() < until || !round); round++) {
        snprintf(path, sizeof path, "/proc/%d/task", (int)p->pid);
        DIR *threads = opendir(path);
        if (!threads) status = GONE;
        status = status < 0 ? try_thread(p, p->pid, memory) : status; /* the main one first */
        for (struct dirent *entry; threads && status < 0 && (entry = readdir(threads));)
            if (atoi(entry->d_name) > 0 && atoi(entry->d_name) != p->pid) status = try_thread(p, atoi(entry->d_name), memory);
        if (threads) closedir(threads);
        if (status < 0) rest(1000000L * (round < 20 ? 2 : 10));
    }
    close(memory);
    return status < 0 ? NOT_SAFE : status;
}

int heapwright_call(struct plan *p) { /* nothing but SIGKILL ends us while a thread stands */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int status = called(p);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status;
}
