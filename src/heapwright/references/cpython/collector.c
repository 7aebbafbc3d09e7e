/* A module for any CPython from 3.11 on: it does what a graph trace says, with the interpreter's own
 * objects, and writes down what gc.callbacks are told.
 *
 *   step    the events up to the next birth; returns to the evaluation loop, which may collect then
 *   told    is in gc.callbacks: (event, generation, collected, uncollectable) of each collection
 *   heard   is the callback of weak references: (event, 1, slot); (event, 0, slot) of one that is cleared
 *   finish  writes these rows, after three: objects that were there, gc.get_count() at the start; events,
 *           gc.get_count() at the end; bytes resident at the start, the most of the whole run, objects that
 *           were frozen, how many rows are of gc.callbacks. The others are of weak references
 * A slot refers to its object and does not keep it: locals and globals do. A finaliser that brings its
 * object back keeps it in limbo until the next birth. Nothing else that is followed is made here.
 * The dead of a cascade are freed one after another, as a cascade may be as deep as memory. */
#define Py_LIMITED_API 0x030b0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <structmember.h>

enum { FREE, NEW = 6, WRITE, HOLD, ROOT, UNROOT, PUSH, POP, STEER = 17, REFER = 19 };
enum { SOFT = 1, WEAK, PHANTOM, REFERENCE = 7, CALLBACK = 8 };
enum { ATOM, CONTAINER, TUPLE, DICT, FORMS = 3, REVIVES = 4, LEGACY = 8 };
enum { FREEZE = 3, UNFREEZE, ENABLE, DISABLE };
#define LEAST_TUPLE 21 /* items: shorter ones come from free lists */
#define ROW 4
#define HEADS 32 /* bytes that an object of untold kind has before its own: as the twin adds */
#define FIRST_FIELD 40 /* bytes of a block before the fields of an object: PyGC_Head, PyVarObject */
#define TEXT_HEADS 33
int PyObject_CallFinalizerFromDealloc(PyObject *); /* exported, though not of the limited API */

typedef struct { int64_t size; int32_t slot, field, target; uint8_t op, pad[3]; } event;
typedef struct { PyVarObject head; PyObject *fields[]; } object; /* the first: weak references, if there are any */

static event *events;
static PyObject **handles, **roots, **limbo, **dying, *keys, *gc;
static int64_t count, at, *frames, frame_count, frame_room, root_count, *rows, row_count, row_room;
static int64_t limbo_count, limbo_room, dying_count, dying_room, root_room, tuple_offset;
static uint8_t *forms; /* of the object in each slot */
static PyTypeObject *types[6]; /* plain, reviving, with tp_del; the same, weakly referred to */
static int64_t at_start, counts[6]; /* before the first event, after the last */
static int draining, started, born;

static void *longer(void *old, int64_t count_, int64_t *room, size_t each)
{
    if (count_ < *room) return old;
    *room = *room ? 2 * *room : 1024;
    old = realloc(old, (size_t)*room * each);
    if (!old) Py_FatalError("no memory");
    return old;
}

static int first_of(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    return type == types[3] || type == types[4] || type == types[5];
}

#include "weak.h"

static int object_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    PyObject **fields = ((object *)self)->fields + first_of(self);
    for (Py_ssize_t i = 0; i < Py_SIZE(self); i++) Py_VISIT(fields[i]);
    return 0;
}

static int object_clear(PyObject *self)
{
    PyObject **fields = ((object *)self)->fields + first_of(self);
    for (Py_ssize_t i = 0; i < Py_SIZE(self); i++) Py_CLEAR(fields[i]);
    return 0;
}

static void object_dealloc(PyObject *self)
{
    int is_ref = Py_TYPE(self) == ref_type;
    if ((Py_TYPE(self) == types[1] || Py_TYPE(self) == types[4]) && PyObject_CallFinalizerFromDealloc(self) < 0) return;
    PyObject_GC_UnTrack(self);
    if (is_ref) {
        ((inquiry)PyType_GetSlot(ref_base, Py_tp_clear))(self); /* it leaves its target's list */
        PyObject *last = declared[--declared_count];
        extra_of(last)->place = extra_of(self)->place;
        declared[extra_of(self)->place] = last;
    } else if (first_of(self) && ((object *)self)->fields[0]) {
        see_cleared(self);
        PyObject_ClearWeakRefs(self);
        if (((object *)self)->fields[0]) Py_FatalError("weak references are left");
    }
    dying = longer(dying, dying_count, &dying_room, sizeof *dying);
    dying[dying_count++] = self;
    if (draining) return;
    draining = 1;
    while (dying_count) {
        PyObject *dead = dying[--dying_count];
        PyObject *type = (PyObject *)Py_TYPE(dead);
        if (type == (PyObject *)ref_type) {
            ref_clear(dead);
            ((destructor)PyType_GetSlot(ref_base, Py_tp_dealloc))(dead);
        } else {
            object_clear(dead);
            PyObject_GC_Del(dead);
        }
        Py_DECREF(type);
    }
    draining = 0;
}

static void bring_back(PyObject *self)
{
    limbo = longer(limbo, limbo_count, &limbo_room, sizeof *limbo);
    Py_INCREF(self);
    limbo[limbo_count++] = self;
}

static void old_finaliser(PyObject *self) { (void)self; }

static PyTypeObject *make_type(const char *name, int slot, void *function, PyMemberDef *members)
{
    PyType_Slot given[] = {{Py_tp_dealloc, object_dealloc}, {Py_tp_traverse, object_traverse},
                           {Py_tp_clear, object_clear}, {slot, function},
                           {members ? Py_tp_members : 0, members}, {0, NULL}};
    int bytes = (int)(sizeof(object) + (members ? sizeof(PyObject *) : 0));
    PyType_Spec spec = {name, bytes, sizeof(PyObject *), Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, given};
    return (PyTypeObject *)PyType_FromSpec(&spec);
}

static int make_types(PyObject *module)
{
    static PyMemberDef weak[] = {{"__weaklistoffset__", T_PYSSIZET, offsetof(object, fields), READONLY, NULL}, {0}};
    for (int i = 0; i < 6; i++) {
        PyMemberDef *members = i < 3 ? NULL : weak;
        types[i] = i % 3 == 0   ? make_type("collector.plain", Py_tp_doc, "follows its fields", members)
                   : i % 3 == 1 ? make_type("collector.reviving", Py_tp_finalize, bring_back, members)
                                : make_type("collector.legacy", Py_tp_del, old_finaliser, members);
        if (!types[i]) return -1;
    }
    return make_ref_type(module);
}

static PyObject **field_of(PyObject *of, int form, int64_t field)
{
    if (form == TUPLE) return (PyObject **)((char *)of + tuple_offset) + field;
    if (Py_TYPE(of) == ref_type) return extra_of(of)->fields + field;
    return ((object *)of)->fields + field + first_of(of);
}

static PyObject *birth(const event *e)
{
    int kind = e->target < 0 ? CONTAINER : e->target;
    int64_t bytes = e->size + (e->target < 0 ? HEADS : 0), length = (bytes - FIRST_FIELD) / 8;
    forms[e->slot] = (uint8_t)(kind & FORMS);
    while (limbo_count) Py_DECREF(limbo[--limbo_count]);
    if (at + 1 < count && e[1].op == REFER && (e[1].size & REFERENCE) == WEAK) return weak_birth(e, e + 1);
    switch (kind & FORMS) {
    case ATOM: return PyBytes_FromStringAndSize(NULL, bytes < TEXT_HEADS ? 0 : (Py_ssize_t)(bytes - TEXT_HEADS));
    case DICT: return PyDict_New();
    case TUPLE: {
        length = e->field < LEAST_TUPLE ? LEAST_TUPLE : e->field;
        PyObject *made = PyTuple_New((Py_ssize_t)length);
        for (int64_t i = 0; made && i < length; i++) {
            Py_INCREF(Py_None);
            *field_of(made, TUPLE, i) = Py_None;
        }
        return made;
    }
    default:
        if (length < e->field) length = e->field;
        return PyType_GenericAlloc(types[(kind & LEGACY ? 2 : kind & REVIVES ? 1 : 0) + 3 * referred[at]],
                                   (Py_ssize_t)length);
    }
}

static int write_field(const event *e)
{
    PyObject *of = handles[e->slot], *target = e->target < 0 ? NULL : handles[e->target];
    int form = forms[e->slot];
    if (form == DICT) {
        PyObject *key = PyList_GetItem(keys, e->field);
        return key ? PyDict_SetItem(of, key, target ? target : Py_None) : -1;
    }
    PyObject **place = field_of(of, form, e->field), *old = *place;
    if (!target && form == TUPLE) target = Py_None;
    Py_XINCREF(target);
    *place = target;
    Py_XDECREF(old);
    return 0;
}

static void keep(PyObject *root)
{
    roots = longer(roots, root_count, &root_room, sizeof *roots);
    Py_INCREF(root);
    roots[root_count++] = root;
}

static int steer(int64_t size)
{
    static const char *names[] = {"freeze", "unfreeze", "enable", "disable"};
    PyObject *done = NULL;
    if (size < FREEZE) done = PyObject_CallMethod(gc, "collect", "i", (int)size);
    else if (size <= DISABLE) done = PyObject_CallMethod(gc, names[size - FREEZE], NULL);
    else PyErr_Format(PyExc_ValueError, "event %lld steers by %lld", (long long)at, (long long)size);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

static void leave(PyObject *returned)
{
    int64_t first = frames[--frame_count], past = root_count;
    PyObject *lowest = first < past ? roots[first] : NULL;
    root_count = first;
    if (returned) keep(returned);
    Py_XDECREF(lowest);
    for (int64_t i = first + 1; i < past; i++) Py_DECREF(roots[i]);
}

static int counts_of(int64_t *into, int turns) /* an answer's tuple may be a birth of its own: the second's is not */
{
    for (int turn = 0; turn < turns; turn++) {
        PyObject *found = PyObject_CallMethod(gc, "get_count", NULL);
        if (!found) return -1;
        for (int i = 0; i < 3; i++) into[i] = PyLong_AsLongLong(PyTuple_GetItem(found, i));
        Py_DECREF(found);
    }
    return 0;
}

static PyObject *step(PyObject *self, PyObject *nothing)
{
    (void)self, (void)nothing;
    at += born;
    for (born = 0; at < count; at++) {
        const event *e = events + at;
        int failed = 0;
        switch (e->op) {
        case NEW: {
            PyObject *made = birth(e);
            if (!made) return NULL;
            handles[e->slot] = made;
            keep(made);
            Py_DECREF(made);
            born = 1;
            Py_RETURN_TRUE; /* a collection that it brings is counted to this event */
        }
        case WRITE: failed = write_field(e); break;
        case HOLD: keep(handles[e->slot]); break;
        case ROOT: Py_INCREF(handles[e->slot]); break;
        case UNROOT: Py_DECREF(handles[e->slot]); break;
        case PUSH:
            frames = longer(frames, frame_count, &frame_room, sizeof *frames);
            frames[frame_count++] = root_count;
            break;
        case POP: leave(e->slot < 0 ? NULL : handles[e->slot]); break;
        case STEER: failed = steer(e->size); break;
        case REFER: /* a weak one is made at its birth; Python has no others */
            if ((e->size & REFERENCE) == SOFT || (e->size & REFERENCE) == PHANTOM) failed = write_field(e);
            break;
        default: break; /* FREE: nobody tells a collector */
        }
        if (failed) return NULL;
    }
    if (counts_of(counts + 3, 1)) return NULL;
    Py_RETURN_FALSE;
}

static int64_t number(PyObject *info, const char *name) { return PyLong_AsLongLong(PyDict_GetItemString(info, name)); }

static PyObject *told(PyObject *self, PyObject *const *given, Py_ssize_t n)
{
    (void)self, (void)n;
    if (started && !PyUnicode_CompareWithASCIIString(given[0], "stop")) {
        see_cleared(NULL);
        rows = longer(rows, row_count * ROW + ROW, &row_room, sizeof *rows);
        int64_t *row = rows + ROW * row_count++;
        row[0] = at, row[1] = number(given[1], "generation");
        row[2] = number(given[1], "collected"), row[3] = number(given[1], "uncollectable");
    }
    Py_RETURN_NONE;
}


static void *slurp(const char *path, int64_t *bytes)
{
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    fseek(file, 0, SEEK_END);
    *bytes = ftell(file);
    rewind(file);
    void *text = malloc((size_t)*bytes + 1);
    if (text && fread(text, 1, (size_t)*bytes, file) != (size_t)*bytes) text = NULL;
    fclose(file);
    return text;
}

static PyObject *load(PyObject *self, PyObject *given) /* (path of events, slots, most fields) */
{
    const char *path;
    long long slots_, fields;
    int64_t bytes;
    if (!PyArg_ParseTuple(given, "sLL", &path, &slots_, &fields)) return NULL;
    events = slurp(path, &bytes);
    handles = calloc((size_t)slots_ + 1, sizeof *handles);
    forms = calloc((size_t)slots_ + 1, 1);
    if (!events || !handles || !forms) return PyErr_NoMemory();
    count = bytes / (int64_t)sizeof *events;
    find_referred(slots_);
    if (make_types(self)) return NULL;
    PyObject *size = PyObject_GetAttrString((PyObject *)&PyTuple_Type, "__basicsize__");
    gc = PyImport_ImportModule("gc");
    keys = PyList_New(0);
    if (!size || !gc || !keys) return NULL;
    tuple_offset = PyLong_AsLongLong(size);
    for (long long i = 0; i < fields; i++)
        if (PyList_Append(keys, PyLong_FromLongLong(i))) return NULL;
    Py_RETURN_NONE;
}

static int64_t resident(const char *what) /* now: VmRSS; the most since the program began: VmHWM */
{
    char line[256];
    long long found = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, what, strlen(what))) sscanf(line + strlen(what), ": %lld", &found);
    if (file) fclose(file);
    return (int64_t)found << 10;
}

static PyObject *begin(PyObject *self, PyObject *callback)
{
    (void)self;
    PyObject *callbacks = PyObject_GetAttrString(gc, "callbacks");
    if (!callbacks || PyList_Append(callbacks, callback) || counts_of(counts, 2)) return NULL;
    started = 1;
    at_start = resident("VmRSS");
    Py_RETURN_NONE;
}

static PyObject *finish(PyObject *self, PyObject *given) /* (path, objects before the first event, frozen ones) */
{
    (void)self;
    const char *path;
    long long own, frozen;
    int64_t first[3 * ROW] = {0};
    started = 0;
    if (!PyArg_ParseTuple(given, "sLL", &path, &own, &frozen)) return NULL;
    FILE *file = fopen(path, "wb");
    if (!file) return PyErr_SetFromErrno(PyExc_OSError);
    first[0] = own, first[ROW] = at, first[2 * ROW] = at_start, first[2 * ROW + 1] = resident("VmHWM");
    first[2 * ROW + 2] = frozen, first[2 * ROW + 3] = row_count;
    memcpy(first + 1, counts, 3 * sizeof *counts);
    memcpy(first + ROW + 1, counts + 3, 3 * sizeof *counts);
    size_t written = fwrite(first, sizeof *first, 3 * ROW, file);
    written += row_count ? fwrite(rows, sizeof *rows, (size_t)(ROW * row_count), file) : 0;
    written += weak_count ? fwrite(weak_rows, sizeof *weak_rows, (size_t)(ROW * weak_count), file) : 0;
    size_t owed = (size_t)(ROW * (3 + row_count + weak_count));
    if (fclose(file) || written != owed) return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"load", load, METH_VARARGS, NULL}, {"begin", begin, METH_O, NULL},
    {"step", step, METH_NOARGS, NULL}, {"told", (PyCFunction)(void (*)(void))told, METH_FASTCALL, NULL},
    {"heard", heard, METH_O, NULL}, {"finish", finish, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL},
};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "collector", NULL, -1, methods, NULL, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit_collector(void) { return PyModule_Create(&definition); }
