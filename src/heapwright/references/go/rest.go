// Brings the Go runtime to rest before the trace begins: what it would make at some time or other
// for itself is made now, and lies in spans of its own.
package main

import (
	"runtime"
	"runtime/metrics"
	"unsafe"
)

const (
	threads = 4
	timers  = 3 // and one of the scavenger's
	never   = 1 << 62

	largestClass = 32 << 10
	headless     = 512
	tinyBytes    = 16
	classLimit   = 100
	fillers      = 6 << 10
)

//go:linkname newTimer time.newTimer
func newTimer(at, period int64, act func(any, uintptr, int64), with any, on unsafe.Pointer) unsafe.Pointer

// Have the runtime make now what it would make at some time or other.
func warmUp() {
	for i := 0; i < timers; i++ { // room for its own: the table of timers grows by doubling
		newTimer(never, 0, func(any, uintptr, int64) {}, nil, nil)
	}
	gate, done := make(chan bool), make(chan bool)
	for i := 0; i < threads; i++ {
		go func() {
			runtime.LockOSThread() // while it waits, others need another thread
			<-gate
			runtime.UnlockOSThread()
			done <- true
		}()
	}
	runtime.Gosched()
	close(gate)
	for i := 0; i < threads; i++ {
		<-done
	}
}

// Fill what is free in the runtime's own spans, so that the program's objects lie in spans of
// their own: allocate of each kind until that takes a new span, and drop that last one. Of 8 bytes
// without references there is no kind: they would share blocks of 16, which have their turn.
func fillSpans() {
	var classes [classLimit]uintptr // in bytes, less the header that an object with pointers has
	count, size := 0, 1
	for ; size <= largestClass && count < classLimit; count++ {
		size = cap(append([]byte(nil), make([]byte, size)...))
		classes[count] = uintptr(size)
		if size > headless {
			classes[count] -= wordBytes
		}
		size++
	}
	filler = make([]unsafe.Pointer, 0, fillers)
	settle()
	for _, asked := range classes[:count] {
		for _, typ := range [...]uintptr{0, typeOf(kind{int64(asked), 1})} {
			for typ != 0 || asked >= tinyBytes {
				before := inUse()
				latest = mallocgc(asked, at(typ), true)
				if inUse() != before || len(filler) == fillers {
					break
				}
				filler = append(filler, latest)
			}
		}
	}
	latest = nil
}

func inUse() uint64 {
	metrics.Read(sample)
	return sample[4].Value.Uint64() + sample[5].Value.Uint64()
}

func settle() {
	runtime.GC()
	runtime.GC()
}
