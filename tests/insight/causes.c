/* Programs whose memory has one cause: ./causes KIND. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void request(int number)
{
    char *blocks[8];
    for (int i = 0; i < 8; i++) {
        size_t size = 32 + (number * 37 + i * 101) % 1500;
        blocks[i] = malloc(size);
        memset(blocks[i], 1, size);
    }
    for (int i = 8; i--;)
        free(blocks[i]);
}

static char *filled(size_t size)
{
    char *block = malloc(size);
    memset(block, 1, size);
    return block;
}

struct entry { struct entry *next; char text[4000]; };

static struct entry *insert(struct entry *next)
{
    struct entry *entry = (struct entry *)filled(sizeof *entry);
    entry->next = next;
    return entry;
}

static void leak(void)
{
    for (int i = 0; i < 4000; i++) {
        request(i);
        if (i % 40)
            filled(1000);
        else
            free(filled(1000));
    }
}

static void cache(void)
{
    struct entry *head = NULL;
    for (int i = 0; i < 4000; i++) {
        request(i);
        if (i < 600)
            head = insert(head);
    }
    printf("%p\n", (void *)head);
}

static void evicting(void)
{
    static char *slots[500];
    for (int i = 0; i < 6000; i++) {
        request(i);
        free(slots[i * 7 % 500]);
        slots[i * 7 % 500] = filled(3000);
    }
}

static void table(void)
{
    struct entry *head = NULL;
    for (int i = 0; i < 1500; i++) {
        request(i);
        head = insert(head);
    }
    while (head) {
        struct entry *next = head->next;
        free(head);
        head = next;
    }
}

static void pinned(void)
{
    static char *load[20000];
    for (int i = 0; i < 20000; i++)
        load[i] = filled(200);
    for (int i = 0; i < 20000; i++)
        if (i % 20)
            free(load[i]);
    for (int i = 0; i < 4000; i++)
        request(i);
}

static void retained(void)
{
    static char *load[400];
    for (int i = 0; i < 400; i++)
        load[i] = filled(20000);
    char *last = filled(64);
    for (int i = 0; i < 400; i++)
        free(load[i]);
    for (int i = 0; i < 2000; i++)
        request(i);
    printf("%p\n", (void *)last);
}

static void tiny(void)
{
    static char *nodes[100000];
    for (int i = 0; i < 30000; i++)
        nodes[i] = filled(2);
    for (int i = 0; i < 8000; i++)
        request(i);
    printf("%p\n", (void *)nodes[7]);
}

static void *serve(void *number)
{
    for (int i = 0; i < 20; i++)
        request((int)(long)number + i);
    free(filled(200000));
    return NULL;
}

/* A thread a request, four at a time. */
static void server(void)
{
    for (long i = 0; i < 60; i++) {
        pthread_t threads[4];
        for (int t = 0; t < 4; t++)
            pthread_create(&threads[t], NULL, serve, (void *)(i * 4 + t));
        for (int t = 0; t < 4; t++)
            pthread_join(threads[t], NULL);
        if (i < 20)
            for (int t = 0; t < 40; t++)
                insert(NULL);
    }
}

int main(int count, char **words)
{
    static const struct { const char *name; void (*run)(void); } kinds[] = {
        {"leak", leak}, {"cache", cache}, {"evicting", evicting}, {"table", table},
        {"pinned", pinned}, {"retained", retained}, {"tiny", tiny}, {"server", server},
    };
    for (size_t i = 0; count > 1 && i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(words[1], kinds[i].name)) {
            kinds[i].run();
            return 0;
        }
    return 2;
}
