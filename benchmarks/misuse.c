/* What a program must not do with its heap: misuse DEED BYTES does it to a block of so many bytes.

   It ends by a signal where the malloc noticed, and else by "went on" on standard output. What was
   done is followed by requests and frees of the same size, as a program would go on. */

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BEFORE = 128, AFTER = 2000 };
static char *blocks[BEFORE];
static char plain[512];

static void go_on(size_t bytes) {
  static char *more[AFTER];
  for (int i = 0; i < AFTER; i++) {
    more[i] = malloc(bytes);
    if (more[i]) memset(more[i], 7, bytes);
  }
  for (int i = 0; i < AFTER; i++) free(more[i]);
}

static void *release(void *block) {
  free(block);
  return NULL;
}

static void elsewhere(void *block) {
  pthread_t thread;
  pthread_create(&thread, NULL, release, block);
  pthread_join(thread, NULL);
}

int main(int count, char **words) {
  if (count != 3) return 2;
  const char *deed = words[1];
  size_t bytes = strtoul(words[2], NULL, 0);
  for (int i = 0; i < BEFORE; i++) blocks[i] = malloc(bytes);
  for (int i = 0; i < BEFORE / 2; i += 2) free(blocks[i]);
  char *volatile one = malloc(bytes), *volatile two = malloc(bytes);
  char *volatile stack = plain;
  char on_stack[256];
  memset(one, 1, bytes);
  memset(two, 2, bytes);
#define DEED(name) else if (!strcmp(deed, name))
  if (!*deed) return 2;
  DEED("free twice") { free(one); free(one); }
  DEED("free twice, another between") { free(one); free(two); free(one); }
  DEED("free twice, by threads") { elsewhere(one); free(one); }
  DEED("resize after free") { free(one); one = realloc(one, 2 * bytes); }
  DEED("free inside") free(one + 16);
  DEED("free inside, odd") free(one + 1);
  DEED("resize inside") one = realloc(one + 16, 2 * bytes);
  DEED("free of the stack") {
    stack = on_stack + 64 - (uintptr_t)on_stack % 16;
    free(stack);
  }
  DEED("free of a variable") free(stack + 64 - (uintptr_t)plain % 16);
  DEED("free of code") free((void *)(uintptr_t)&strtoul);
  DEED("free of 1") free((void *)(uintptr_t)1);
  DEED("free beyond the heap") free(one + (1l << 36));
  DEED("write after free, first word") { free(one); *(long *)one = 0x41; }
  DEED("write after free, second word") { free(one); ((long *)one)[1] ^= 1; }
  DEED("write after free, third word") { free(one); ((long *)one)[2] ^= 1; }
  DEED("write after free, all") { free(one); memset(one, 'A', bytes); }
  DEED("write after all are free") {
    for (int i = 0; i < BEFORE; i++)
      if (i >= BEFORE / 2 || i % 2) free(blocks[i]);
    free(two);
    free(one);
    memset(one, 'A', bytes);
  }
  DEED("overrun by a zero") { one[bytes] = 0; free(one); }
  DEED("overrun by 1") { one[bytes] ^= 0x55; free(one); }
  DEED("overrun by 24") { memset(one, 'A', bytes + 24); free(one); }
  else return 2;
  go_on(bytes);
  puts("went on");
  fflush(stdout);
  _exit(0);
}
