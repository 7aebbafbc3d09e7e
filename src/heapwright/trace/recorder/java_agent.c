/* Record the object graph of a Java program: an agent of the JVM's tool interface (JVMTI).
 *
 *   SampledObjectAlloc, interval 0   ─► births: each object that is made after the JVM is up, its size and site
 *   every so many births, a look     ─► references, and who is no longer reached (java_look.c)
 *   GarbageCollectionStart           ─► how many collections there were at a birth
 *
 * Thread   the books have one lock. Who looks holds it, and the JVM's thread that tells the references then needs
 *          none, as those who wait for it wait as native code. */
#define _GNU_SOURCE
#include "java.h"
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH 24 /* frames that are searched for one of the program */

static jvmtiEnv *jvmti;
static pthread_mutex_t books = PTHREAD_MUTEX_INITIALIZER;
static __thread int inside;
static atomic_ulong collections;
static atomic_ulong looked;
static unsigned long collections_told;
static const char *told_path;

static void end(void)
{
    (*jvmti)->SetEventNotificationMode(jvmti, JVMTI_DISABLE, JVMTI_EVENT_SAMPLED_OBJECT_ALLOC, NULL);
}

static void tell_collections(void)
{
    unsigned long now = atomic_load(&collections);
    if (now == collections_told) return;
    tell(COLLECTED, now, 0);
    collections_told = now;
}

static void born_here(JNIEnv *jni, jobject object, jclass class, jlong size, unsigned long before)
{
    jvmtiFrameInfo frames[DEPTH];
    jint depth = 0;
    jlong tag = 0;
    if (atomic_load(&looked) != before) { /* a look may have met it while this thread waited */
        (*jvmti)->GetTag(jvmti, object, &tag);
        if (tag) return;
    }
    uint32_t row = known_class(jvmti, jni, class);
    uint64_t fields = classes[row].array == 1 ? (uint64_t)(*jni)->GetArrayLength(jni, object) : classes[row].fields;
    if ((*jvmti)->GetStackTrace(jvmti, NULL, 0, DEPTH, frames, &depth) != JVMTI_ERROR_NONE) depth = 0;
    uint32_t type = off ? 0 : site_of(jvmti, row, frames, depth);
    tell_collections();
    uint32_t slot = bear((uint64_t)size, fields, 0);
    if (!slot) return;
    if (type) tell(TYPE, objects[slot].number, type);
    if ((*jvmti)->SetTag(jvmti, object, tag_of(slot)) != JVMTI_ERROR_NONE) stop(NO_MEMORY);
    static __thread uint32_t place; /* + 1 */
    static uint32_t places;
    if (!place) place = 1 + places++ % THREADS;
    if (place > threads) threads = place;
    latest[place - 1] = tag_of(slot);
    if (!off && births >= due_births) {
        perhaps_look_at(jvmti, jni);
        atomic_store(&looked, (unsigned long)looks);
    }
}

static void JNICALL allocated(jvmtiEnv *env, JNIEnv *jni, jthread thread, jobject object, jclass class, jlong size)
{
    (void)env, (void)thread;
    if (off || inside) return;
    inside = 1;
    unsigned long before = atomic_load(&looked);
    pthread_mutex_lock(&books);
    if (!off) born_here(jni, object, class, size, before);
    if (off) end();
    pthread_mutex_unlock(&books);
    inside = 0;
}

static void JNICALL collecting(jvmtiEnv *env)
{
    (void)env;
    atomic_fetch_add(&collections, 1);
}

static jlong size_of_instance(JNIEnv *jni, const char *name)
{
    jclass class = (*jni)->FindClass(jni, name);
    jobject object = class ? (*jni)->AllocObject(jni, class) : NULL;
    jlong size = 0;
    if (object) (*jvmti)->GetObjectSize(jvmti, object, &size);
    return size;
}

/* How this JVM lays objects out, as a few of them tell */
static void tell_layout(JNIEnv *jni)
{
    jclass class = (*jni)->FindClass(jni, "java/lang/Object");
    jobjectArray many = class ? (*jni)->NewObjectArray(jni, 1000, class, NULL) : NULL;
    jlong array = 0;
    char *version = NULL, *name = NULL;
    if (many) (*jvmti)->GetObjectSize(jvmti, many, &array);
    (*jvmti)->GetSystemProperty(jvmti, "java.vm.version", &version);
    (*jvmti)->GetSystemProperty(jvmti, "java.vm.name", &name);
    FILE *told = fopen(told_path, "w");
    if (told) {
        fprintf(told, "version=%s\nvm=%s\nobject=%ld\ninteger=%ld\nreference=%ld\n", version ? version : "", name ? name : "",
            (long)size_of_instance(jni, "java/lang/Object"), (long)size_of_instance(jni, "java/lang/Integer"), (long)array / 1000);
        fclose(told);
    }
    if ((*jni)->ExceptionCheck(jni)) (*jni)->ExceptionClear(jni);
}

static void JNICALL up(jvmtiEnv *env, JNIEnv *jni, jthread thread)
{
    (void)env, (void)thread;
    inside = 1;
    tell_layout(jni);
    pthread_mutex_lock(&books);
    off = 0;
    perhaps_look_at(jvmti, jni); /* what is there already */
    atomic_store(&looked, (unsigned long)looks);
    pthread_mutex_unlock(&books);
    inside = 0;
}

static void JNICALL down(jvmtiEnv *env, JNIEnv *jni)
{
    (void)env;
    inside = 1;
    pthread_mutex_lock(&books);
    if (!off) look_at_the_end(jvmti, jni);
    if (!off) tell_collections();
    stop(ENDED);
    pthread_mutex_unlock(&books);
}

static int refused(const char *why)
{
    fprintf(stderr, "heapwright: %s\n", why);
    return JNI_ERR;
}

JNIEXPORT jint JNICALL Agent_OnLoad(JavaVM *vm, char *options, void *reserved)
{
    (void)reserved;
    if ((*vm)->GetEnv(vm, (void **)&jvmti, JVMTI_VERSION_11) != JNI_OK) return refused("this JVM has no tool interface of version 11");
    jvmtiCapabilities wanted = {.can_tag_objects = 1, .can_get_line_numbers = 1, .can_generate_garbage_collection_events = 1,
        .can_generate_sampled_object_alloc_events = 1};
    if ((*jvmti)->AddCapabilities(jvmti, &wanted) != JVMTI_ERROR_NONE)
        return refused("this JVM does not tell an agent of each allocation");
    if (options && !strcmp(options, "probe")) return JNI_OK;
    const char *path = getenv("HEAPWRIGHT_GRAPH"), *every = getenv("HEAPWRIGHT_GRAPH_EVERY");
    const char *limit = getenv("HEAPWRIGHT_GRAPH_BOOKS"), *log = getenv("HEAPWRIGHT_GRAPH_LOG");
    told_path = getenv("HEAPWRIGHT_GRAPH_TOLD");
    if (!path || !every || !limit || !log || !told_path) return JNI_OK;
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file < 0) return JNI_OK;
    open_log(file, strtoull(log, NULL, 10));
    books_limit = strtoull(limit, NULL, 10);
    look_every = strtoull(every, NULL, 10);
    jvmtiEventCallbacks callbacks = {.VMInit = up, .VMDeath = down, .SampledObjectAlloc = allocated, .GarbageCollectionStart = collecting};
    (*jvmti)->SetEventCallbacks(jvmti, &callbacks, sizeof callbacks);
    (*jvmti)->SetEventNotificationMode(jvmti, JVMTI_ENABLE, JVMTI_EVENT_VM_INIT, NULL);
    (*jvmti)->SetEventNotificationMode(jvmti, JVMTI_ENABLE, JVMTI_EVENT_VM_DEATH, NULL);
    (*jvmti)->SetEventNotificationMode(jvmti, JVMTI_ENABLE, JVMTI_EVENT_GARBAGE_COLLECTION_START, NULL);
    (*jvmti)->SetHeapSamplingInterval(jvmti, 0); /* now: a buffer (TLAB) that a thread has already would hide what fits it */
    (*jvmti)->SetEventNotificationMode(jvmti, JVMTI_ENABLE, JVMTI_EVENT_SAMPLED_OBJECT_ALLOC, NULL);
    return JNI_OK;
}
