/* What the parts of the recorder of Java programs share.
 *
 *   java_agent.c ─► java_look.c ─► java_names.c ─► java_books.c ─► graph_log.c
 *
 * An object's tag is its number << SLOT_BITS | its slot in the books; the slot is used again when a look no
 * longer reaches the object. The log has the rows of graph.h, and NEW has the number of its references in
 * the field. A further row: COLLECTED how many collections there were, -; with 1 in the field how many objects were
 * met that were there already, their bytes */
#ifndef JAVA_H
#define JAVA_H
#include "graph.h"
#include <jvmti.h>

#define COLLECTED 19
#define SLOT_BITS 27
#define SLOT_MASK ((1u << SLOT_BITS) - 1)

struct object {
    uint64_t number;
    uint64_t *refers; /* by field: 2 * (number + 1) of what it refers to, 0 nothing; bit 0 seen by this look */
    uint32_t count, flags, class; /* class: of the mirror of one, its row in `classes` */
};
struct class {
    char *name; /* as a person writes it */
    uint32_t *dense, room, fields; /* fields: references of an instance; dense: their numbers + 1, by JVMTI's */
    uint32_t used, array, weak, type; /* array: 1 of references, 2 of other; weak: 1 + JVMTI's number of the referent */
};

#pragma GCC visibility push(hidden)
/* java_books.c */
extern uint64_t met_objects, met_bytes;
extern struct object *objects; /* slot 0 is none */
extern uint32_t slots_used, alive;
void *more(void *old, size_t before, size_t after); /* bytes of the books, zeroed; `old` if there is no room */
uint32_t bear(uint64_t size, uint64_t fields, int met); /* met: it was there already; 0: the recording has ended */
uint32_t slot_for(uint64_t number);
void forget_slot(uint32_t slot);
int refer(uint32_t slot, uint32_t field, uint64_t number);

/* java_names.c */
extern struct class *classes; /* row 0 is none */
uint32_t class_of(jlong tag);
uint32_t known_class(jvmtiEnv *jvmti, JNIEnv *jni, jclass class); /* its row; makes it known */
void know_classes(jvmtiEnv *jvmti, JNIEnv *jni); /* all that are loaded */
uint32_t site_of(jvmtiEnv *jvmti, uint32_t class, const jvmtiFrameInfo *frames, jint depth);
uint32_t dense_field(struct class *class, jint field);

/* java_look.c */
#define THREADS 4096u /* whose latest object is known; those that come later share places */
extern uint64_t due_births, look_every, looks;
extern jlong latest[THREADS]; /* tag of the object that each made last */
extern uint32_t threads;
void perhaps_look_at(jvmtiEnv *jvmti, JNIEnv *jni);
void look_at_the_end(jvmtiEnv *jvmti, JNIEnv *jni);
#pragma GCC visibility pop

static inline jlong tag_of(uint32_t slot) { return (jlong)(objects[slot].number << SLOT_BITS | slot); }
static inline uint32_t slot_of_tag(jlong tag) /* 0: no longer in the books */
{
    uint32_t slot = (uint32_t)tag & SLOT_MASK;
    return slot && slot < slots_used && objects[slot].number == (uint64_t)tag >> SLOT_BITS && objects[slot].flags ? slot : 0;
}
#endif
