/* Do calls that shape an address space for real, and tell what they answered and /proc/self/smaps: the truth
 * that linux/process.py is held to. On standard input seven words a call, on standard output:
 *
 *   A ANSWER          address or 0, or minus the error's number; 14 (EFAULT) for an access that faults
 *   S BYTES           and the text of smaps, of maps, or of status
 *   F FAULTS          minor ones so far, as getrusage has them
 *
 * Nothing here allocates or maps but the calls that are asked for. Huge pages are off, unless a word on the
 * command line leaves them to the system. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SMAPS, MMAP, MUNMAP, MPROTECT, MREMAP, MADVISE, BRK, READ, WRITE, FAULTS, FORK, STATUS };
enum { FILE_PAGES = 64, BUFFER = 1 << 20 };
static char text[BUFFER], said[64];
static sigjmp_buf out_of_fault;
static char other_stack[65536];

static void put(const char *bytes, size_t count) {
    while (count) {
        ssize_t done = write(1, bytes, count);
        if (done <= 0) _exit(1);
        bytes += done, count -= done;
    }
}
static void tell(char kind, int64_t value) {
    char *at = said + sizeof said;
    uint64_t left = value < 0 ? -(uint64_t)value : (uint64_t)value;
    *--at = '\n';
    do *--at = '0' + left % 10;
    while (left /= 10);
    if (value < 0) *--at = '-';
    *--at = ' ', *--at = kind;
    put(at, said + sizeof said - at);
}
static void faulted(int number) { siglongjmp(out_of_fault, number); }
static int64_t answer(long result) { return result == -1 ? -errno : result; }

static int64_t accessed(volatile char *from, int64_t length, int writes) {
    if (sigsetjmp(out_of_fault, 1)) return -EFAULT;
    for (int64_t at = 0; at < length; at += 4096) {
        if (writes) from[at] = 1;
        else (void)from[at];
    }
    return 0;
}

static void show(const char *path) {
    int fd = open(path, O_RDONLY);
    size_t used = 0;
    ssize_t done;
    while ((done = read(fd, text + used, sizeof text - used)) > 0) used += done;
    close(fd);
    tell('S', used);
    put(text, used);
}

int main(int words, char **unused) {
    (void)unused;
    int64_t call[7];
    stack_t stack = {.ss_sp = other_stack, .ss_size = sizeof other_stack};
    struct sigaction action = {.sa_handler = faulted, .sa_flags = SA_ONSTACK | SA_NODEFER};
    if (words < 2) prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0); /* a word: as the system has them */
    sigaltstack(&stack, NULL);
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    int file = memfd_create("heapwright", 0);
    for (int page = 0; page < FILE_PAGES; page++)
        if (write(file, text, 4096) != 4096) return 1;
    accessed(text, sizeof text, 1); /* its own pages are not to come in between */
    tell('A', syscall(SYS_brk, 0));
    show("/proc/self/maps");
    while (read(0, call, sizeof call) == sizeof call) {
        struct rusage usage;
        switch (call[0]) {
        case SMAPS: show("/proc/self/smaps"); break;
        case STATUS: show("/proc/self/status"); break;
        case MMAP: tell('A', answer(syscall(SYS_mmap, call[1], call[2], call[3], call[4], call[5] ? file : -1, call[6]))); break;
        case MUNMAP: tell('A', answer(syscall(SYS_munmap, call[1], call[2]))); break;
        case MPROTECT: tell('A', answer(syscall(SYS_mprotect, call[1], call[2], call[3]))); break;
        case MREMAP: tell('A', answer(syscall(SYS_mremap, call[1], call[2], call[3], call[4]))); break;
        case MADVISE: tell('A', answer(syscall(SYS_madvise, call[1], call[2], call[3]))); break;
        case BRK: tell('A', syscall(SYS_brk, call[1])); break;
        case READ: tell('A', accessed((char *)call[1], call[2], 0)); break;
        case WRITE: tell('A', accessed((char *)call[1], call[2], 1)); break;
        case FAULTS: getrusage(RUSAGE_SELF, &usage), tell('F', usage.ru_minflt); break;
        case FORK: { /* the child goes on */
            int status;
            pid_t child = fork();
            if (child) return waitpid(child, &status, 0) == child && !status ? 0 : 1;
            tell('A', 0);
        }
        }
    }
    return 0;
}
