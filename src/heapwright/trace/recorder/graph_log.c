/* The log of the graph recorder: rows into a buffer, the buffer into a file of bounded size. */
#define _GNU_SOURCE
#include "graph.h"
#include <time.h>
#include <unistd.h>

#define ROW_WORDS 3
#define LOG_ROWS 32768

int off = 1;
static uint64_t rows[LOG_ROWS * ROW_WORDS], written_bytes, log_limit;
static uint32_t filled;
static int log_file = -1;

void open_log(int file, uint64_t limit_bytes)
{
    log_file = file;
    log_limit = limit_bytes;
}

static void flush(void)
{
    char *from = (char *)rows;
    size_t left = (size_t)filled * ROW_WORDS * WORD_BYTES;
    filled = 0;
    written_bytes += left;
    while (left) {
        ssize_t written = write(log_file, from, left);
        if (written <= 0) { off = 1; return; } /* no END: the recording stops before the program */
        from += written;
        left -= (size_t)written;
    }
}

static void put(uint64_t head, uint64_t first, uint64_t second)
{
    uint64_t *row = rows + filled++ * ROW_WORDS;
    row[0] = head, row[1] = first, row[2] = second;
}

void tell(uint64_t head, uint64_t first, uint64_t second)
{
    if (off) return;
    put(head, first, second);
    if (filled < LOG_ROWS - 1) return; /* there is room for END */
    if (written_bytes + sizeof rows > log_limit) stop(LOG_FULL);
    else flush();
}

void stop(uint64_t reason)
{
    if (off) return;
    put(END, reason, 0);
    flush();
    off = 1;
}

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
