/* A program that uses pages in a known order, for a real kernel's reclaim.

   pages ANON_MIB FILE_MIB ROUNDS seq|rand [FILE]

   A step writes to a page of anonymous memory, if there is any, and reads one of FILE, one page and
   no more: in turn, or as a generator of numbers says. A round has as many steps as the larger of
   the two has pages. What linux/recorded/reclaim.py counts is the same order. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static unsigned state = 1;

static size_t chosen(size_t step, size_t pages, int random)
{
	if (!random)
		return step % pages;
	state = state * 1664525u + 1013904223u;
	return (state >> 8) % pages;
}

int main(int count, char **words)
{
	static char page[4096];
	if (count < 5)
		return 2;
	size_t anon = (size_t)atol(words[1]) << 8, file = (size_t)atol(words[2]) << 8;
	size_t steps = anon > file ? anon : file, rounds = atol(words[3]);
	int random = words[4][0] == 'r', from = -1;
	volatile char *memory = mmap(0, (anon + 1) << 12, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return 1;
	if (file) {
		from = open(words[5], O_RDONLY);
		if (from < 0 || posix_fadvise(from, 0, 0, POSIX_FADV_RANDOM))
			return 1;
	}
	for (size_t round = 0; round < rounds; round++)
		for (size_t step = 0; step < steps; step++) {
			if (anon)
				memory[chosen(step, anon, random) << 12] = 1;
			if (file && pread(from, page, 4096, chosen(step, file, random) << 12) != 4096)
				return 1;
		}
	return 0;
}
