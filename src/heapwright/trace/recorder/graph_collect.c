/* What Python's own collector does: each collection, what it is about to collect, and what it did.
 *
 *   hook   once the interpreter is there: a callback in gc.callbacks, by a call that the evaluation loop makes
 *   start  walk the rings of the generations that it looks through, as it will itself: what only their own
 *          references keep is told with these references (WRITE) and as dead (FREE); then BEGUN
 *   stop   which tuples and dictionaries it follows no longer; OVER, and the count of the young from there:
 *          what free lists kept is born again without being counted
 * The rings are found by a new list, which is the last of the young: the ring's own node follows it, and
 * threshold, count and the nodes of the other generations lie behind that (3.11 to 3.13, 3.14.5 and later;
 * of another layout the threshold is not what gc.get_threshold() says, and nothing is told). */
#define _GNU_SOURCE
#include "graph.h"
#include <dlfcn.h>
#include <string.h>

#define GENERATIONS 3
#define GENERATION_BYTES 24 /* struct gc_generation: PyGC_Head, threshold, count */
#define TRAVERSE_SLOT 71    /* Py_tp_traverse */
#define METH_FASTCALL 0x80
#define HOOK_EVERY 64 /* births between two looks whether the interpreter is there */

typedef struct { const char *name; void *function; int flags; const char *doc; } method;
typedef int (*visitor)(void *, void *);

int hooking; /* 0: not yet; 1: asked for; 2: done or given up */
static uintptr_t young;
static int thresholds[GENERATIONS] = {-1, -1, -1}; /* as told */
static uint64_t foreseen_births; /* at the start of the last collection */
static uint32_t *refs, *members, *unsure, *doomed, refs_room, members_room, unsure_room, doomed_room;
static uint32_t member_count, unsure_count, doomed_count;
static void *none, *(*get_slot)(void *, int), *(*item_of)(void *, const char *), (*increment)(void *), (*decrement)(void *);
static long long (*as_number)(void *);
static int (*compare)(void *, const char *);

static void *symbol(const char *name) { return dlsym(RTLD_DEFAULT, name); }

/* In a ring: does a reader know that it is there? One born since the last collection is young. */
static void see_where_followed(struct block *block, uint32_t ring, uint32_t later)
{
    int form = type_kind(block->type);
    uint32_t age = block->flags / AGE & 3;
    int known = age ? age - 1 == ring : !ring && block->number >= foreseen_births;
    if ((form == TUPLE_KIND || form == DICT_KIND) && !(block->flags & FOLLOWED)) known = 0;
    if (!known) tell(TRACKED, block->number, ring + 1);
    block->flags = (block->flags & ~AGES) | FOLLOWED | (later + 1) * AGE;
}

static uint32_t *room_for(uint32_t *of, uint32_t count, uint32_t *room)
{
    if (count < *room) return of;
    uint32_t wider = *room ? 2 * *room : 1 << 12;
    while (wider <= count) wider *= 2;
    of = grown(of, *room * sizeof *of, wider * sizeof *of);
    if (!off) *room = wider;
    return of;
}

static int less(void *object, void *nothing)
{
    (void)nothing;
    uint32_t row = referred((uintptr_t)object);
    if (row && blocks[row].flags & IN_SET) refs[row]--;
    return 0;
}

static int spare_it(void *object, void *height)
{
    uint32_t row = referred((uintptr_t)object), *top = height;
    if (row && (blocks[row].flags & (IN_SET | SPARED)) == IN_SET) {
        blocks[row].flags |= SPARED;
        pending[(*top)++] = row;
    }
    return 0;
}

static void traverse(uint32_t row, visitor visit, void *with)
{
    char *object = (char *)blocks[row].address + blocks[row].object;
    int (*function)(void *, visitor, void *) = get_slot(((void **)object)[1], TRAVERSE_SLOT);
    if (function) function(object, visit, with);
}

static void take_ring(uint32_t ring, uint32_t later)
{
    uintptr_t head = young + (uintptr_t)ring * GENERATION_BYTES;
    for (uintptr_t at = next_of(head); at && at != head; at = next_of(at)) {
        uint32_t row = referred(at + 16);
        if (!row || blocks[row].flags & IN_SET) continue;
        struct block *block = blocks + row;
        if (!(block->flags & TYPED) && look_for_type(block)) tell(TYPE, block->number, block->type);
        block->object = (uint32_t)(at + 16 - block->address);
        members = room_for(members, member_count, &members_room);
        refs = room_for(refs, rows_used, &refs_room);
        if (off) return;
        members[member_count++] = row;
        block->flags |= IN_SET;
        refs[row] = *(uint32_t *)(at + 16);
        see_where_followed(block, ring, later);
        int form = type_kind(block->type);
        if (form != TUPLE_KIND && form != DICT_KIND) continue;
        unsure = room_for(unsure, unsure_count, &unsure_room);
        if (off) return;
        unsure[unsure_count++] = row;
    }
}

static void doom(uint32_t row)
{
    if (off || blocks[row].flags & DOOMED) return;
    doomed = room_for(doomed, doomed_count, &doomed_room);
    if (off) return;
    doomed[doomed_count++] = row;
    blocks[row].flags |= DOOMED;
}

/* The tables of a doomed object that refer to others of the set, a list's items say: they die with it */
static void doom_tables(uint32_t row)
{
    for (uint32_t i = 0; i < blocks[row].count && !off; i++) {
        uint32_t table = blocks[row].refers[i].target;
        struct block *block = blocks + table;
        if (!block->address || block->generation != blocks[row].refers[i].generation) continue;
        if (block->flags & (TYPED | IN_SET)) continue;
        scan(table);
        for (uint32_t k = 0; k < block->count; k++) {
            uint32_t member = block->refers[k].target;
            if ((blocks[member].flags & (IN_SET | SPARED)) != IN_SET) continue;
            doom(table);
            break;
        }
    }
}

static void foresee(int generation)
{
    uint32_t height = 0;
    member_count = unsure_count = doomed_count = 0;
    uint32_t later = generation < GENERATIONS - 1 ? (uint32_t)generation + 1 : GENERATIONS - 1;
    for (uint32_t i = 0; i <= (uint32_t)generation; i++) take_ring(i, later);
    foreseen_births = births;
    for (uint32_t i = 0; i < member_count && !off; i++) traverse(members[i], less, NULL);
    for (uint32_t i = 0; i < member_count && !off; i++) {
        if (!refs[members[i]] || blocks[members[i]].flags & SPARED) continue;
        blocks[members[i]].flags |= SPARED;
        pending[height++] = members[i];
        while (height) traverse(pending[--height], spare_it, &height);
    }
    for (uint32_t i = 0; i < member_count && !off; i++)
        if (!(blocks[members[i]].flags & SPARED)) scan(members[i]);
    for (uint32_t i = 0; i < member_count && !off; i++) {
        if (blocks[members[i]].flags & SPARED) continue;
        doom_tables(members[i]);
        doom(members[i]);
    }
    for (uint32_t i = 0; i < doomed_count && !off; i++) { /* after all that they refer to is told */
        struct block *block = blocks + doomed[i];
        tell(FREE, block->number, block->flags & TYPED ? block->type : 0);
    }
    for (uint32_t i = 0; i < member_count; i++) blocks[members[i]].flags &= ~(uint32_t)(IN_SET | SPARED);
}

static void see_what_is_left(void)
{
    for (uint32_t i = 0; i < unsure_count && !off; i++) {
        if (blocks[unsure[i]].address) see_whether_followed(blocks + unsure[i]);
    }
}

/* A finaliser brought it back, or a free list has it: the next object of its type will be there */
static void see_what_came_back(void)
{
    for (uint32_t i = 0; i < doomed_count && !off; i++)
        if (blocks[doomed[i]].address && blocks[doomed[i]].flags & DOOMED) bear_again(doomed[i]);
    doomed_count = 0;
}

void see_thresholds(void)
{
    if (!young) return;
    for (uint32_t i = 0; i < GENERATIONS; i++) {
        int threshold = ((int *)(young + i * GENERATION_BYTES))[4];
        if (threshold == thresholds[i] || threshold < 0) continue;
        thresholds[i] = threshold;
        tell(COUNTED, GENERATIONS + i, (uint64_t)threshold);
    }
}

static void *told(void *self, void **given, long count)
{
    (void)self, (void)count;
    int starts = !compare(given[0], "start");
    long long generation = as_number(item_of(given[1], "generation"));
    long long collected = as_number(item_of(given[1], "collected")), left = as_number(item_of(given[1], "uncollectable"));
    pthread_mutex_lock(&lock);
    if (!off && young && generation >= 0 && generation < GENERATIONS) {
        if (starts) {
            uint64_t began_ns = now_ns(), of_itself = ((int *)young)[5] > ((int *)young)[4];
            foresee((int)generation);
            tell(BEGUN, (uint64_t)generation | of_itself << 4, now_ns() - began_ns);
        } else {
            see_what_is_left();
            see_what_came_back();
            tell(OVER, (uint64_t)collected, (uint64_t)left);
            tell(COUNTED, 0, (uint64_t)((int *)young)[5]);
        }
    }
    pthread_mutex_unlock(&lock);
    increment(none);
    return none;
}

static int hook(void *nothing)
{
    static method callback = {"heapwright", (void *)told, METH_FASTCALL, NULL};
    (void)nothing;
    void *(*import)(const char *) = symbol("PyImport_ImportModule"), *(*list)(long) = symbol("PyList_New");
    void *(*attribute)(void *, const char *) = symbol("PyObject_GetAttrString");
    void *(*call)(void *, const char *, const char *, ...) = symbol("PyObject_CallMethod");
    void *(*item)(void *, long) = symbol("PyTuple_GetItem"), *(*function)(method *, void *, void *) = symbol("PyCFunction_NewEx");
    int (*append)(void *, void *) = symbol("PyList_Append");
    none = symbol("_Py_NoneStruct"), get_slot = symbol("PyType_GetSlot"), item_of = symbol("PyDict_GetItemString");
    increment = symbol("Py_IncRef"), decrement = symbol("Py_DecRef"), as_number = symbol("PyLong_AsLongLong");
    compare = symbol("PyUnicode_CompareWithASCIIString");
    if (!import || !list || !attribute || !call || !item || !function || !append || !none || !get_slot || !item_of) return 0;
    if (!increment || !decrement || !as_number || !compare) return 0;
    void *gc = import("gc"), *callbacks = gc ? attribute(gc, "callbacks") : NULL;
    void *said = gc ? call(gc, "get_threshold", NULL) : NULL, *last = list(0);
    if (!callbacks || !last || !said) return 0;
    uintptr_t head = next_of((uintptr_t)last - 16);
    int same = head && !referred(head);
    for (int i = 0; same && i < GENERATIONS; i++)
        same = ((int *)(head + (uintptr_t)i * GENERATION_BYTES))[4] == (int)as_number(item(said, i));
    decrement(last), decrement(said);
    if (same && !append(callbacks, function(&callback, NULL, NULL))) {
        pthread_mutex_lock(&lock);
        young = head;
        const unsigned long *version = symbol("Py_Version");
        if (version) tell(VERSION, *version, 0);
        for (int i = 0; i < GENERATIONS; i++)
            tell(COUNTED, (uint64_t)i, (uint64_t)((int *)(head + (uintptr_t)i * GENERATION_BYTES))[5]);
        pthread_mutex_unlock(&lock);
    }
    decrement(callbacks), decrement(gc);
    return 0;
}

void perhaps_hook(void)
{
    static int (*ready)(void), (*later)(int (*)(void *), void *);
    if (births % HOOK_EVERY) return;
    if (!ready) ready = symbol("Py_IsInitialized"), later = symbol("Py_AddPendingCall");
    if (!ready || !later) hooking = 2;
    else if (ready() && !later(hook, NULL)) hooking = 2;
}
