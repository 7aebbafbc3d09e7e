/* What ngx_slab.c wants of nginx's core: locks that are as large as nginx's with POSIX semaphores and
 * do nothing, and a log that is a number. */
#ifndef SHIM_CORE
#define SHIM_CORE
#include <ngx_config.h>

typedef struct { uint64_t lock, wait; } ngx_shmtx_sh_t;
typedef struct { uint64_t lock, wait, semaphore, sem[4], spin; } ngx_shmtx_t;
typedef struct { void *log; } ngx_cycle_t;

extern long errors_logged;
extern ngx_uint_t ngx_pagesize, ngx_pagesize_shift;
extern ngx_cycle_t *ngx_cycle;
void ngx_debug_point(void);

#define ngx_shmtx_lock(mutex)
#define ngx_shmtx_unlock(mutex)
#define ngx_memzero(at, bytes) memset(at, 0, bytes)
#define ngx_memset(at, byte, bytes) memset(at, byte, bytes)
#define ngx_align_ptr(at, to) ((u_char *)(((uintptr_t)(at) + (to) - 1) & ~((uintptr_t)(to) - 1)))
#define NGX_LOG_ALERT 2
#define NGX_LOG_CRIT 3
#define NGX_LOG_DEBUG_ALLOC 0x20
#define ngx_log_error(level, log, number, ...) (errors_logged++)
#define ngx_log_debug0(...)
#define ngx_log_debug1(...)
#define ngx_log_debug2(...)
#define ngx_log_debug3(...)
#include <ngx_slab.h>
#endif
