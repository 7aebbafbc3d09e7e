#!/bin/sh
# memblock.sh SOURCE OUT.so   mm/memblock.c of a kernel's source as a shared library, by the headers of
# its own tests (tools/testing/memblock), with doors by which it is reset, asked and listed.
set -e
source=$(realpath "$1"); work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
tests=$work/tools/testing/memblock; mkdir -p "$work/tools/testing"
cp -r "$source/tools/testing/memblock" "$tests"
for each in include arch lib; do
	ln -s "$source/tools/$each" "$work/tools/$each"; ln -s "$source/$each" "$work/$each"
done
rm -f "$tests/memblock.c" "$tests/linux/memblock.h" "$tests/asm/asm.h" "$tests/asm/cmpxchg.h"
cp "$source/mm/memblock.c" "$tests/"; cp "$source/include/linux/memblock.h" "$tests/linux/"
cp "$source/tools/arch/x86/include/asm/asm.h" "$source/tools/arch/x86/include/asm/cmpxchg.h" "$tests/asm/"
cat > "$tests/internal.h" <<'X'
#ifndef _MM_INTERNAL_H
#define _MM_INTERNAL_H
#include <stdbool.h>
#define pr_warn_ratelimited(format, ...) do {} while (0)
struct page {};
bool mirrored_kernelcore = false;
void (*twin_free_pages)(unsigned long frame, unsigned int order); /* told of every hand-over */
void memblock_free_pages(struct page *page, unsigned long frame, unsigned int order)
{
	if (twin_free_pages)
		twin_free_pages(frame, order);
}
#endif
X
cat > "$tests/around.c" <<'X'
#include <stdlib.h>
#include <linux/mmzone.h>
#include <linux/slab.h>
bool movable_node_enabled;
bool slab_is_available(void) { return false; }
struct pglist_data *first_online_pgdat(void) { return 0; }
struct pglist_data *next_online_pgdat(struct pglist_data *node) { return 0; }
void reserve_bootmem_region(phys_addr_t start, phys_addr_t end) {}
void atomic_long_set(atomic_long_t *value, long to) {}
void *kmalloc(size_t size, gfp_t flags) { return malloc(size); }
void kfree(void *object) { free(object); }
X
cat >> "$tests/memblock.c" <<'X'
phys_addr_t twin_find(phys_addr_t start, phys_addr_t end, phys_addr_t size, phys_addr_t align)
{
	return memblock_find_in_range(start, end, size, align);
}
int twin_dump(int reserved, unsigned long *rows, int most)
{
	struct memblock_type *type = reserved ? &memblock.reserved : &memblock.memory;
	for (int i = 0; i < type->cnt && i < most; i++) {
		rows[3 * i] = type->regions[i].base;
		rows[3 * i + 1] = type->regions[i].size;
		rows[3 * i + 2] = type->regions[i].flags;
	}
	return type->cnt;
}
static void twin_clear(struct memblock_type *type, struct memblock_region *regions, int most)
{
	memset(regions, 0, most * sizeof(*regions));
	type->regions = regions;
	type->cnt = 1;
	type->max = most;
	type->total_size = 0;
}
void twin_reset(int bottom_up)
{
	twin_clear(&memblock.memory, memblock_memory_init_regions, INIT_MEMBLOCK_MEMORY_REGIONS);
	twin_clear(&memblock.reserved, memblock_reserved_init_regions, INIT_MEMBLOCK_RESERVED_REGIONS);
	memblock.bottom_up = bottom_up;
	memblock.current_limit = MEMBLOCK_ALLOC_ANYWHERE;
}
X
cd "$tests"
${CC:-gcc} -shared -fPIC -O1 -w -I. -I../../include -DCONFIG_PHYS_ADDR_T_64BIT -o out.so memblock.c around.c
cp out.so "$2"
