/* Where the program's roots lie: stacks, writable data of libraries, frames of the interpreter.
 *
 * The data of a library is what its program header says. What lies behind it in memory may be an arena of
 * Python's, whose words are no roots. */
#define _GNU_SOURCE
#include "graph.h"
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define AREAS 4096
#define STACKS 4
#define SEGMENTS 8 /* writable, of a library */
#define FRAMES_LIMIT (256 << 10) /* bytes; a larger area of the interpreter's arena allocator holds blocks */

static area frames[AREAS], data[AREAS], stacks[STACKS];
static int frame_areas, data_areas, stack_areas;

void frames_came(uintptr_t from, size_t size)
{
    if (size < FRAMES_LIMIT && frame_areas < AREAS) frames[frame_areas++] = (area){from, from + size};
}

void frames_went(uintptr_t from)
{
    for (int i = 0; i < frame_areas; i++)
        if (frames[i].from == from) { frames[i] = frames[--frame_areas]; break; }
}

static int take_data(struct dl_phdr_info *library, size_t size, void *nothing)
{
    (void)size, (void)nothing;
    area found[SEGMENTS];
    int count = 0;
    for (int i = 0; i < library->dlpi_phnum && count < SEGMENTS; i++) {
        const ElfW(Phdr) *part = library->dlpi_phdr + i;
        uintptr_t from = library->dlpi_addr + part->p_vaddr, to = from + part->p_memsz;
        if (part->p_type != PT_LOAD || !(part->p_flags & PF_W)) continue;
        if (from <= (uintptr_t)data && (uintptr_t)data < to) return 0; /* our own */
        found[count++] = (area){from, to};
    }
    for (int i = 0; i < count && data_areas < AREAS; i++) data[data_areas++] = found[i];
    return 0;
}

static void take_stack(char *line, uintptr_t stack)
{
    uintptr_t from, to;
    if (sscanf(line, "%lx-%lx", &from, &to) != 2 || stack_areas == STACKS) return;
    int current = stack >= from && stack < to;
    if (current || strstr(line, "[stack]")) stacks[stack_areas++] = (area){current ? stack : from, to};
}

void find_roots(uintptr_t stack)
{
    static char text[64 << 10];
    int file = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    size_t length = 0;
    data_areas = stack_areas = 0;
    dl_iterate_phdr(take_data, NULL);
    for (ssize_t got; file >= 0 && (got = read(file, text + length, sizeof text - 1 - length)) > 0;) {
        text[length += (size_t)got] = 0;
        char *line = text;
        for (char *end; (end = strchr(line, '\n')); line = end + 1) {
            *end = 0;
            take_stack(line, stack);
        }
        length = (size_t)(text + length - line);
        memmove(text, line, length);
    }
    if (file >= 0) close(file);
}

void each_root(void (*visit)(area))
{
    for (int i = 0; i < stack_areas; i++) visit(stacks[i]);
    for (int i = 0; i < data_areas; i++) visit(data[i]);
    for (int i = 0; i < frame_areas; i++) visit(frames[i]);
}

int readable(uintptr_t address, size_t length)
{
    uint32_t row = referred(address);
    if (row && length <= blocks[row].address + blocks[row].size - address) return 1;
    for (int i = 0; i < data_areas; i++)
        if (data[i].from <= address && address < data[i].to && length <= data[i].to - address) return 1;
    return 0;
}
