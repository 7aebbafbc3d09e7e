/* A program of mallocs from a file (the malloc lab's format), for a real malloc under a limit.

   replay FILE PROGRESS

   Each block is written whole when it is allocated or resized, and its first word is read when it is
   freed: what heapwright assumes of a trace. PROGRESS, a file of one page in memory, says how many
   operations were done: it is still there when the program was killed. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int count, char **words)
{
	static char *text;
	static void **blocks;
	size_t slots;
	int from, shared;
	long size;
	volatile unsigned long *done;

	if (count < 3)
		return 2;
	from = open(words[1], O_RDONLY);
	size = lseek(from, 0, SEEK_END);
	text = mmap(0, size + 1, PROT_READ, MAP_PRIVATE, from, 0);
	shared = open(words[2], O_RDWR | O_CREAT, 0600);
	if (from < 0 || text == MAP_FAILED || ftruncate(shared, 4096))
		return 1;
	done = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, shared, 0);
	strtoul(text, &text, 10);
	slots = strtoul(text, &text, 10);
	strtoul(text, &text, 10);
	strtoul(text, &text, 10);
	blocks = mmap(0, slots * sizeof(*blocks), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (;;) {
		while (*text == '\n' || *text == ' ')
			text++;
		char verb = *text++;
		if (verb != 'a' && verb != 'r' && verb != 'f')
			break;
		size_t slot = strtoul(text, &text, 10);
		if (verb == 'f') {
			if (blocks[slot])
				(void)*(volatile char *)blocks[slot];
			free(blocks[slot]);
			blocks[slot] = 0;
		} else {
			size_t bytes = strtoul(text, &text, 10);
			void *block = verb == 'a' ? malloc(bytes) : realloc(blocks[slot], bytes);
			if (!block)
				return 3;
			memset(block, 1, bytes);
			blocks[slot] = block;
		}
		(*done)++;
	}
	return 0;
}
