/* Weak references, for collector.c: objects of a subclass of weakref.ref, which no two share. Each has
 * fields of its own behind what the interpreter keeps of it. What was cleared is seen at the death of its
 * target, else when the collection is over; what is about to be collected then is gone. */
#define MOST_FIELDS 8 /* of a weak reference */
typedef struct { PyObject *fields[MOST_FIELDS]; int64_t slot, place, seen; } extra; /* behind a weak reference */

static PyTypeObject *ref_type, *ref_base;
static int64_t ref_bytes, declared_count, declared_room, *weak_rows, weak_count, weak_room;
static PyObject **declared, *hearing, *asked; /* live weak references; the callback; arguments */
static uint8_t *referred; /* of each event: a NEW to which a weak reference is made */

static void object_dealloc(PyObject *self);

static extra *extra_of(PyObject *ref) { return (extra *)((char *)ref + ref_bytes); }

static PyObject *referent(PyObject *ref) { return *(PyObject **)((char *)ref + sizeof(PyObject)); } /* wr_object */

static void weakly(int64_t called, int64_t slot)
{
    if (!started) return;
    weak_rows = longer(weak_rows, weak_count * ROW + ROW, &weak_room, sizeof *weak_rows);
    int64_t *row = weak_rows + ROW * weak_count++;
    row[0] = at, row[1] = called, row[2] = slot, row[3] = 0;
}

static void see_cleared(PyObject *of) /* of what is about to be freed; NULL: of what was cleared by now */
{
    for (int64_t i = 0; i < declared_count; i++) {
        extra *of_ref = extra_of(declared[i]);
        if (of_ref->seen || referent(declared[i]) != (of ? of : Py_None)) continue;
        of_ref->seen = 1;
        weakly(0, of_ref->slot);
    }
}

static PyObject *heard(PyObject *self, PyObject *ref)
{
    (void)self;
    weakly(1, extra_of(ref)->slot);
    Py_RETURN_NONE;
}

static int ref_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    for (int i = 0; i < MOST_FIELDS; i++) Py_VISIT(extra_of(self)->fields[i]);
    return ((traverseproc)PyType_GetSlot(ref_base, Py_tp_traverse))(self, visit, arg);
}

static int ref_clear(PyObject *self)
{
    for (int i = 0; i < MOST_FIELDS; i++) Py_CLEAR(extra_of(self)->fields[i]);
    return ((inquiry)PyType_GetSlot(ref_base, Py_tp_clear))(self);
}

static int make_ref_type(PyObject *module)
{
    PyObject *weakref = PyImport_ImportModule("_weakref");
    ref_base = weakref ? (PyTypeObject *)PyObject_GetAttrString(weakref, "ReferenceType") : NULL;
    PyObject *size = ref_base ? PyObject_GetAttrString((PyObject *)ref_base, "__basicsize__") : NULL;
    hearing = PyObject_GetAttrString(module, "heard");
    asked = PyTuple_New(2);
    if (!size || !hearing || !asked) return -1;
    ref_bytes = PyLong_AsLongLong(size);
    PyType_Slot given[] = {{Py_tp_dealloc, object_dealloc}, {Py_tp_traverse, ref_traverse},
                           {Py_tp_clear, ref_clear}, {0, NULL}};
    PyType_Spec spec = {"collector.weak", (int)(ref_bytes + sizeof(extra)), 0,
                        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, given};
    ref_type = (PyTypeObject *)PyType_FromSpecWithBases(&spec, (PyObject *)ref_base);
    return ref_type ? 0 : -1;
}

static PyObject *weak_birth(const event *e, const event *declaration)
{
    PyObject *target = handles[declaration->target], *callback = declaration->size & CALLBACK ? hearing : Py_None;
    if (!first_of(target) || e->field > MOST_FIELDS) {
        PyErr_Format(PyExc_ValueError, "event %lld: Python has no weak references to such an object%s",
                     (long long)at, e->field > MOST_FIELDS ? ", or with so many fields" : "");
        return NULL;
    }
    Py_INCREF(target), Py_INCREF(callback);
    if (PyTuple_SetItem(asked, 0, target) || PyTuple_SetItem(asked, 1, callback)) return NULL;
    PyObject *made = ((newfunc)PyType_GetSlot(ref_base, Py_tp_new))(ref_type, asked, NULL);
    Py_INCREF(Py_None);
    PyTuple_SetItem(asked, 0, Py_None);
    if (!made) return NULL;
    declared = longer(declared, declared_count, &declared_room, sizeof *declared);
    extra_of(made)->slot = e->slot, extra_of(made)->place = declared_count;
    declared[declared_count++] = made;
    return made;
}

static void find_referred(int64_t slots)
{
    int64_t *born_at = calloc((size_t)slots + 1, sizeof *born_at);
    referred = calloc((size_t)count + 1, 1);
    if (!born_at || !referred) Py_FatalError("no memory");
    for (int64_t i = 0; i < count; i++) {
        const event *e = events + i;
        if (e->op == NEW) born_at[e->slot] = i;
        if (e->op == REFER && (e->size & REFERENCE) == WEAK) referred[born_at[e->target]] = 1;
    }
    free(born_at);
}
