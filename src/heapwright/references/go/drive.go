// Drives the Go runtime with the events of a trace and says what its heap did.
//
//	stdin   int64[PARAMETERS], kinds int64[kinds][2], then orders: int64[2] verb, count,
//	        and the events or pairs of the order
//	stdout  REPLAY    nothing
//	        WATCH  int64 rows, int64[rows][COLUMNS]: one after each collection, one at the end
//	        SIZE   int64[count]: what an allocation of each (size, fields) really takes
//	        STATE  int64[FIGURES+SIZES]; SETTLE the same, after two full collections
//
// Roots are global variables, in arrays as long as roots.go, made by the builder, says: the pacer
// counts their bytes, and so does the driver. Objects of a graph are named by addresses that the
// collector does not see. What this program itself needs is static or mapped, and input is read
// by raw system calls, so that nothing but the trace allocates once it has begun.
package main

import (
	"runtime"
	"runtime/metrics"
	"syscall"
	"unsafe"
)

//go:linkname mallocgc runtime.mallocgc
func mallocgc(size uintptr, typ unsafe.Pointer, zeroed bool) unsafe.Pointer

//go:linkname nanotime runtime.nanotime
func nanotime() int64

// The hook is called when a collection begins, with the world stopped.
//
//go:linkname atCollection sync.runtime_registerPoolCleanup
func atCollection(hook func())

const ( // trace/schema.py
	free, malloc, calloc, realloc, memalign, threadExit = 0, 1, 2, 3, 4, 5
	alloc, write, hold, root, unroot, push, pop         = 6, 7, 8, 9, 10, 11, 12
	written                                             = 16
)
const (
	verbEnd, verbReplay, verbWatch, verbSize, verbState, verbSettle = 0, 1, 2, 3, 4, 5

	paramTouch, paramHuge, paramSlots, paramRoots, paramKinds, parameters = 0, 1, 2, 3, 4, 5

	batchEvents = 1 << 15
	columns     = 12
	pageBytes   = 4096
	wordBytes   = 8

	disableHugePages = 41 // prctl: PR_SET_THP_DISABLE
)

type event struct {
	size                int64
	slot, field, target int32 // field of alloc: row of kinds
	op                  uint8
}

// What the runtime reads of a type: internal/abi.Type.
type abiType struct {
	size, pointerBytes       uintptr
	hash                     uint32
	flags, align, fieldAlign uint8
	kind                     uint8
	equal                    uintptr
	mask                     uintptr
	name, pointerTo          int32
}

type kind struct{ size, fields int64 }

var (
	roots  [globalSlots]unsafe.Pointer // global variables: of a malloc trace, one per slot
	shadow [localSlots]unsafe.Pointer  // locals of all frames
	latest unsafe.Pointer              // nil between two events
	filler []unsafe.Pointer            // fills the runtime's own spans

	top, depth, globals int32 // of shadow, of frames, of roots

	// Mapped, as long as the parameters say.
	objects  []uintptr // by slot, where its object lies
	sizes    []int64   // by slot, bytes that a watched program asked for; 0 when dead
	position []int32   // by slot, which of roots refers to it
	owner    []int32   // by root, the slot
	frames   []int32   // where the locals of each frame begin
	kinds    []kind
	types    []uintptr // by kind, the address of its type; 0 without fields

	batch    [batchEvents]event
	rows     [batchEvents + 1][columns]int64
	settings [parameters]int64

	collections, replayed, nanoseconds, live int64

	stats  runtime.MemStats
	sample = []metrics.Sample{
		{Name: "/gc/heap/goal:bytes"}, {Name: "/gc/heap/live:bytes"},
		{Name: "/gc/scan/globals:bytes"}, {Name: "/gc/scan/stack:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/released:bytes"},
		{Name: "/memory/classes/total:bytes"},
	}
)

func die(why string) {
	print(why)
	syscall.Exit(2)
}

func take(into unsafe.Pointer, bytes uintptr) {
	for bytes > 0 {
		got, _, failed := syscall.RawSyscall(syscall.SYS_READ, 0, uintptr(into), bytes)
		if failed == syscall.EINTR {
			continue
		}
		if failed != 0 || got == 0 {
			syscall.Exit(3) // whoever drives us has gone
		}
		into, bytes = unsafe.Add(into, got), bytes-got
	}
}

func give(from unsafe.Pointer, bytes uintptr) {
	for bytes > 0 {
		sent, _, failed := syscall.RawSyscall(syscall.SYS_WRITE, 1, uintptr(from), bytes)
		if failed == syscall.EINTR {
			continue
		}
		if failed != 0 {
			syscall.Exit(3)
		}
		from, bytes = unsafe.Add(from, sent), bytes-sent
	}
}

// Memory that the collector neither scans nor counts.
func mapped(bytes uintptr) uintptr {
	at, _, failed := syscall.RawSyscall6(syscall.SYS_MMAP, 0, bytes+1,
		syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON, ^uintptr(0), 0)
	if failed != 0 {
		die("there is not enough memory for the tables")
	}
	return at
}

func table[T any](length int64) []T {
	var one T
	return unsafe.Slice((*T)(at(mapped(uintptr(length)*unsafe.Sizeof(one)))), length)
}

// An address as a pointer; of an object, it must be live.
func at(address uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&address)) }

// The type of `size` bytes, a multiple of 8, whose first `fields` words are pointers.
func typeOf(of kind) uintptr {
	if of.fields == 0 {
		return 0
	}
	mask := mapped(uintptr(of.fields)/8 + 2*wordBytes) // is read by whole words
	for i := uintptr(0); i < uintptr(of.fields); i++ {
		*(*uint8)(at(mask + i/8)) |= 1 << (i % 8)
	}
	made := mapped(unsafe.Sizeof(abiType{}))
	*(*abiType)(at(made)) = abiType{
		size: uintptr(of.size), pointerBytes: uintptr(of.fields) * wordBytes,
		align: wordBytes, fieldAlign: wordBytes, kind: 25, mask: mask,
	}
	return made
}

func replay(events []event) {
	for i := range events {
		e := &events[i]
		if e.slot < 0 && e.op < write { // the recorded program was refused, or a thread ended
			continue
		}
		switch e.op {
		case malloc, calloc, realloc, memalign:
			roots[e.slot] = mallocgc(uintptr(e.size), nil, true)
		case free:
			if !graph { // there nothing refers to the object any longer
				roots[e.slot] = nil
			}
		case alloc:
			made := mallocgc(uintptr(e.size), at(types[e.field]), true)
			objects[e.slot] = uintptr(made)
			shadow[top] = made
			top++
		case write:
			var target unsafe.Pointer
			if e.target >= 0 {
				target = at(objects[e.target])
			}
			*(*unsafe.Pointer)(at(objects[e.slot] + uintptr(e.field)*wordBytes)) = target
		case hold:
			shadow[top] = at(objects[e.slot])
			top++
		case root:
			roots[globals] = at(objects[e.slot])
			position[e.slot], owner[globals] = globals, e.slot
			globals++
		case unroot:
			globals--
			hole := position[e.slot]
			roots[hole], roots[globals] = roots[globals], nil
			position[owner[globals]], owner[hole] = hole, owner[globals]
		case push:
			frames[depth] = top
			depth++
		case pop:
			depth--
			for top > frames[depth] {
				top--
				shadow[top] = nil
			}
			if e.slot >= 0 {
				shadow[top] = at(objects[e.slot])
				top++
			}
		}
	}
}

func touch(e *event) {
	var start unsafe.Pointer
	switch e.op {
	case malloc, realloc, memalign:
		if e.slot >= 0 && e.size < settings[paramTouch] {
			start = roots[e.slot]
		}
	case written:
		if e.size <= sizes[e.slot] {
			start = roots[e.slot]
		}
	case alloc:
		start = at(objects[e.slot] + uintptr(kinds[e.field].fields)*wordBytes)
		if kinds[e.field].fields*wordBytes == e.size {
			return
		}
	}
	if start == nil || e.size == 0 {
		return
	}
	past := uintptr(start) + uintptr(e.size)
	if e.op == alloc {
		past -= uintptr(kinds[e.field].fields) * wordBytes
	}
	for page := uintptr(start); page < past; page = page&^(pageBytes-1) + pageBytes {
		*(*uint8)(at(page)) = 1
	}
}

// A row of what the heap is now; reading it stops and flushes nothing.
func look(row *[columns]int64) {
	metrics.Read(sample)
	row[0], row[1], row[2] = replayed, collections, live
	for i := range sample {
		row[3+i] = int64(sample[i].Value.Uint64())
	}
}

func watch(events []event) {
	seen, count := collections, int64(0)
	for i := range events {
		e := &events[i]
		replay(events[i : i+1])
		if e.slot >= 0 && (e.op <= memalign || e.op == alloc) {
			live += e.size - sizes[e.slot]
			sizes[e.slot] = e.size
		}
		if settings[paramTouch] != 0 {
			touch(e)
		}
		if collections != seen {
			seen = collections
			look(&rows[count])
			count++
		}
		replayed++
	}
	look(&rows[count])
	count++
	give(unsafe.Pointer(&count), wordBytes)
	give(unsafe.Pointer(&rows), uintptr(count)*columns*wordBytes)
}

func measure(of kind) int64 {
	made := at(typeOf(of))
	runtime.ReadMemStats(&stats) // begins a new block for tiny objects
	before := stats.TotalAlloc
	latest = mallocgc(uintptr(of.size), made, true)
	latest = nil
	runtime.ReadMemStats(&stats)
	return int64(stats.TotalAlloc - before)
}

func state() {
	runtime.ReadMemStats(&stats)
	now := [...]uint64{
		uint64(nanoseconds), uint64(collections), stats.HeapAlloc, stats.HeapInuse, stats.HeapSys,
		stats.HeapReleased, stats.NextGC, stats.Sys, stats.TotalAlloc, stats.Mallocs, stats.Frees,
		stats.PauseTotalNs,
	}
	give(unsafe.Pointer(&now), unsafe.Sizeof(now))
	for i := range stats.BySize {
		of := [2]uint64{uint64(stats.BySize[i].Size), stats.BySize[i].Mallocs - stats.BySize[i].Frees}
		give(unsafe.Pointer(&of), unsafe.Sizeof(of))
	}
}

func main() {
	take(unsafe.Pointer(&settings), parameters*wordBytes)
	if settings[paramHuge] == 0 {
		syscall.RawSyscall6(syscall.SYS_PRCTL, disableHugePages, 1, 0, 0, 0, 0)
	}
	slotCount, rootCount := settings[paramSlots], settings[paramRoots]
	sizes = table[int64](slotCount)
	objects, position = table[uintptr](slotCount), table[int32](slotCount)
	owner, frames = table[int32](rootCount), table[int32](rootCount)
	kinds, types = table[kind](settings[paramKinds]), table[uintptr](settings[paramKinds])
	take(unsafe.Pointer(unsafe.SliceData(kinds)), uintptr(len(kinds))*unsafe.Sizeof(kind{}))
	for i := range kinds {
		types[i] = typeOf(kinds[i])
	}
	atCollection(func() { collections++ })
	look(&rows[0]) // what these make at their first call
	runtime.ReadMemStats(&stats)
	warmUp()
	fillSpans()
	settle()
	collections = 0
	for {
		var order [2]int64
		take(unsafe.Pointer(&order), unsafe.Sizeof(order))
		verb, count := order[0], order[1]
		if count < 0 || count > batchEvents {
			die("a batch is too long")
		}
		switch verb {
		case verbEnd:
			syscall.Exit(0)
		case verbReplay, verbWatch:
			take(unsafe.Pointer(&batch), uintptr(count)*unsafe.Sizeof(event{}))
			if verb == verbWatch {
				watch(batch[:count])
				continue
			}
			started := nanotime()
			replay(batch[:count])
			nanoseconds += nanotime() - started
			replayed += count
		case verbSize:
			for ; count > 0; count-- {
				var of kind
				take(unsafe.Pointer(&of), unsafe.Sizeof(of))
				bytes := measure(of)
				give(unsafe.Pointer(&bytes), wordBytes)
			}
		case verbSettle:
			settle()
			state()
		case verbState:
			state()
		}
	}
}
