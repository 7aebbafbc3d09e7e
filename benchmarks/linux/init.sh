#!/bin/busybox sh
# The first process of a guest: mounts, runs /job, powers off. `put NAME` hands its input to the host:
# by a serial line, or by a folder of the host that a user-mode kernel sees.
/bin/busybox --install -s /bin
mount -t proc p /proc; mount -t sysfs s /sys; mount -t debugfs d /sys/kernel/debug 2>/dev/null
mount -t tracefs t /sys/kernel/tracing 2>/dev/null; mount -t devtmpfs d /dev; mount -t tmpfs t /tmp
if [ -n "$HOSTDIR" ]; then
 mount -t hostfs none /h -o "$HOSTDIR"
 put() { mkdir -p "/h/$(dirname "$1")"; cat > "/h/$1"; }
else
 stty -F /dev/ttyS1 raw -echo 2>/dev/null
 put() { echo "=== $1" > /dev/ttyS1; cat > /dev/ttyS1; echo > /dev/ttyS1; }
fi
files() { for f in buddyinfo zoneinfo slabinfo vmallocinfo meminfo pagetypeinfo vmstat version; do
 cat /proc/$f | put proc/$f; done; }
# Some work of processes, files and pipes, whose requests are recorded.
work() { ( cd /tmp; for i in $(seq 1 $1); do
 dd if=/dev/urandom of=f$i bs=64k count=16 2>/dev/null; gzip -1 < f$i > g$i; done
 seq 1 3000 | awk '{s+=$1; a[$1]=s} END {print s}'; ls -lR /proc/sys > l 2>&1; sort l > l2; rm -f f* g* l l2
 for i in $(seq 1 20); do echo $i | cat > /dev/null; done ) }
# The dump, and behind MARK RAW the ring's pages, as they are.
raw() { cat $T/events/*/*/format | put formats; echo flush > /proc/twin; echo "MARK RAW" > /proc/hostout
 cat $T/per_cpu/cpu0/trace_pipe_raw > /proc/hostout & reader=$!
 while ! grep -q "entries: 0" $T/per_cpu/cpu0/stats; do sleep 1; done; sleep 1; kill $reader; }
T=/sys/kernel/tracing
PAGES="kmem/mm_page_alloc kmem/mm_page_free kmem/mm_page_free_batched"
OBJECTS="kmem/kmalloc kmem/kfree kmem/kmem_cache_alloc kmem/kmem_cache_free"
on() { for e in "$@"; do [ -e $T/events/$e/enable ] && echo 1 > $T/events/$e/enable; done; }
# What has no event of its own: bulk requests, drains, counters brought up to date, kswapd's turns.
probes() { for p in "r:bulkr __alloc_pages_bulk got=\$retval:s32" \
 "p:bulkp __alloc_pages_bulk gfp=%di:x32 nid=%si:s32 nr=%cx:s32 list=%r8 arr=%r9" \
 "p:vmref refresh_cpu_vm_stats" "p:drain drain_pages_zone zone=%si" \
 "p:isofree __isolate_free_page page=%di order=%si:u32" \
 "p:kswb balance_pgdat order=%si:s32" "r:kswe balance_pgdat"; do echo "$p" >> $T/kprobe_events; done; }
echo 1 > /proc/sys/kernel/kptr_restrict; insmod /record.ko
. /job
poweroff -f
