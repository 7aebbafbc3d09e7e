/* A look: the JVM stops, and tells every reference from the roots on.
 *
 * What it tells first of an object is not known to be alive by any birth: then it is born here, and counted. What
 * changed since the last look goes to the log. What is no longer reached is lost; a weak, phantom or final
 * reference keeps nothing. The next look is put off until the program has run for as long as the last one
 * took: at most half of the time goes to looking. */
#include "java.h"

#define CLOCK_BIRTHS 256 /* the clock is read once in so many births */

uint64_t due_births, look_every, looks;
jlong latest[THREADS];
uint32_t threads;
static uint64_t looked_at, earliest_ns, put_off;

static uint64_t fields_of(jlong class_tag, jint length)
{
    struct class *class = classes + class_of(class_tag);
    return class->array == 1 && length > 0 ? (uint64_t)length : class->fields;
}

/* The slot of the object with this tag, which it gets here if it had none */
static uint32_t met(jlong *tag, jlong class_tag, jlong size, jint length)
{
    uint32_t slot = *tag ? slot_of_tag(*tag) : 0;
    if (slot) return slot;
    if (*tag) { /* lost, and it is there again */
        uint64_t number = (uint64_t)*tag >> SLOT_BITS;
        slot = slot_for(number);
        if (!slot) return 0;
        objects[slot].flags &= ~(uint32_t)ROOTED;
        tell(FOUND, number, 0);
    } else {
        slot = bear((uint64_t)size, fields_of(class_tag, length), 1);
        if (!slot) return 0;
        uint32_t type = classes[class_of(class_tag)].type;
        if (type) tell(TYPE, objects[slot].number, type);
    }
    *tag = tag_of(slot);
    return slot;
}

static jint JNICALL follow(jvmtiHeapReferenceKind kind, const jvmtiHeapReferenceInfo *info, jlong class_tag, jlong from_class,
    jlong size, jlong *tag, jlong *from, jint length, void *nothing)
{
    (void)nothing;
    struct class *class = from ? classes + class_of(from_class) : NULL;
    if (kind == JVMTI_HEAP_REFERENCE_FIELD && class && class->weak && (uint32_t)info->field.index + 1 == class->weak) return 0;
    uint32_t slot = off ? 0 : met(tag, class_tag, size, length);
    if (!slot) return JVMTI_VISIT_ABORT;
    uint32_t referrer = from && *from ? slot_of_tag(*from) : 0, field = 0;
    if (kind == JVMTI_HEAP_REFERENCE_FIELD && referrer) {
        field = dense_field(class, info->field.index);
        if (off) return JVMTI_VISIT_ABORT;
    } else if (kind == JVMTI_HEAP_REFERENCE_ARRAY_ELEMENT && referrer)
        field = 1 + (uint32_t)info->array.index;
    if (field) refer(referrer, field - 1, objects[slot].number);
    else {
        if (!(objects[slot].flags & ROOTED)) tell(ROOT, objects[slot].number, 0);
        objects[slot].flags |= ROOTED | FROM_ROOT;
    }
    objects[slot].flags |= REACHED;
    return JVMTI_VISIT_OBJECTS;
}

/* An object on its way from the JVM to the thread that made it lies where no look goes: it counts as held */
static void reach_the_latest(void)
{
    for (uint32_t thread = 0; thread < threads; thread++) {
        uint32_t slot = latest[thread] >= 0 ? slot_of_tag(latest[thread]) : 0;
        if (slot && objects[slot].number >= looked_at) objects[slot].flags |= REACHED | FROM_ROOT;
    }
}

/* At the end, when threads are gone and with them what they held, only what was born since the last look is lost */
static void see_what_is_gone(int at_the_end)
{
    for (uint32_t slot = 1; slot < slots_used; slot++) {
        struct object *object = objects + slot;
        if (!(object->flags & REACHED)) continue;
        for (uint32_t field = 0; field < object->count; field++) {
            if (object->refers[field] & 1) { object->refers[field] &= ~(uint64_t)1; continue; }
            if (object->refers[field]) tell(WRITE | (uint64_t)field << 8, object->number, NOBODY);
            object->refers[field] = 0;
        }
        if (object->flags & ROOTED && !(object->flags & FROM_ROOT) && !at_the_end) {
            tell(UNROOT, object->number, 0);
            object->flags &= ~(uint32_t)ROOTED;
        }
    }
    for (uint32_t slot = 1; slot < slots_used; slot++) {
        struct object *object = objects + slot;
        if (!object->flags) continue;
        if (object->flags & REACHED) object->flags &= ~(uint32_t)(REACHED | FROM_ROOT);
        else if (!at_the_end || object->number >= looked_at) {
            if (object->flags & ROOTED) tell(UNROOT, object->number, 0);
            tell(LOST, object->number, 0);
            forget_slot(slot);
        }
    }
}

static void look(jvmtiEnv *jvmti, JNIEnv *jni, uint64_t began_ns, int at_the_end)
{
    static const jvmtiHeapCallbacks callbacks = {.heap_reference_callback = follow};
    know_classes(jvmti, jni);
    tell(LOOK, 0, 0);
    if ((*jvmti)->FollowReferences(jvmti, 0, NULL, NULL, &callbacks, NULL) != JVMTI_ERROR_NONE) stop(NO_MEMORY);
    if (off) return;
    reach_the_latest();
    see_what_is_gone(at_the_end);
    looks++;
    uint64_t ended_ns = now_ns(), took_ns = ended_ns - began_ns;
    tell(COLLECTED | 1 << 8, met_objects, met_bytes);
    tell(SEEN, took_ns, put_off);
    looked_at = births;
    earliest_ns = ended_ns + took_ns;
    put_off = 0;
}

void perhaps_look_at(jvmtiEnv *jvmti, JNIEnv *jni)
{
    uint64_t least = look_every > alive / 2 ? look_every : alive / 2, now = 0;
    due_births = looked_at + least;
    if (births < due_births && looks) return;
    if ((now = now_ns()) >= earliest_ns) {
        look(jvmti, jni, now, 0);
        due_births = births + look_every;
    } else {
        put_off = 1;
        due_births = births + CLOCK_BIRTHS;
    }
}

void look_at_the_end(jvmtiEnv *jvmti, JNIEnv *jni)
{
    look(jvmti, jni, now_ns(), 1);
}
