/* What a driver needs of a C library, for a process of 32 bits on an x86-64 Linux that has none. */
#include <stddef.h>
#include <stdint.h>

typedef int32_t ssize_t;
enum { PROT_READ = 1, PROT_WRITE = 2, MAP_PRIVATE = 2, MAP_ANONYMOUS = 32, MAP_NORESERVE = 16384 };
enum { MADV_DONTNEED = 4, MADV_NOHUGEPAGE = 15 };
#define MAP_FAILED ((void *)-1)

static long linux6(long number, const void *a, long b, long c, long d, long e) {
    long answer, none = 0;
    __asm__ volatile("push %%ebp; mov %[f], %%ebp; int $0x80; pop %%ebp"
                     : "=a"(answer)
                     : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e), [f] "m"(none)
                     : "memory");
    return answer;
}
static ssize_t read(int file, void *into, size_t bytes) {
    return linux6(3, (void *)(long)file, (long)into, bytes, 0, 0);
}
static ssize_t write(int file, const void *from, size_t bytes) {
    return linux6(4, (void *)(long)file, (long)from, bytes, 0, 0);
}
static _Noreturn void _exit(int status) {
    for (;;) linux6(252, (void *)(long)status, 0, 0, 0, 0);
}
static void *mmap(void *at, size_t bytes, int rights, int flags, int file, int offset) {
    long found = linux6(192, at, bytes, rights, flags, file);
    return (unsigned long)found > -4096ul ? MAP_FAILED : (void *)(found + offset);
}
static int madvise(void *at, size_t bytes, int advice) { return linux6(219, at, bytes, advice, 0, 0); }
static int mincore(void *at, size_t bytes, unsigned char *seen) {
    return linux6(218, at, bytes, (long)seen, 0, 0);
}
size_t strlen(const char *text) {
    size_t length = 0;
    while (text[length]) length++;
    return length;
}
void *memset(void *into, int value, size_t bytes) {
    for (volatile char *at = into; bytes; bytes--) *at++ = value;
    return into;
}
void *memcpy(void *into, const void *from, size_t bytes) {
    volatile char *to = into;
    for (const char *at = from; bytes; bytes--) *to++ = *at++;
    return into;
}
int main(void);
__attribute__((force_align_arg_pointer)) void _start(void) { _exit(main()); }
