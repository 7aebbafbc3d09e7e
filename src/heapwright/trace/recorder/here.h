/* A Python that records itself for a while, once and again: it loads this library, and calls these by the
 * thread that has the interpreter's lock. Included by recorder.c.
 *
 *   heapwright_attach(FOLDER) ─► heapwright_python_begin() ─► a cell, a test ─► heapwright_python_end()
 *                                                                           ─► heapwright_detach()
 *
 * Between    what malloc serves is recorded a moment longer than what Python's own allocator serves
 * Again      Python's tables are made anew in the room of the earlier ones; a thread that still reads one,
 *            outside the interpreter's lock, finds it empty
 * Wrapped    where someone has set hooks over ours meanwhile, ours stay below them, and pass requests on */
__attribute__((visibility("default"))) int heapwright_python_begin(void) {
    rooms.given = 0;
    python.nodes = python.code_count = python.full = 0;
    python.lead_count = python.code_entries = 0;
    python.generation++;
    memset(python.seen, 0, sizeof python.seen);
    pools.count = pools.bytes = 0;
    memset(pools.large, 0, sizeof pools.large);
    python_begin();
    return python.on;
}

__attribute__((visibility("default"))) void heapwright_python_end(void) {
    if (!python.on) return;
    for (int i = 0; i < 3; i++) {
        python_allocator now;
        PyMem_GetAllocator(i, &now);
        if (now.malloc != python_hooks[i].malloc) continue;
        PyMem_SetAllocator(i, cpython.domain + i);
        hooked.domain[i] = 0;
    }
    python_arenas now;
    PyObject_GetArenaAllocator(&now);
    if (now.alloc == arena_made) PyObject_SetArenaAllocator(&cpython.arenas), hooked.arenas = 0;
    python.on = hooked.arenas || hooked.domain[0] || hooked.domain[1] || hooked.domain[2];
}
