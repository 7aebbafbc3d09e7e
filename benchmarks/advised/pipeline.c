/* A pipeline: one thread makes records, three pack each with what came before, one stores. What a
 * thread frees another one asked for. The store holds a window of the newest packs. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PACKERS = 3, RECORDS = 24000, ROOM = 64, TOGETHER = 24, WINDOW = 300 };

struct piece { size_t bytes; struct piece *next; char data[]; };
struct ring { pthread_mutex_t guard; pthread_cond_t news; struct piece *slot[ROOM]; int first, count; };
#define EMPTY { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, {0}, 0, 0 }
static struct ring made[PACKERS] = { EMPTY, EMPTY, EMPTY }, packed = EMPTY;
static struct piece end;

static void put(struct ring *ring, struct piece *piece) {
    pthread_mutex_lock(&ring->guard);
    while (ring->count == ROOM) pthread_cond_wait(&ring->news, &ring->guard);
    ring->slot[(ring->first + ring->count++) % ROOM] = piece;
    pthread_cond_broadcast(&ring->news);
    pthread_mutex_unlock(&ring->guard);
}

static struct piece *take(struct ring *ring) {
    pthread_mutex_lock(&ring->guard);
    while (!ring->count) pthread_cond_wait(&ring->news, &ring->guard);
    struct piece *piece = ring->slot[ring->first];
    ring->first = (ring->first + 1) % ROOM, ring->count--;
    pthread_cond_broadcast(&ring->news);
    pthread_mutex_unlock(&ring->guard);
    return piece;
}

static struct piece *piece_of(size_t bytes) {
    struct piece *piece = malloc(sizeof *piece + bytes);
    memset(piece->data, 1, piece->bytes = bytes);
    piece->next = NULL;
    return piece;
}

static void *pack(void *which) {
    struct ring *from = which;
    struct piece *held = NULL, *next;
    size_t bytes = 0;
    int count = 0;
    for (;;) {
        struct piece *piece = take(from);
        if (piece == &end) break;
        piece->next = held, held = piece, bytes += piece->bytes;
        if (++count < TOGETHER) continue;
        struct piece *whole = piece_of(bytes);
        for (size_t at = 0; held; held = next) {
            memcpy(whole->data + at, held->data, held->bytes);
            at += held->bytes, next = held->next;
            free(held);
        }
        put(&packed, whole);
        bytes = 0, count = 0;
    }
    put(&packed, &end);
    return NULL;
}

static void *store(void *unused) {
    static struct piece *kept[WINDOW];
    for (int number = 0, ends = 0; ends < PACKERS;) {
        struct piece *piece = take(&packed);
        if (piece == &end) { ends++; continue; }
        free(kept[number % WINDOW]);
        kept[number++ % WINDOW] = piece;
    }
    return unused;
}

int main(void) {
    pthread_t packers[PACKERS], storing;
    for (int i = 0; i < PACKERS; i++) pthread_create(&packers[i], NULL, pack, &made[i]);
    pthread_create(&storing, NULL, store, NULL);
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    for (unsigned i = 0; i < RECORDS; i++) {
        unsigned roll = (i ^ i >> 9) * 2654435761u >> 8;
        put(&made[i % PACKERS], piece_of(roll % 16 ? 40 + roll % 2000 : 4000 + roll % 30000));
        if (i % 4) continue;
        if ((next.tv_nsec += 400000) >= 1000000000) next.tv_nsec -= 1000000000, next.tv_sec++;
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
    }
    for (int i = 0; i < PACKERS; i++) put(&made[i], &end);
    for (int i = 0; i < PACKERS; i++) pthread_join(packers[i], NULL);
    pthread_join(storing, NULL);
    usleep(1000000);
    puts("done");
    return 0;
}
