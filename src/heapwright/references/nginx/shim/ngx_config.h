/* What ngx_slab.c wants of nginx's configuration, on Linux with 64 bits. */
#ifndef SHIM_CONFIG
#define SHIM_CONFIG
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef intptr_t ngx_int_t;
typedef uintptr_t ngx_uint_t;
typedef unsigned char u_char;
#define NGX_PTR_SIZE 8
#define ngx_inline inline
#endif
