/* Text and files, without libc's: nothing here allocates or is a cancellation point. Included by log.h. */
static void add_text(char *into, size_t room, const char *text) {
    size_t at = strlen(into);
    while (at + 1 < room && *text) into[at++] = *text++;
    into[at] = 0;
}
static void add_number(char *into, size_t room, uint64_t number) {
    char digits[24], *first = digits + sizeof digits - 1;
    *first = 0;
    do *--first = '0' + number % 10;
    while (number /= 10);
    add_text(into, room, first);
}

static int opened(const char *path, int flags) { return syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0600); }
static void closed(int fd) { if (fd >= 0) syscall(SYS_close, fd); }

/* Whether a file may reach `end`: beyond the program's limit our growing it would end the program (SIGXFSZ). */
static int permitted(uint64_t end) {
    struct rlimit most;
    if (syscall(SYS_prlimit64, 0, RLIMIT_FSIZE, NULL, &most) || most.rlim_cur >= end) return 1;
    return errno = EFBIG, 0;
}
static int appended(int fd, const char *text, size_t length) {
    int64_t at = fd < 0 ? -1 : syscall(SYS_lseek, fd, 0, SEEK_END);
    return at >= 0 && permitted(at + length) && syscall(SYS_write, fd, text, length) == (ssize_t)length;
}
