"""Doug Lea's malloc 2.8.6, of which Android's heaps and WebAssembly's are made: one space's parts.

chunk     a space's words, and the heads and feet of its chunks
bins      free chunks: lists of one size below 256 bytes, bitwise trees above
system    memory from the system at the space's end, and back
requests  malloc, free, realloc, memalign
checking  what must hold of a space
"""
