/* A CUDA driver and runtime without a GPU, as far as PyTorch's caching allocator asks them.
 *
 * Device memory is a line of numbers: areas follow each other and none comes again. NOTHING_BYTES of
 * it may be held at once; reserved address space is another line, in whole GiB. Built twice: with
 * -DRUNTIME as libcudart.so.12, without as libcuda.so.1, which is looked for only if it is loaded.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef int status;
enum { GOOD, BAD, OUT_OF_MEMORY, UNIT = 2 << 20, GIB = 1 << 30, MOST_AREAS = 1 << 16 };
static uint64_t held;
static uint64_t capacity(void) { return strtoull(getenv("NOTHING_BYTES"), 0, 10); }
#define REFUSED(name) status name(void) { return BAD; }
#define GRANTED(name) status name(void) { return GOOD; }

#ifdef RUNTIME
static struct { uint64_t at, bytes; } area[MOST_AREAS];
static uint64_t next = 0x700000000000;
static int areas, last_error;

status cudaMalloc(void **at, size_t bytes) {
    if (held + bytes > capacity() || areas == MOST_AREAS) return last_error = OUT_OF_MEMORY;
    *at = (void *)next, area[areas].at = next, area[areas++].bytes = bytes;
    held += bytes, next += (bytes + UNIT - 1) / UNIT * UNIT;
    return GOOD;
}
status cudaFree(void *at) {
    for (int i = 0; i < areas; i++)
        if (area[i].at == (uint64_t)at) {
            held -= area[i].bytes, area[i] = area[--areas];
            return GOOD;
        }
    return at ? BAD : GOOD;
}
status cudaMemGetInfo(size_t *free, size_t *total) {
    *free = capacity() - held, *total = capacity();
    return GOOD;
}
status cudaGetDeviceProperties_v2(char *properties, int device) {
    memset(properties, 0, 1032); /* of CUDA 12.4 */
    strcpy(properties, "no device");
    memcpy(properties + 288, &(uint64_t){capacity()}, 8); /* totalGlobalMem */
    return GOOD;
}
status cudaGetDevice(int *device) { *device = 0; return GOOD; }
status cudaSetDevice(int device) { return GOOD; }
status cudaGetDeviceCount(int *count) { *count = 1; return GOOD; }
status cudaDriverGetVersion(int *version) { *version = 12040; return GOOD; }
status cudaGetLastError(void) { status e = last_error; last_error = GOOD; return e; }
const char *cudaGetErrorString(status e) { return e == OUT_OF_MEMORY ? "out of memory" : "error"; }
status cudaEventCreateWithFlags(void **event, unsigned flags) { *event = malloc(1); return GOOD; }
status cudaEventDestroy(void *event) { free(event); return GOOD; }
status cudaEventElapsedTime(float *ms, void *a, void *b) { *ms = 0; return GOOD; }
status cudaStreamIsCapturing(void *stream, int *state) { *state = 0; return GOOD; }
status cudaDeviceGetStreamPriorityRange(int *least, int *most) { *least = *most = 0; return GOOD; }
status cudaStreamCreateWithPriority(void **stream, unsigned flags, int priority) {
    static uintptr_t number;
    *stream = (void *)(number += 4096);
    return GOOD;
}
GRANTED(cudaEventRecord) GRANTED(cudaEventQuery) GRANTED(cudaEventSynchronize) GRANTED(cudaStreamQuery)
GRANTED(cudaStreamSynchronize) GRANTED(cudaStreamWaitEvent) GRANTED(cudaDeviceSynchronize)
GRANTED(cudaThreadExchangeStreamCaptureMode)
REFUSED(cudaDeviceEnablePeerAccess) REFUSED(cudaDeviceGetDefaultMemPool) REFUSED(cudaFreeAsync)
REFUSED(cudaIpcCloseMemHandle) REFUSED(cudaIpcGetMemHandle) REFUSED(cudaIpcOpenMemHandle)
REFUSED(cudaMallocAsync) REFUSED(cudaMemPoolGetAttribute) REFUSED(cudaMemPoolSetAccess)
REFUSED(cudaMemPoolSetAttribute) REFUSED(cudaMemPoolTrimTo) REFUSED(cudaMemcpy)
REFUSED(cudaMemcpyAsync) REFUSED(cudaMemcpyPeerAsync)
#else
static uint64_t next = 0x600000000000, bytes_of[MOST_AREAS], handles;

status cuMemAddressReserve(uint64_t *at, size_t bytes, size_t align, uint64_t hint, uint64_t flags) {
    *at = next, next += (bytes + GIB - 1) / GIB * GIB;
    return GOOD;
}
status cuMemCreate(uint64_t *handle, size_t bytes, const void *kind, uint64_t flags) {
    if (held + bytes > capacity()) return OUT_OF_MEMORY;
    held += bytes, *handle = ++handles, bytes_of[handles % MOST_AREAS] = bytes;
    return GOOD;
}
status cuMemRelease(uint64_t handle) { held -= bytes_of[handle % MOST_AREAS]; return GOOD; }
status cuGetErrorString(status e, const char **text) { *text = "error"; return GOOD; }
status cuDeviceGetAttribute(int *value, int attribute, int device) { *value = 1; return GOOD; }
status cuMemGetAllocationGranularity(size_t *bytes, const void *kind, int option) { *bytes = UNIT; return GOOD; }
GRANTED(cuMemAddressFree) GRANTED(cuMemMap) GRANTED(cuMemUnmap) GRANTED(cuMemSetAccess)
REFUSED(cuMemExportToShareableHandle) REFUSED(cuMemImportFromShareableHandle)
REFUSED(cuMemsetD32Async) REFUSED(cuStreamWriteValue32) REFUSED(cuMulticastAddDevice)
REFUSED(cuMulticastBindMem) REFUSED(cuMulticastCreate)
#endif
