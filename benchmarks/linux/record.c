// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* A module that writes down what a Linux 6.1's allocators hold and what they answer to scripts.

     echo "snap w0" > /proc/twin        every list of the node's frames, in its order
     echo "slabs w0" > /proc/twin       every cache's slabs and their free objects
     echo "pages COUNT SEED ORDER PERCENT"   "slab SIZE ALIGN COUNT SEED"   "geom"   "vm COUNT SEED"
     cat /proc/twin                     what was told; of an emulated machine: echo flush > /proc/twin

   Scripts run with interrupts off, so that nothing else comes between; one processor is assumed.
   What the lines mean stands where they are read: src/heapwright/linux/recorded/. */
#include <linux/fs.h>
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

/* What a slab's first frame says, under this name in no header that a module may include. */
struct slab {
	unsigned long flags;
	struct list_head list; /* in a processor's partial slabs: the next one, how many follow */
	struct kmem_cache *cache;
	void *freelist;
	struct {
		unsigned inuse : 16, objects : 15, frozen : 1;
	};
};
#define slab_address(slab) page_address((struct page *)(slab))
#include <linux/slub_def.h>

struct kmem_cache_node { /* the head of the real one */
	spinlock_t lock;
	unsigned long partials;
	struct list_head partial;
};

enum { ROOM = 24 << 20, LIVE = 16384, PORT = 0xe9, AREAS = 256 };

static char *told;
static size_t length;
static struct kmem_cache *anchor;
static u32 state;

static __printf(1, 2) void tell(const char *format, ...)
{
	va_list rest;

	va_start(rest, format);
	length += vscnprintf(told + length, ROOM - length, format, rest);
	va_end(rest);
}

static u32 below(u32 most)
{
	state = state * 1664525u + 1013904223u;
	return (state >> 8) % most;
}

/* Out of an emulated machine by its debug port, which QEMU writes to a file. */
static void out(const char *bytes, size_t count)
{
#ifndef CONFIG_UML
	size_t at;

	for (at = 0; at < count; at += 4096)
		outsb(PORT, bytes + at, min_t(size_t, 4096, count - at));
#endif
}

static int block_kind(struct zone *zone, unsigned long frame)
{
	unsigned long base = round_down(zone->zone_start_pfn, pageblock_nr_pages), *flags;
	int bit, kind = 0, first;

#ifdef CONFIG_SPARSEMEM
	flags = __pfn_to_section(frame)->usage->pageblock_flags;
	base = round_down(frame, PAGES_PER_SECTION);
#else
	flags = zone->pageblock_flags;
#endif
	first = ((frame - base) >> pageblock_order) * NR_PAGEBLOCK_BITS;
	for (bit = 0; bit < 3; bit++)
		kind |= test_bit(first + bit, flags) << bit;
	return kind;
}

static bool can_move(unsigned long frame)
{
	return pfn_valid(frame) &&
	       (PageLRU(pfn_to_page(frame)) || __PageMovable(pfn_to_page(frame)));
}

static void tell_marks(struct zone *zone, int index)
{
	int i;

	tell("Z %d %s start %lu spanned %lu present %lu managed %lu wm %lu %lu %lu boost %lu free %ld",
	     index, zone->name, zone->zone_start_pfn, zone->spanned_pages, zone->present_pages,
	     zone_managed_pages(zone), zone->_watermark[0], zone->_watermark[1],
	     zone->_watermark[2], zone->watermark_boost, (long)zone_page_state(zone, NR_FREE_PAGES));
	tell(" reserve");
	for (i = 0; i < MAX_NR_ZONES; i++)
		tell(" %ld", zone->lowmem_reserve[i]);
	tell(" highatomic %lu flags %lx", zone->nr_reserved_highatomic, zone->flags);
#ifdef CONFIG_SMP
	{
		struct per_cpu_zonestat *own = this_cpu_ptr(zone->per_cpu_zonestats);

		tell(" diff %d thr %d", own->vm_stat_diff[NR_FREE_PAGES], own->stat_threshold);
	}
#endif
	tell("\n");
}

static void tell_blocks(struct zone *zone, int index)
{
	unsigned long frame;
	int run;

	tell("M %d", index);
	for (frame = zone->zone_start_pfn; frame < zone_end_pfn(zone); frame += run + 1) {
		for (run = 0; frame + run < zone_end_pfn(zone) && can_move(frame + run);)
			run++;
		if (run)
			tell(" %lu+%d", frame, run);
	}
	tell("\nB %d", index);
	for (frame = round_down(zone->zone_start_pfn, pageblock_nr_pages);
	     frame < zone_end_pfn(zone); frame += pageblock_nr_pages)
		tell(" %d", pfn_valid(frame) ? block_kind(zone, frame) : -1);
	tell("\n");
}

static void tell_lists(struct zone *zone, int index)
{
	struct per_cpu_pages *own = this_cpu_ptr(zone->per_cpu_pageset);
	struct page *page;
	int order, kind;

	for (order = 0; order < MAX_ORDER; order++)
		for (kind = 0; kind < MIGRATE_TYPES; kind++) {
			struct list_head *list = &zone->free_area[order].free_list[kind];

			if (list_empty(list))
				continue;
			tell("F %d %d %d", index, order, kind);
			list_for_each_entry(page, list, buddy_list)
				tell(" %lu", page_to_pfn(page));
			tell("\n");
		}
	tell("C %d count %d high %d batch %d factor %d\n", index, own->count, own->high, own->batch,
	     own->free_factor);
	for (kind = 0; kind < NR_PCP_LISTS; kind++) {
		if (list_empty(&own->lists[kind]))
			continue;
		tell("L %d %d", index, kind);
		list_for_each_entry(page, &own->lists[kind], pcp_list)
			tell(" %lu:%lu", page_to_pfn(page), page->index);
		tell("\n");
	}
}

static void snap(const char *label)
{
	unsigned long flags;
	int index;

	local_irq_save(flags);
	__trace_puts(_THIS_IP_, label, strlen(label)); /* where in the trace this was */
	tell("SNAP %s pbo %d maxorder %d npcp %d types %d pcptypes %d normal %d\n", label,
	     pageblock_order, MAX_ORDER, NR_PCP_LISTS, MIGRATE_TYPES, MIGRATE_PCPTYPES, ZONE_NORMAL);
	for (index = 0; index < MAX_NR_ZONES; index++) {
		struct zone *zone = &NODE_DATA(0)->node_zones[index];

		if (!populated_zone(zone))
			continue;
		tell_marks(zone, index);
		tell_blocks(zone, index);
		tell_lists(zone, index);
	}
	tell("ENDSNAP %s\n", label);
	local_irq_restore(flags);
}

static struct {
	struct page *page;
	int order;
} taken[LIVE];

static void give(int which)
{
	tell("R %lu %d\n", page_to_pfn(taken[which].page), taken[which].order);
	__free_pages(taken[which].page, taken[which].order);
}

/* A: order, kind, frame or -1; R: frame, order. It grows to `percent` of memory, then shrinks. */
static void pages(int count, u32 seed, int most, int percent)
{
	static const gfp_t kinds[3] = { 0, __GFP_MOVABLE, __GFP_RECLAIMABLE };
	unsigned long flags, held = 0, cap = totalram_pages() / 100 * percent;
	int live = 0, grows = 1, i;

	state = seed;
	local_irq_save(flags);
	snap("pages-before");
	for (i = 0; i < count; i++) {
		if (live == LIVE || held > cap)
			grows = 0;
		if (live < 8)
			grows = 1;
		if (below(10) < (grows ? 7 : 3) && live < LIVE) {
			u32 draw = below(1000);
			int order = draw < 700 ? 0 : draw < 960 ? 1 + below(3) : 4 + below(most - 3);
			int kind = below(3);
			struct page *page = alloc_pages(GFP_NOWAIT | __GFP_NOWARN | kinds[kind], order);

			tell("A %d %d %ld\n", order, kind, page ? (long)page_to_pfn(page) : -1);
			if (!page)
				continue;
			taken[live].page = page;
			taken[live++].order = order;
			held += 1 << order;
		} else if (live) {
			int which = below(live);

			held -= 1 << taken[which].order;
			give(which);
			taken[which] = taken[--live];
		}
	}
	snap("pages-mid");
	while (live)
		give(--live);
	snap("pages-after");
	local_irq_restore(flags);
}

static void tell_cache(struct kmem_cache *cache)
{
	unsigned usual = cache->oo.x, least = cache->min.x;

	tell("K name %s size %u object_size %u offset %u inuse %u align %u order %u objs %u", cache->name,
	     cache->size, cache->object_size, cache->offset, cache->inuse, cache->align, usual >> 16,
	     usual & 0xffff);
	tell(" minorder %u minobjs %u min_partial %lu flags %lx refcount %d red %u", least >> 16,
	     least & 0xffff, cache->min_partial, (long)cache->flags, cache->refcount,
	     cache->red_left_pad);
#ifdef CONFIG_SLUB_CPU_PARTIAL
	tell(" cpu_partial %u cpu_partial_slabs %u", cache->cpu_partial, cache->cpu_partial_slabs);
#endif
#ifdef CONFIG_SLAB_FREELIST_RANDOM
	if (cache->random_seq) {
		unsigned i;

		tell(" seq");
		for (i = 0; i < (usual & 0xffff); i++)
			tell(" %u", cache->random_seq[i] / cache->size);
	}
#endif
	tell("\n");
}

static void *after(struct kmem_cache *cache, void *object)
{
	unsigned long at = (unsigned long)object + cache->offset, link = *(unsigned long *)at;

#ifdef CONFIG_SLAB_FREELIST_HARDENED
	link ^= cache->random ^ swab(at);
#endif
	return (void *)link;
}

/* First frame, objects, in use, frozen, slabs from here on: free objects by number, first first. */
static void tell_slab(struct kmem_cache *cache, struct slab *slab, char kind, void *free)
{
	int more = kind == 'p' ? (int)(long)slab->list.prev : 0, count;

	tell("%c %lu %d %d %d %d :", kind, page_to_pfn((struct page *)slab), slab->objects, slab->inuse,
	     slab->frozen, more);
	for (count = 0; free && count < 4096; count++, free = after(cache, free))
		tell(" %ld", (free - slab_address(slab)) / cache->size);
	tell("\n");
}

static void tell_slabs_of(struct kmem_cache *cache)
{
	struct kmem_cache_cpu *own = this_cpu_ptr(cache->cpu_slab);
	struct slab *slab;

	tell_cache(cache);
	tell("k %lx\n", (unsigned long)cache);
	if (own->slab)
		tell_slab(cache, own->slab, 'c', own->freelist);
	if (own->slab && own->slab->freelist)
		tell_slab(cache, own->slab, 'C', own->slab->freelist);
#ifdef CONFIG_SLUB_CPU_PARTIAL
	for (slab = own->partial; slab; slab = (struct slab *)slab->list.next)
		tell_slab(cache, slab, 'p', slab->freelist);
#endif
	list_for_each_entry(slab, &cache->node[0]->partial, list)
		tell_slab(cache, slab, 'n', slab->freelist);
}

static void slabs(const char *label)
{
	struct list_head *link = &anchor->list;
	unsigned long flags, frame;
	char mark[40];

	snprintf(mark, sizeof(mark), "slabs-%s", label);
	local_irq_save(flags);
	__trace_puts(_THIS_IP_, mark, strlen(mark));
	tell("SLABS %s\n", label);
	do { /* all caches are in one list, whose head lies in the kernel's image and in no slab */
		if (PageSlab(compound_head(virt_to_page(link))))
			tell_slabs_of(list_entry(link, struct kmem_cache, list));
		link = link->next;
	} while (link != &anchor->list);
	tell("O");
	for (frame = NODE_DATA(0)->node_start_pfn; frame < pgdat_end_pfn(NODE_DATA(0)); frame++) {
		struct page *page = pfn_valid(frame) ? pfn_to_page(frame) : NULL;

		if (page && PageSlab(page) && !PageTail(page))
			tell(" %lu:%lx", frame, (unsigned long)((struct slab *)page)->cache);
	}
	tell("\nENDSLABS %s\n", label);
	local_irq_restore(flags);
}

#include "scripts.h"
