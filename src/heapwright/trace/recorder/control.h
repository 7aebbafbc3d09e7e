/* What `heapwright record` asks of the recorder beside its folder: the file FOLDER/control, mapped shared.
 * Included by recorder.c; written by control.py. Without the file nothing is asked. */
#define CONTROL_MAGIC 0x314c544e4f435748UL /* "HWCONTL1" */
struct control {
    uint64_t magic;
    uint64_t depth;     /* frames of a stack at most; 0: the call site alone */
};
static struct control *control;

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
}
