/* A malloc for a long time: soak SECONDS THREADS.

   Rounds of half a second or so, each with its own sizes: THREADS threads allocate, resize, free and
   pass blocks on through shared slots, look at what they hold, and end; a child is forked in the
   middle of it, which does the same alone. Each tenth round all blocks are freed and malloc_trim is
   called. Prints a line a round: its number, MB that the blocks in use came to, MB resident; and at
   last how many looks found another content, and how many children ended badly. */

#define _GNU_SOURCE
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SLOTS = 1 << 14, STEPS = 40000 };
typedef struct {
  uint64_t bytes, mark;
} Block; /* the head of each block; its last byte tells too */
static _Atomic(Block *) slots[SLOTS];
static atomic_long wrong, live;
static uint64_t least, spread;

static uint64_t draw(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

static void mark(Block *block, size_t bytes) {
  block->bytes = bytes;
  block->mark = (uintptr_t)block * 31 + bytes;
  ((char *)block)[bytes - 1] = (char)bytes;
  live += bytes;
}

static void look(Block *block) {
  if (block->mark != (uintptr_t)block * 31 + block->bytes) wrong++;
  else if (block->bytes > sizeof *block && ((char *)block)[block->bytes - 1] != (char)block->bytes)
    wrong++;
  live -= block->bytes;
}

static size_t size(uint64_t *state) {
  size_t bytes = least + draw(state) % spread;
  if (draw(state) % 3000 == 0) bytes = 100000 + draw(state) % 3000000;
  return bytes;
}

static void *work(void *seed) {
  uint64_t state = (uintptr_t)seed * 0x9E3779B97F4A7C15u + 1;
  for (int step = 0; step < STEPS; step++) {
    int slot = draw(&state) % SLOTS;
    Block *block = atomic_exchange(slots + slot, NULL);
    if (block) {
      look(block);
      if (draw(&state) % 8 == 0) {
        size_t bytes = size(&state);
        block = realloc(block, bytes);
        mark(block, bytes);
        block = atomic_exchange(slots + slot, block);
        if (block) look(block);
      }
      free(block);
    } else if (draw(&state) % 16) {
      size_t bytes = size(&state);
      block = draw(&state) % 8 ? malloc(bytes) : calloc(1, bytes);
      mark(block, bytes);
      block = atomic_exchange(slots + slot, block);
      if (block) look(block);
      free(block);
    }
  }
  return NULL;
}

static void drop_all(void) {
  for (int slot = 0; slot < SLOTS; slot++) {
    Block *block = atomic_exchange(slots + slot, NULL);
    if (block) look(block);
    free(block);
  }
}

static long resident_mb(void) {
  long pages, resident = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  if (!file || fscanf(file, "%ld %ld", &pages, &resident) != 2) exit(3);
  fclose(file);
  return resident * sysconf(_SC_PAGESIZE) >> 20;
}

int main(int count, char **words) {
  if (count != 3) return 2;
  long seconds = atol(words[1]), threads = atol(words[2]), bad = 0;
  time_t end = time(NULL) + seconds;
  uint64_t state = 42;
  pthread_t *workers = malloc(threads * sizeof *workers);
  for (long round = 0; time(NULL) < end; round++) {
    least = sizeof(Block) + (16u << draw(&state) % 7);
    spread = 1 + least * (1 + draw(&state) % 12);
    for (long i = 0; i < threads; i++)
      pthread_create(workers + i, NULL, work, (void *)(uintptr_t)(round * threads + i + 1));
    pid_t child = fork();
    if (!child) {
      work((void *)(uintptr_t)round);
      _exit(wrong != 0);
    }
    for (long i = 0; i < threads; i++) pthread_join(workers[i], NULL);
    int status;
    waitpid(child, &status, 0);
    bad += status != 0;
    printf("%ld %ld %ld\n", round, live >> 20, resident_mb());
    fflush(stdout);
    if (round % 10 == 9) {
      drop_all();
      malloc_trim(0);
    }
  }
  drop_all();
  free(workers);
  printf("wrong %ld bad %ld\n", wrong, bad);
  return wrong || bad;
}
