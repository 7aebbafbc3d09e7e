/* The names of the recorder of Java programs: classes, and where objects are made.
 *
 * A class is known by its mirror, whose tag leads to its row. A site is a class and the nearest frame that is not
 * of the JDK, with its line; it is a type of graph.h, and is named in the log once. */
#include "java.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TYPES (1u << 13) /* as graph_books.py has it */
#define PLACES (1u << 15) /* a power of two, above the number of methods that are kept */
#define NAME_BYTES 512

struct method {
    jmethodID id;
    char *name; /* class.method */
    jvmtiLineNumberEntry *lines;
    jint line_count, of_jdk;
};
struct site { uint32_t class, type; struct method *method; jint line; };

struct class *classes;
static uint32_t class_room, class_count = 1, types = 1;
static struct method methods[PLACES];
static uint32_t method_count;
static struct site sites[2 * TYPES];

static char *readable_name(const char *signature) /* Ljava/lang/String; is java.lang.String, [I is int[] */
{
    static const char *const plain[] = {"Zboolean", "Bbyte", "Cchar", "Sshort", "Iint", "Jlong", "Ffloat", "Ddouble"};
    size_t deep = strspn(signature, "["), length;
    const char *of = signature + deep;
    char *name = malloc(strlen(signature) + 2 * deep + 16);
    if (!name) return NULL;
    if (*of == 'L') {
        length = strcspn(of + 1, ";");
        memcpy(name, of + 1, length);
        for (size_t i = 0; i < length; i++)
            if (name[i] == '/') name[i] = '.';
    } else {
        const char *found = "?";
        for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
            if (plain[i][0] == *of) found = plain[i] + 1;
        length = strlen(found);
        memcpy(name, found, length);
    }
    name[length] = 0;
    while (deep--) strcat(name, "[]");
    return name;
}

static uint32_t named_type(const char *name)
{
    if (types >= TYPES || !name) return 0;
    uint32_t type = types++;
    size_t length = strlen(name);
    if (length > NAME_BYTES) length = NAME_BYTES;
    for (size_t at = 0, part = 0; at < length; at += 8, part++) {
        uint64_t word = 0;
        memcpy(&word, name + at, length - at < 8 ? length - at : 8);
        tell(NAME | (uint64_t)part << 8, type, word);
    }
    return type;
}

static int is_reference(jvmtiEnv *jvmti, jclass class, jfieldID field, int *is_static)
{
    char *signature = NULL;
    jint modifiers = 0;
    if ((*jvmti)->GetFieldModifiers(jvmti, class, field, &modifiers) != JVMTI_ERROR_NONE) return 0;
    *is_static = modifiers & 0x0008;
    if ((*jvmti)->GetFieldName(jvmti, class, field, NULL, &signature, NULL) != JVMTI_ERROR_NONE) return 0;
    int found = *signature == 'L' || *signature == '[';
    (*jvmti)->Deallocate(jvmti, (unsigned char *)signature);
    return found;
}

/* Reference fields of an instance, as the class itself declares them */
static uint32_t declared(jvmtiEnv *jvmti, jclass class)
{
    jfieldID *fields = NULL;
    jint count = 0;
    uint32_t found = 0;
    if ((*jvmti)->GetClassFields(jvmti, class, &count, &fields) != JVMTI_ERROR_NONE) return 0;
    for (jint i = 0; i < count; i++) {
        int is_static = 0;
        if (is_reference(jvmti, class, fields[i], &is_static) && !is_static) found++;
    }
    (*jvmti)->Deallocate(jvmti, (unsigned char *)fields);
    return found;
}

/* Fields of all interfaces, which JVMTI numbers before the class's own */
static uint32_t of_interfaces(jvmtiEnv *jvmti, JNIEnv *jni, jclass class, int deep)
{
    jclass *interfaces = NULL;
    jint count = 0, fields = 0;
    uint32_t found = 0;
    if (deep > 32 || (*jvmti)->GetImplementedInterfaces(jvmti, class, &count, &interfaces) != JVMTI_ERROR_NONE) return 0;
    for (jint i = 0; i < count; i++) {
        jfieldID *each = NULL;
        if ((*jvmti)->GetClassFields(jvmti, interfaces[i], &fields, &each) == JVMTI_ERROR_NONE) {
            found += (uint32_t)fields;
            (*jvmti)->Deallocate(jvmti, (unsigned char *)each);
        }
        found += of_interfaces(jvmti, jni, interfaces[i], deep + 1);
        (*jni)->DeleteLocalRef(jni, interfaces[i]);
    }
    (*jvmti)->Deallocate(jvmti, (unsigned char *)interfaces);
    return found;
}

static int keeps_nothing(const char *name)
{
    return !strcmp(name, "java.lang.ref.WeakReference") || !strcmp(name, "java.lang.ref.PhantomReference")
        || !strcmp(name, "java.lang.ref.FinalReference");
}

static void describe(jvmtiEnv *jvmti, JNIEnv *jni, jclass class, struct class *row)
{
    char *signature = NULL;
    if ((*jvmti)->GetClassSignature(jvmti, class, &signature, NULL) != JVMTI_ERROR_NONE) return;
    row->name = readable_name(signature);
    if (*signature == '[') row->array = signature[1] == 'L' || signature[1] == '[' ? 1 : 2;
    (*jvmti)->Deallocate(jvmti, (unsigned char *)signature);
    row->type = named_type(row->name);
    if (row->array || !row->name) return;
    uint32_t before = 0;
    int weak = 0;
    jclass at = (*jni)->NewLocalRef(jni, class);
    for (int deep = 0; at && deep < 256; deep++) {
        before += of_interfaces(jvmti, jni, at, 0);
        row->fields += declared(jvmti, at);
        if ((*jvmti)->GetClassSignature(jvmti, at, &signature, NULL) == JVMTI_ERROR_NONE) {
            char *name = readable_name(signature);
            weak |= name && keeps_nothing(name);
            free(name);
            (*jvmti)->Deallocate(jvmti, (unsigned char *)signature);
        }
        jclass parent = (*jni)->GetSuperclass(jni, at);
        (*jni)->DeleteLocalRef(jni, at);
        at = parent;
    }
    if (at) (*jni)->DeleteLocalRef(jni, at);
    if (weak) row->weak = 1 + before; /* java.lang.ref.Reference declares its referent first */
}

uint32_t class_of(jlong tag)
{
    uint32_t slot = tag ? slot_of_tag(tag) : 0;
    return slot ? objects[slot].class : 0;
}

uint32_t known_class(jvmtiEnv *jvmti, JNIEnv *jni, jclass class)
{
    jlong tag = 0, size = 0;
    if (off || (*jvmti)->GetTag(jvmti, class, &tag) != JVMTI_ERROR_NONE) return 0;
    uint32_t slot = tag ? slot_of_tag(tag) : 0;
    if (slot && objects[slot].class) return objects[slot].class;
    if (!slot) {
        if (tag) return 0; /* lost: a look will find it */
        (*jvmti)->GetObjectSize(jvmti, class, &size);
        slot = bear((uint64_t)size, 0, 1);
        if (!slot) return 0;
        (*jvmti)->SetTag(jvmti, class, tag_of(slot));
    }
    if (class_count >= class_room) {
        uint32_t room = class_room ? 2 * class_room : 1024;
        classes = more(classes, class_room * sizeof *classes, room * sizeof *classes);
        if (off) return 0;
        class_room = room;
    }
    uint32_t row = class_count++;
    describe(jvmti, jni, class, classes + row);
    objects[slot].class = row;
    return row;
}

void know_classes(jvmtiEnv *jvmti, JNIEnv *jni)
{
    jclass *loaded = NULL;
    jint count = 0;
    if ((*jvmti)->GetLoadedClasses(jvmti, &count, &loaded) != JVMTI_ERROR_NONE) return;
    for (jint i = 0; i < count; i++) {
        jint status = 0; /* one that is not prepared does not tell its fields */
        (*jvmti)->GetClassStatus(jvmti, loaded[i], &status);
        if (status & (JVMTI_CLASS_STATUS_PREPARED | JVMTI_CLASS_STATUS_ARRAY)) known_class(jvmti, jni, loaded[i]);
        (*jni)->DeleteLocalRef(jni, loaded[i]);
    }
    (*jvmti)->Deallocate(jvmti, (unsigned char *)loaded);
}

static int of_jdk(const char *name)
{
    static const char *const begins[] = {"java.", "javax.", "jdk.", "sun.", "com.sun."};
    for (size_t i = 0; i < sizeof begins / sizeof *begins; i++)
        if (!strncmp(name, begins[i], strlen(begins[i]))) return 1;
    return 0;
}

static struct method *method_of(jvmtiEnv *jvmti, jmethodID id)
{
    uint32_t at = (uint32_t)((uintptr_t)id * 0x9E3779B97F4A7C15u >> 32) & (PLACES - 1);
    for (; methods[at].id; at = (at + 1) & (PLACES - 1))
        if (methods[at].id == id) return methods + at;
    if (method_count >= PLACES / 2) return NULL;
    struct method *method = methods + at;
    jclass class = NULL;
    char *signature = NULL, *name = NULL;
    method_count++;
    *method = (struct method){id, NULL, NULL, 0, 1};
    if ((*jvmti)->GetMethodDeclaringClass(jvmti, id, &class) != JVMTI_ERROR_NONE) return method;
    if ((*jvmti)->GetClassSignature(jvmti, class, &signature, NULL) != JVMTI_ERROR_NONE) return method;
    if ((*jvmti)->GetMethodName(jvmti, id, &name, NULL, NULL) == JVMTI_ERROR_NONE) {
        char *of = readable_name(signature);
        size_t length = of ? strlen(of) + strlen(name) + 2 : 0;
        method->of_jdk = !of || of_jdk(of);
        method->name = of ? malloc(length) : NULL;
        if (method->name) snprintf(method->name, length, "%s.%s", of, name);
        free(of);
        (*jvmti)->Deallocate(jvmti, (unsigned char *)name);
    }
    (*jvmti)->Deallocate(jvmti, (unsigned char *)signature);
    if ((*jvmti)->GetLineNumberTable(jvmti, id, &method->line_count, &method->lines) != JVMTI_ERROR_NONE) method->line_count = 0;
    return method;
}

static jint line_of(const struct method *method, jlocation location)
{
    jint line = 0;
    for (jint i = 0; i < method->line_count; i++)
        if (method->lines[i].start_location <= location) line = method->lines[i].line_number;
    return line;
}

uint32_t site_of(jvmtiEnv *jvmti, uint32_t class, const jvmtiFrameInfo *frames, jint depth)
{
    struct method *method = NULL;
    jint line = 0;
    for (jint i = 0; i < depth; i++) {
        struct method *each = method_of(jvmti, frames[i].method);
        if (!each || (i && each->of_jdk)) continue;
        method = each;
        line = line_of(method, frames[i].location);
        if (!each->of_jdk) break;
    }
    if (!method || !method->name) return classes[class].type;
    uint64_t key = ((uintptr_t)method ^ (uint64_t)class << 32 ^ (uint64_t)line) * 0x9E3779B97F4A7C15u;
    uint32_t at = (uint32_t)(key >> 32) & (2 * TYPES - 1);
    for (; sites[at].method; at = (at + 1) & (2 * TYPES - 1))
        if (sites[at].method == method && sites[at].class == class && sites[at].line == line) return sites[at].type;
    char text[NAME_BYTES];
    snprintf(text, sizeof text, line ? "%s in %s:%d" : "%s in %s", classes[class].name ? classes[class].name : "?", method->name, line);
    uint32_t type = named_type(text);
    if (!type) return classes[class].type;
    sites[at] = (struct site){class, type, method, line};
    return type;
}

uint32_t dense_field(struct class *class, jint field)
{
    if (field < 0) return 0;
    uint32_t at = (uint32_t)field;
    if (class == classes) return 0; /* not known: a root holds what it refers to */
    if (at >= class->room) {
        uint32_t room = at + 8;
        uint32_t *dense = more(class->dense, class->room * sizeof *dense, room * sizeof *dense);
        if (off) return 0;
        class->dense = dense;
        class->room = room;
    }
    if (!class->dense[at] && class->used < class->fields) class->dense[at] = ++class->used;
    return class->dense[at];
}
