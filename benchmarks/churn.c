/* Requests to malloc and nothing else; see flight.py.

     churn PATTERN THREADS [PART]    prints: wall ns and processor ns a pair of malloc and free, and
                                     peak kB; of PART, only so small a part of the pairs is done

   pair     one block of 64 bytes, freed at once
   batch    100,000 blocks of 48 bytes, then all of them freed in the same order
   small    one of 20,000 blocks of 16 to 1,039 bytes, small ones more often, replaced at random
   log      one of 5,000 blocks of 16 bytes to 64 KiB, as many in each doubling
   large    one of 32 blocks of 32 KiB to 4 MiB
   shared   small, and the block that is replaced was allocated by any thread
   pass     small, one thread allocates and another frees
   hand     each thread allocates 2,000 blocks as in small and hands them to the next, which frees
            them and then allocates its own
   grow     three buffers that realloc makes longer by half in turn, from 4 KiB to 30 MiB; a realloc
            counts as a pair
   walk     4,000,000 nodes of 48 bytes, each naming two others at random, and a walk from node to
            node; a step counts as a pair

   The first and the last byte of each block are written; of a buffer, every byte. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MOST_THREADS 16
#define SHARED_SLOTS 20000
#define BATCH 100000
#define RING 4096
#define HANDED 2000
#define GROWING 3
#define GROWTHS 23
#define NODES 4000000

typedef size_t size_of_request(uint64_t draw);

static uint64_t next(uint64_t *state) {
  uint64_t x = *state;
  x ^= x << 13;
  x ^= x >> 7;
  x ^= x << 17;
  return *state = x;
}

static size_t small_size(uint64_t draw) { return 16 + (draw & 1023) % (16 << (draw >> 20) % 7); }

static size_t log_size(uint64_t draw) {
  unsigned power = 4 + (draw >> 20) % 12;
  return ((size_t)1 << power) + (draw >> 32 & (((size_t)1 << power) - 1));
}

static size_t large_size(uint64_t draw) { return 32768 + (draw >> 20) % (4u << 20); }

static char *written(size_t bytes) {
  char *block = malloc(bytes);
  if (!block) exit(3);
  block[0] = 1;
  block[bytes - 1] = 2;
  return block;
}

struct pattern {
  const char *name;
  void *(*run)(void *);
  size_of_request *size;
  size_t slots, pairs;
};

struct task {
  const struct pattern *pattern;
  uint64_t seed;
  int number, threads;
};

static void *pair(void *argument) {
  const struct task *task = argument;
  for (size_t i = 0; i < task->pattern->pairs; i++) {
    void *volatile block = malloc(64);
    free(block);
  }
  return 0;
}

static void *batch(void *argument) {
  const struct task *task = argument;
  static void *blocks[BATCH];
  for (size_t round = 0; round < task->pattern->pairs / BATCH; round++) {
    for (int i = 0; i < BATCH; i++) blocks[i] = malloc(48);
    for (int i = 0; i < BATCH; i++) free(blocks[i]);
  }
  return 0;
}

static void *replace(void *argument) {
  const struct task *task = argument;
  const struct pattern *pattern = task->pattern;
  char **slots = calloc(pattern->slots, sizeof *slots);
  uint64_t state = task->seed;
  for (size_t i = 0; i < pattern->pairs; i++) {
    size_t slot = (next(&state) >> 8) % pattern->slots;
    free(slots[slot]);
    slots[slot] = written(pattern->size(next(&state)));
  }
  for (size_t slot = 0; slot < pattern->slots; slot++) free(slots[slot]);
  free(slots);
  return 0;
}

static _Atomic(char *) shared_slots[SHARED_SLOTS];

static void *shared(void *argument) {
  const struct task *task = argument;
  uint64_t state = task->seed;
  for (size_t i = 0; i < task->pattern->pairs; i++) {
    size_t slot = (next(&state) >> 8) % SHARED_SLOTS;
    char *block = written(task->pattern->size(next(&state)));
    free(atomic_exchange_explicit(&shared_slots[slot], block, memory_order_acq_rel));
  }
  return 0;
}

static _Atomic(char *) ring[RING];

static void *pass(void *argument) {
  const struct task *task = argument;
  uint64_t state = task->seed;
  for (size_t i = 0; i < task->pattern->pairs; i++) {
    _Atomic(char *) *place = &ring[i % RING];
    char *block = task->number == 0 ? written(task->pattern->size(next(&state))) : 0;
    char *found;
    while (!!(found = atomic_load_explicit(place, memory_order_acquire)) == (task->number == 0))
      sched_yield();
    atomic_store_explicit(place, block, memory_order_release);
    if (task->number) free(found);
  }
  return 0;
}

static char *handed[MOST_THREADS][2][HANDED];
static _Atomic(size_t) made[MOST_THREADS], done[MOST_THREADS]; /* rounds: handed on; freed by it */

static void await(_Atomic(size_t) *rounds, size_t least) {
  while (atomic_load_explicit(rounds, memory_order_acquire) < least) sched_yield();
}

static void *hand(void *argument) {
  const struct task *task = argument;
  int from = (task->number + task->threads - 1) % task->threads;
  int to = (task->number + 1) % task->threads;
  uint64_t state = task->seed;
  for (size_t round = 0; round < task->pattern->pairs / HANDED; round++) {
    if (round > 1) await(&done[to], round - 1);
    for (int i = 0; i < HANDED; i++)
      handed[task->number][round % 2][i] = written(task->pattern->size(next(&state)));
    atomic_store_explicit(&made[task->number], round + 1, memory_order_release);
    await(&made[from], round + 1);
    for (int i = 0; i < HANDED; i++) free(handed[from][round % 2][i]);
    atomic_store_explicit(&done[task->number], round + 1, memory_order_release);
  }
  return 0;
}

static void *grow(void *argument) {
  const struct task *task = argument;
  for (size_t round = 0; round < task->pattern->pairs / (GROWING * GROWTHS); round++) {
    char *buffer[GROWING] = {0};
    size_t held = 0, bytes = 4096;
    for (int growth = 0; growth < GROWTHS; growth++, held = bytes, bytes += bytes / 2)
      for (int i = 0; i < GROWING; i++) {
        buffer[i] = realloc(buffer[i], bytes);
        if (!buffer[i]) exit(3);
        memset(buffer[i] + held, 1, bytes - held);
      }
    for (int i = 0; i < GROWING; i++) free(buffer[i]);
  }
  return 0;
}

struct node {
  struct node *beyond[2];
  uint64_t number, unused[3];
};

static void *walk(void *argument) {
  const struct task *task = argument;
  struct node **nodes = malloc(NODES * sizeof *nodes);
  uint64_t state = task->seed, sum = 0;
  for (size_t i = 0; nodes && i < NODES; i++) {
    if (!(nodes[i] = malloc(sizeof **nodes))) exit(3);
    nodes[i]->number = i;
  }
  if (!nodes) exit(3);
  for (size_t i = 0; i < NODES; i++)
    for (int side = 0; side < 2; side++) nodes[i]->beyond[side] = nodes[next(&state) % NODES];
  struct node *at = nodes[0];
  for (size_t i = 0; i < task->pattern->pairs; i++) {
    sum += at->number;
    at = at->beyond[next(&state) >> 8 & 1];
  }
  for (size_t i = 0; i < NODES; i++) free(nodes[i]);
  free(nodes);
  return (void *)(uintptr_t)sum;
}

static const struct pattern patterns[] = {
    {"pair", pair, 0, 0, 20000000},           {"batch", batch, 0, 0, 4000000},
    {"small", replace, small_size, 20000, 4000000}, {"log", replace, log_size, 5000, 1500000},
    {"large", replace, large_size, 32, 100000},  {"shared", shared, small_size, 0, 3000000},
    {"pass", pass, small_size, 0, 2000000},   {"hand", hand, small_size, 0, 2000000},
    {"grow", grow, 0, 0, 10 * GROWING * GROWTHS},
    {"walk", walk, 0, 0, 10000000},
};

static double seconds(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return now.tv_sec + now.tv_nsec * 1e-9;
}

static long peak_kb(void) {
  char line[256];
  long peak = 0;
  FILE *status = fopen("/proc/self/status", "r");
  while (status && fgets(line, sizeof line, status)) sscanf(line, "VmHWM: %ld", &peak);
  return peak;
}

int main(int count, char **words) {
  int threads = count > 2 ? atoi(words[2]) : 1, part = count > 3 ? atoi(words[3]) : 1;
  for (size_t row = 0; row < sizeof patterns / sizeof *patterns; row++) {
    struct pattern chosen = patterns[row], *pattern = &chosen;
    if (count < 2 || strcmp(words[1], pattern->name) || threads < 1 || threads > MOST_THREADS)
      continue;
    if (part > 1) pattern->pairs /= part;
    struct task tasks[MOST_THREADS];
    pthread_t running[MOST_THREADS];
    double wall = seconds(CLOCK_MONOTONIC), processor = seconds(CLOCK_PROCESS_CPUTIME_ID);
    for (int i = 0; i < threads; i++) {
      tasks[i] = (struct task){pattern, 88172645463325252u + 977u * i, i, threads};
      if (pthread_create(&running[i], 0, pattern->run, &tasks[i])) return 3;
    }
    for (int i = 0; i < threads; i++) pthread_join(running[i], 0);
    wall = seconds(CLOCK_MONOTONIC) - wall;
    processor = seconds(CLOCK_PROCESS_CPUTIME_ID) - processor;
    printf("%.3f %.3f %ld\n", wall * 1e9 / pattern->pairs,
           processor * 1e9 / pattern->pairs / threads, peak_kb());
    return 0;
  }
  return 2;
}
