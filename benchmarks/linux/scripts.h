// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* The rest of record.c: scripts of objects, layouts and areas, and the file by which they are run. */

static void *objects[LIVE];

static void drop(struct kmem_cache *cache, void *object)
{
	tell("f %lx\n", (unsigned long)object - PAGE_OFFSET);
	kmem_cache_free(cache, object);
}

/* a, f: an object's place in the direct map, of a cache that only this script uses. */
static void script_slab(unsigned size, unsigned align, int count, u32 seed)
{
	int live = 0, grows = 1, i, most;
	struct kmem_cache *cache;
	unsigned long flags;
	char name[32];

	snprintf(name, sizeof(name), "tw_%u_%u_%u", size, align, seed);
	cache = kmem_cache_create(kstrdup(name, GFP_KERNEL), size, align, 0, NULL);
	if (!cache) {
		tell("K fail\n");
		return;
	}
	tell_cache(cache);
	most = min_t(int, LIVE, 40 * (int)(cache->oo.x & 0xffff));
	state = seed;
	local_irq_save(flags);
	snap("slab-before");
	for (i = 0; i < count; i++) {
		if (live == most)
			grows = 0;
		if (live < 2)
			grows = 1;
		if (below(10) < (grows ? 7 : 3) && live < LIVE) {
			void *object = kmem_cache_alloc(cache, GFP_NOWAIT);

			tell("a %lx\n", object ? (unsigned long)object - PAGE_OFFSET : -1L);
			if (object)
				objects[live++] = object;
		} else if (live) {
			int which = below(live);

			drop(cache, objects[which]);
			objects[which] = objects[--live];
		}
	}
	while (live)
		drop(cache, objects[--live]);
	snap("slab-after");
	local_irq_restore(flags);
	kmem_cache_destroy(cache);
	tell("ENDK\n");
}

static void tell_layout(unsigned size, unsigned align)
{
	struct kmem_cache *cache;
	char name[32];

	snprintf(name, sizeof(name), "g_%u_%u", size, align);
	cache = kmem_cache_create(name, size, align, 0, NULL);
	if (!cache)
		return;
	tell("G %u %u size %u inuse %u offset %u align %u order %u objs %u minpart %lu", size, align,
	     cache->size, cache->inuse, cache->offset, cache->align, cache->oo.x >> 16,
	     cache->oo.x & 0xffff, cache->min_partial);
#ifdef CONFIG_SLUB_CPU_PARTIAL
	tell(" cp %u cps %u", cache->cpu_partial, cache->cpu_partial_slabs);
#endif
	tell("\n");
	kmem_cache_destroy(cache);
}

/* The layout of caches of many sizes, and where kmalloc's room changes. */
static void layouts(void)
{
	static const unsigned aligns[] = { 0, 8, 16, 64 };
	unsigned size, i, room, last = ~0u;

	for (size = 1; size <= 16384; size += size < 512 ? 1 : size < 4096 ? 37 : 509)
		for (i = 0; i < (size < 512 ? 4 : 1); i++)
			tell_layout(size, aligns[i]);
	for (size = 1; size <= 65536; size++) {
		void *object = kmalloc(size, GFP_KERNEL);

		room = ksize(object);
		kfree(object);
		if (room != last)
			tell("S %u ksize %u\n", size, room);
		last = room;
	}
}

/* Which areas there are before: needs kptr_restrict=1 to show their addresses. */
static void tell_areas(void)
{
	struct file *file = filp_open("/proc/vmallocinfo", O_RDONLY, 0);
	size_t first = length;
	loff_t at = 0;
	ssize_t got;

	if (IS_ERR(file)) {
		tell("W none\n");
		return;
	}
	tell("W\n");
	while ((got = kernel_read(file, told + length, min_t(size_t, 65536, ROOM - length), &at)) > 0)
		length += got;
	filp_close(file, NULL);
	tell("\nENDW %zu\n", length - first);
}

static void release(void *area)
{
	tell("U %lx\n", (unsigned long)area);
	vfree(area);
}

static void purge(void)
{
	vm_unmap_aliases();
	tell("PURGE\n");
}

static void script_areas(int count, u32 seed)
{
	static void *areas[AREAS];
	int i, which;

	state = seed;
	vm_unmap_aliases();
	tell_areas();
	for (i = 0; i < count; i++) {
		which = below(AREAS);
		if (areas[which]) {
			release(areas[which]);
			areas[which] = NULL;
			if (!below(20))
				purge();
		} else {
			unsigned long size = 1 + below(below(4) ? 40000 : 300000);

			areas[which] = vmalloc(size);
			tell("V %lu %lx\n", size, (unsigned long)areas[which]);
		}
	}
	for (i = 0; i < AREAS; i++)
		if (areas[i])
			release(areas[i]);
	memset(areas, 0, sizeof(areas));
	purge();
}

static ssize_t command(struct file *file, const char __user *from, size_t count, loff_t *at)
{
	char line[96], verb[16] = "", label[32] = "";
	unsigned n[4] = {};

	if (count >= sizeof(line) || copy_from_user(line, from, count))
		return -EFAULT;
	line[count] = 0;
	sscanf(line, "%15s %31s", verb, label);
	if (!strcmp(verb, "snap")) {
		snap(label);
		return count;
	}
	if (!strcmp(verb, "slabs")) {
		slabs(label);
		return count;
	}
	sscanf(line, "%*s %u %u %u %u", n, n + 1, n + 2, n + 3);
	tell("CMD %s", line);
	if (!strcmp(verb, "pages"))
		pages(n[0], n[1], n[2] ? n[2] : 10, n[3] ? n[3] : 25);
	else if (!strcmp(verb, "slab"))
		script_slab(n[0], n[1], n[2], n[3]);
	else if (!strcmp(verb, "geom"))
		layouts();
	else if (!strcmp(verb, "vm"))
		script_areas(n[0], n[1]);
	else if (!strcmp(verb, "flush")) {
		out(told, length);
		length = 0;
	}
	return count;
}

static ssize_t answer(struct file *file, char __user *to, size_t count, loff_t *at)
{
	return simple_read_from_buffer(to, count, at, told, length);
}

/* Bytes for the host: what is written here leaves by the debug port. */
static ssize_t to_host(struct file *file, const char __user *from, size_t count, loff_t *at)
{
	static char bytes[4096];
	size_t some = min_t(size_t, count, sizeof(bytes));

	if (copy_from_user(bytes, from, some))
		return -EFAULT;
	out(bytes, some);
	return some;
}

static const struct proc_ops twin = { .proc_read = answer,
				      .proc_write = command,
				      .proc_lseek = default_llseek };
static const struct proc_ops host = { .proc_write = to_host, .proc_lseek = noop_llseek };

static int __init begin(void)
{
	told = vmalloc(ROOM);
	anchor = kmem_cache_create("twin_anchor", 40, 0, 0, NULL);
	if (!told || !anchor)
		return -ENOMEM;
	if (!proc_create("twin", 0600, NULL, &twin) || !proc_create("hostout", 0200, NULL, &host))
		return -ENOMEM;
	return 0;
}

static void __exit end(void)
{
	remove_proc_entry("twin", NULL);
	remove_proc_entry("hostout", NULL);
	kmem_cache_destroy(anchor);
	vfree(told);
}

module_init(begin);
module_exit(end);
MODULE_DESCRIPTION("Writes down what the kernel's allocators hold");
MODULE_LICENSE("GPL");
