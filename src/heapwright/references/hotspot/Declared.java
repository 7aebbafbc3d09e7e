// Reference objects and finalisable ones for Drive: made, cleared, finalised.
//
//     kind   1 a soft reference, 2 a weak one, 3 a phantom one, 4 an object with a finaliser, 5 a weak
//            entry with two further references
//
// After a collection `collected` waits until the JVM's own threads have enqueued what was cleared and
// run the finalisers, writes down which, and what the JVM's clock of soft references shows; and then
// until the time that the event has in the trace.

import java.lang.ref.PhantomReference;
import java.lang.ref.Reference;
import java.lang.ref.ReferenceQueue;
import java.lang.ref.SoftReference;
import java.lang.ref.WeakReference;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.concurrent.locks.LockSupport;

final class Declared {
    static final sun.misc.Unsafe UNSAFE = Drive.UNSAFE;
    static final ReferenceQueue<Object> QUEUE = new ReferenceQueue<>();
    static long began, clocks, told, rows, referent, queue, next, nextFinalizer, unfinalized, clock;
    static final int CLOCK = -2; // of a row: the JVM's clock, in place of the slot
    static Object finalizers, soft;
    static Object[] table;
    static long dated; // rows that have their event
    static long finalisable; // objects made
    static volatile long finalised; // of them

    static class Soft extends SoftReference<Object> {
        int slot, spare;
        Soft(int slot) { super(null, QUEUE); this.slot = slot; }
    }

    static class Weak extends WeakReference<Object> {
        int slot;
        Weak(int slot) { super(null, QUEUE); this.slot = slot; }
    }

    static class Entry extends Weak {
        Object value, following;
        Entry(int slot) { super(slot); }
    }

    static class Phantom extends PhantomReference<Object> {
        int slot;
        Phantom(int slot) { super(null, QUEUE); this.slot = slot; }
    }

    static class Finalisable {
        Object first, second;
        int slot, spare;
        Finalisable(int slot) { this.slot = slot; }
        @SuppressWarnings({"deprecation", "removal"})
        protected void finalize() {
            note(-1, -1, slot, 0);
            finalised++;
        }
    }

    static void begin(long clocks, Object[] table, int events) throws Exception {
        Declared.clocks = clocks;
        Declared.table = table;
        told = UNSAFE.allocateMemory(64L * events + 128);
        referent = UNSAFE.objectFieldOffset(Reference.class.getDeclaredField("referent"));
        queue = UNSAFE.objectFieldOffset(Reference.class.getDeclaredField("queue"));
        next = UNSAFE.objectFieldOffset(Reference.class.getDeclaredField("next"));
        Class<?> kind = Class.forName("java.lang.ref.Finalizer");
        nextFinalizer = UNSAFE.objectFieldOffset(kind.getDeclaredField("next"));
        finalizers = UNSAFE.staticFieldBase(kind.getDeclaredField("unfinalized"));
        unfinalized = UNSAFE.staticFieldOffset(kind.getDeclaredField("unfinalized"));
        soft = UNSAFE.staticFieldBase(SoftReference.class.getDeclaredField("clock"));
        clock = UNSAFE.staticFieldOffset(SoftReference.class.getDeclaredField("clock"));
        finalisable = 1;
        Object[] made = {new Soft(0), new Entry(0), new Phantom(0), new Finalisable(0)};
        note(-1, 0, 0, 0);
        LockSupport.parkNanos(1);
        QUEUE.poll();
        settled();
    }

    /** Soft references of the JVM's own are cleared now, and by no collection of the events. */
    static void clearSofts() {
        try {
            QUEUE.equals(new long[Integer.MAX_VALUE - 8]);
        } catch (OutOfMemoryError expected) {
            collected(0);
        }
    }

    static void reset() {
        collected(0);
        rows = dated = 0;
        note(-1, CLOCK, 0, 0);
        UNSAFE.putLong(told + 16, UNSAFE.getLong(soft, clock));
        dated = 1;
        began = System.nanoTime();
    }

    static void make(Object[] table, int slot, int kind, int target) {
        Object made;
        if (kind == 1) made = new Soft(slot);
        else if (kind == 2) made = new Weak(slot);
        else if (kind == 3) made = new Phantom(slot);
        else if (kind == 5) made = new Entry(slot);
        else {
            made = new Finalisable(slot);
            finalisable++;
        }
        table[slot] = made;
        if (target >= 0) UNSAFE.putObject(made, referent, table[target]);
    }

    static void refer(Object held, int field, Object target) {
        if (held instanceof Entry) {
            if (field == 1) ((Entry) held).value = target;
            else if (field == 2) ((Entry) held).following = target;
        } else if (held instanceof Finalisable) {
            if (field == 0) ((Finalisable) held).first = target;
            else if (field == 1) ((Finalisable) held).second = target;
        }
    }

    static void collected(int event) {
        while (!settled()) LockSupport.parkNanos(100_000);
        LockSupport.parkNanos(500_000);
        while (!settled()) LockSupport.parkNanos(100_000);
        for (Reference<?> each; (each = QUEUE.poll()) != null; ) {
            int slot, kind;
            if (each instanceof Soft) { slot = ((Soft) each).slot; kind = 1; }
            else if (each instanceof Weak) { slot = ((Weak) each).slot; kind = 2; }
            else { slot = ((Phantom) each).slot; kind = 3; }
            note(event, kind, slot, table[slot] == each ? 1 : 0);
        }
        note(event, CLOCK, 0, 0);
        UNSAFE.putLong(told + 32 * (rows - 1) + 16, UNSAFE.getLong(soft, clock));
        for (; dated < rows; dated++) UNSAFE.putLong(told + 32 * dated, event);
        long until = began + 1_000_000 * UNSAFE.getLong(clocks + 8L * event);
        for (long left; (left = until - System.nanoTime()) > 0; ) LockSupport.parkNanos(left);
    }

    /** Whether all that was cleared is enqueued, and every finaliser that is due has run. */
    static boolean settled() {
        for (int slot = 0; slot < table.length; slot++) {
            Object each = table[slot];
            if (each instanceof Reference && UNSAFE.getObject(each, referent) == null
                    && UNSAFE.getObject(each, queue) == QUEUE) return false;
        }
        long left = 0;
        Object each = UNSAFE.getObject(finalizers, unfinalized);
        while (each != null) {
            if (UNSAFE.getObject(each, next) != null) return false;
            if (UNSAFE.getObject(each, referent) instanceof Finalisable) left++;
            each = UNSAFE.getObject(each, nextFinalizer);
        }
        return left + finalised == finalisable;
    }

    static synchronized void note(int event, int kind, int slot, int held) {
        long at = told + 32L * rows++;
        UNSAFE.putLong(at, event);
        UNSAFE.putLong(at + 8, kind);
        UNSAFE.putLong(at + 16, slot);
        UNSAFE.putLong(at + 24, held);
    }

    static void write(Path path) throws Exception {
        try (FileChannel file = FileChannel.open(path, StandardOpenOption.CREATE,
                StandardOpenOption.WRITE, StandardOpenOption.TRUNCATE_EXISTING)) {
            ByteBuffer buffer = ByteBuffer.allocateDirect((int) (32 * rows));
            UNSAFE.copyMemory(told, Drive.address(buffer), 32 * rows);
            file.write(buffer);
        }
    }
}
