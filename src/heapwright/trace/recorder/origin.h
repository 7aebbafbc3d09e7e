/* What a recording tells of where it was made: a text file beside the log. Included by recorder.c.
 *
 *   /proc/self/stat, where the heap began; then lines `@NAME TEXT`: libc, kernel, machine, host, cores,
 *   page_bytes, date, command, and env for each variable that malloc or the loader reads; then copies of
 *   /proc/self/maps: which file lies where, for names of call sites. What the process itself took, as
 *   resident_kib (most so far) and page_faults, once with start_ before it at the first request, and once
 *   when it exits in order. */
#define LINE_BYTES 4096

static int proc_file(void) { /* opened for each line: the program may close all descriptors */
    static char path[sizeof state.path + 8];
    *path = 0;
    add_text(path, sizeof path, state.path);
    add_text(path, sizeof path, ".proc");
    return opened(path, O_WRONLY | O_CREAT | O_APPEND);
}

static void tell_file(const char *source) {
    static char buffer[LINE_BYTES];
    int from = opened(source, O_RDONLY), to = proc_file();
    for (ssize_t length; from >= 0 && (length = syscall(SYS_read, from, buffer, sizeof buffer)) > 0;)
        if (!appended(to, buffer, length)) break;
    closed(from);
    closed(to);
}

static void tell(const char *name, const char *text) {
    static char line[LINE_BYTES];
    *line = 0;
    add_text(line, sizeof line - 1, "@");
    add_text(line, sizeof line - 1, name);
    add_text(line, sizeof line - 1, " ");
    size_t start = strlen(line);
    add_text(line, sizeof line - 1, text);
    for (char *at = line + start; *at; at++)
        if (*at == '\n') *at = ' ';
    add_text(line, sizeof line, "\n");
    int to = proc_file();
    if (!appended(to, line, strlen(line))) errno = 0;
    closed(to);
}

static void tell_count(const char *name, uint64_t count) {
    char text[24] = "";
    add_number(text, sizeof text, count);
    tell(name, text);
}

static void tell_command(void) { /* the arguments, each ended by a zero byte, as one line */
    static char text[LINE_BYTES];
    int from = opened("/proc/self/cmdline", O_RDONLY);
    ssize_t length = from < 0 ? 0 : syscall(SYS_read, from, text, sizeof text - 1);
    closed(from);
    if (length < 0) length = 0;
    text[length] = 0;
    for (ssize_t at = 0; at < length - 1; at++)
        if (!text[at]) text[at] = 0x1f; /* ASCII's unit separator */
    tell("command", text);
}

static void tell_taken(const char *resident, const char *faults) {
    static char text[LINE_BYTES];
    struct rusage usage;
    int from = opened("/proc/self/status", O_RDONLY);
    ssize_t length = from < 0 ? 0 : syscall(SYS_read, from, text, sizeof text - 1);
    closed(from);
    text[length > 0 ? length : 0] = 0;
    const char *most = strstr(text, "VmHWM:"); /* of getrusage it would be that of who began us, too */
    if (most) tell_count(resident, strtoul(most + 6, NULL, 10));
    if (!syscall(SYS_getrusage, RUSAGE_SELF, &usage)) tell_count(faults, usage.ru_minflt);
}

static int starts(const char *text, const char *with) { return !strncmp(text, with, strlen(with)); }

static void tell_origin(void) {
    static struct utsname system;
    static unsigned char cores[8192]; /* 65,536 processors */
    static struct timespec now;
    extern char **environ;
    tell_file("/proc/self/stat");
    tell("libc", gnu_get_libc_version());
    if (!syscall(SYS_uname, &system)) {
        tell("kernel", system.release);
        tell("machine", system.machine);
        tell("host", system.nodename);
    }
    long bytes = syscall(SYS_sched_getaffinity, 0, sizeof cores, cores), count = 0;
    for (long at = 0; at < bytes; at++) count += __builtin_popcount(cores[at]);
    tell_count("cores", count);
    tell_count("page_bytes", sysconf(_SC_PAGESIZE));
    clock_gettime(CLOCK_REALTIME, &now);
    tell_count("date", now.tv_sec);
    tell_command();
    tell_python();
    tell_taken("start_resident_kib", "start_page_faults");
    for (char **at = environ; at && *at; at++)
        if (starts(*at, "MALLOC_") || starts(*at, "GLIBC_TUNABLES=") || starts(*at, "LD_PRELOAD=")
            || starts(*at, ASIDE "=")) tell("env", *at);
}
