/* What a malloc keeps: programs whose need of memory changes, and what is resident meanwhile.

       keeping PATTERN

   prints seconds of processor and of wall time, and in KiB the peak of resident memory, its mean
   over the looks that the program takes at the same events whatever serves it, and what stays at
   its end.

   handed    38 MB live; 16 threads in turn free and request again each block; all threads live
   replaced  the same, but each frees all before it requests
   left      a thread allocates 300 MB, another frees them and ends, the first calls malloc_trim
   idle      64 threads use all sizes in turn, free all and sleep
   phases    60 phases, each with its own sizes and its own target, 16 to 64 MB live
   cycle     200 MB allocated, written and freed, 40 times
   locked    a program that locks its memory, present and to come (mlockall)
   burst     six million blocks of 8 to 64 bytes, written, then three of four freed
   tiny      the same of 1 to 16 bytes */

#define _GNU_SOURCE
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { HANDS = 16, BLOCKS = 200000, BLOCK = 200, IDLE = 64 };
static long looks;
static double looked_kb;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int turn, is_over, frees_first;
static char **blocks;

static long resident_kb(void) {
  FILE *file = fopen("/proc/self/statm", "r");
  if (!file) exit(2);
  setvbuf(file, NULL, _IONBF, 0); /* its buffer is no part of the story */
  long size, pages;
  if (fscanf(file, "%ld %ld", &size, &pages) != 2) exit(2);
  fclose(file);
  return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void look(void) {
  looked_kb += resident_kb();
  looks++;
}

static void *written(size_t bytes) {
  char *block = malloc(bytes);
  if (!block) exit(3);
  memset(block, 1, bytes);
  return block;
}

static uint64_t state = 88172645463325252u;
static uint32_t draw(void) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state >> 16;
}

static void *hand(void *number) {
  int own = (int)(intptr_t)number;
  pthread_mutex_lock(&mutex);
  while (turn != own) pthread_cond_wait(&changed, &mutex);
  if (frees_first)
    for (int i = 0; i < BLOCKS; i++) {
      free(blocks[i]);
      if (i % (BLOCKS / 8) == 0) look();
    }
  for (int i = 0; i < BLOCKS; i++) {
    if (!frees_first) free(blocks[i]);
    blocks[i] = written(BLOCK);
    if (i % (BLOCKS / 8) == 0) look();
  }
  turn++;
  pthread_cond_broadcast(&changed);
  while (!is_over) pthread_cond_wait(&changed, &mutex);
  pthread_mutex_unlock(&mutex);
  return NULL;
}

static long pass_on(int first) {
  pthread_t threads[HANDS];
  frees_first = first;
  blocks = calloc(BLOCKS, sizeof *blocks);
  for (int i = 0; i < HANDS; i++) pthread_create(threads + i, NULL, hand, (void *)(intptr_t)i);
  pthread_mutex_lock(&mutex);
  while (turn < HANDS) pthread_cond_wait(&changed, &mutex);
  long stays = resident_kb();
  is_over = 1;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&mutex);
  for (int i = 0; i < HANDS; i++) pthread_join(threads[i], NULL);
  return stays;
}

enum { LEFT = 1500000 };
static void *free_all(void *unused) {
  for (int i = 0; i < LEFT; i++) {
    free(blocks[i]);
    if (i % (LEFT / 8) == 0) look();
  }
  return unused;
}

static long left(void) {
  pthread_t thread;
  blocks = malloc(LEFT * sizeof *blocks);
  for (int i = 0; i < LEFT; i++) {
    blocks[i] = written(BLOCK);
    if (i % (LEFT / 8) == 0) look();
  }
  pthread_create(&thread, NULL, free_all, NULL);
  pthread_join(thread, NULL);
  look();
  malloc_trim(0);
  look();
  return resident_kb();
}

static pthread_barrier_t slept, woken;
static void *use_all_sizes(void *unused) {
  void *own[64];
  for (int round = 0; round < 5; round++)
    for (size_t bytes = 16; bytes <= 256 << 10; bytes += bytes / 8 + 16) {
      int count = bytes < 16384 ? 64 : bytes < 65536 ? 8 : 2;
      for (int i = 0; i < count; i++) own[i] = written(bytes);
      for (int i = 0; i < count; i++) free(own[i]);
    }
  pthread_barrier_wait(&slept);
  pthread_barrier_wait(&woken);
  return unused;
}

static long idle(void) {
  pthread_t threads[IDLE];
  pthread_barrier_init(&slept, NULL, IDLE + 1);
  pthread_barrier_init(&woken, NULL, IDLE + 1);
  for (int i = 0; i < IDLE; i++) pthread_create(threads + i, NULL, use_all_sizes, NULL);
  pthread_barrier_wait(&slept);
  look();
  long stays = resident_kb();
  pthread_barrier_wait(&woken);
  for (int i = 0; i < IDLE; i++) pthread_join(threads[i], NULL);
  return stays;
}

enum { MOST = 2000000, PHASES = 60, EVENTS = 200000 };
static uint32_t *sizes;
static size_t live;
static int count;

static void drop(int at) {
  free(blocks[at]);
  live -= sizes[at];
  blocks[at] = blocks[--count];
  sizes[at] = sizes[count];
}

static long phases(void) {
  blocks = mmap(NULL, MOST * sizeof *blocks, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  sizes = mmap(NULL, MOST * sizeof *sizes, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (int phase = 0; phase < PHASES; phase++) {
    uint32_t least = 1u << (3 + draw() % 10), most = least * (2 + draw() % 30);
    size_t target = ((size_t)64 << 20) / (1 + draw() % 4);
    for (long event = 0; event < EVENTS; event++) {
      if (live > target || draw() % 100 < 45) {
        if (count) drop(draw() % count);
      } else if (count < MOST) {
        uint32_t bytes = least + draw() % (most - least + 1);
        if (draw() % 2000 == 0) bytes = 100000 + draw() % 1000000;
        blocks[count] = written(bytes);
        sizes[count++] = bytes;
        live += bytes;
      }
    }
    while (live > target) drop(draw() % count);
    look();
  }
  return resident_kb();
}

static long cycle(void) {
  for (int turn = 0; turn < 40; turn++) {
    char *block = written((size_t)200 << 20);
    look();
    free(block);
    look();
  }
  return resident_kb();
}

static long locked(void) {
  free(written(100));
  look();
  if (mlockall(MCL_CURRENT | MCL_FUTURE)) exit(4); /* needs a limit (ulimit -l) or a right */
  look();
  char *block = written(10 << 20);
  look();
  free(block);
  for (int i = 0; i < 100000; i++) written(100);
  look();
  return resident_kb();
}

enum { BURST = 6000000 };
static long burst(uint32_t units, uint32_t unit) {
  blocks = mmap(NULL, BURST * sizeof *blocks, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (int i = 0; i < BURST; i++) {
    blocks[i] = written(unit * (1 + draw() % units));
    if (i % (BURST / 8) == 0) look();
  }
  look();
  for (int i = 0; i < BURST; i++)
    if (i % 32 >= 8) free(blocks[i]);
  look();
  return resident_kb();
}

static double seconds_of(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return now.tv_sec + now.tv_nsec * 1e-9;
}

int main(int words, char **word) {
  const char *pattern = words > 1 ? word[1] : "";
  double wall = seconds_of(CLOCK_MONOTONIC);
  long stays = 0;
  if (!strcmp(pattern, "handed")) stays = pass_on(0);
  else if (!strcmp(pattern, "replaced")) stays = pass_on(1);
  else if (!strcmp(pattern, "left")) stays = left();
  else if (!strcmp(pattern, "idle")) stays = idle();
  else if (!strcmp(pattern, "phases")) stays = phases();
  else if (!strcmp(pattern, "cycle")) stays = cycle();
  else if (!strcmp(pattern, "locked")) stays = locked();
  else if (!strcmp(pattern, "burst")) stays = burst(8, 8);
  else if (!strcmp(pattern, "tiny")) stays = burst(16, 1);
  else {
    fprintf(stderr, "keeping: no pattern %s\n", pattern);
    return 2;
  }
  double processor = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
  struct rusage used;
  getrusage(RUSAGE_SELF, &used);
  wall = seconds_of(CLOCK_MONOTONIC) - wall;
  printf("%.3f %.3f %ld %.0f %ld\n", processor, wall, used.ru_maxrss, looked_kb / looks, stays);
  return 0;
}
