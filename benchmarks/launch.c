/* Run a program with another malloc and tell what it took; see flight.py.

     launch PRELOAD CMD ARGS...    prints: status, wall s, processor s, peak kB

   This process is small, so that the child's peak is its own: what a process held before it became
   another program counts in getrusage. The program's output is thrown away. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double seconds(struct timeval time) { return time.tv_sec + time.tv_usec * 1e-6; }

int main(int count, char **words) {
  struct timespec begin, end;
  struct rusage used;
  int status;
  if (count < 3) return 2;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  pid_t child = fork();
  if (child == 0) {
    dup2(open("/dev/null", O_WRONLY), 1);
    if (*words[1]) setenv("LD_PRELOAD", words[1], 1);
    execvp(words[2], words + 2);
    _exit(127);
  }
  if (child < 0 || wait4(child, &status, 0, &used) < 0) return 3;
  clock_gettime(CLOCK_MONOTONIC, &end);
  double wall = end.tv_sec - begin.tv_sec + (end.tv_nsec - begin.tv_nsec) * 1e-9;
  printf("%d %.6f %.6f %ld\n", status, wall, seconds(used.ru_utime) + seconds(used.ru_stime),
         used.ru_maxrss);
  return 0;
}
