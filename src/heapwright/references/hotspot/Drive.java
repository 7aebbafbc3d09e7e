// Plays a graph trace in a real JVM and notes what the JVM's own counters say after each collection.
//
//     java FLAGS Drive EVENTS ROWS COUNTERS SLOTS WARM [CLOCKS]
//
// EVENTS    int32[event, 4]: 0 slot - -          the object dies: its element of the table is null
//                            1 slot field target  a reference; target -1 null
//                            2 slot bytes fields  a new object: byte[bytes], or with references
//                                                 Object[bytes / 4], rounded up (8 without
//                                                 compressed references)
//                            3 slot kind target   a new reference object or finalisable one, see
//                                                 `Declared`; target -1 none
//                            4 slot - -           its target is asked for
// ROWS      int64[row, 1 + counters]: the event that collected, and the counters; row 0 before the
//           first event, with event -1. ROWS.table: the table's address, the memory
//           of a word, and the address of the list of Finalizers, 0 where nothing is declared
// COUNTERS  names of counters, a line each; those the JVM has are written to ROWS.names
// WARM      full collections before the first event
// CLOCKS    int64[event], where the events declare references: the time of each, ms, before which the
//           program does not go on after a collection there. ROWS.references: int64[row, 4], the
//           event of a collection, and kind, slot and whether the program still has the reference
//           object, of each that it cleared; kind -1 of what was finalised; -2 with the clock of
//           soft references, ms, in place of the slot
//
// The counters are read from the file of performance data that the JVM keeps mapped, through
// Unsafe, so that nothing is allocated while the events are played.

import java.io.PrintStream;
import java.lang.reflect.Field;
import java.nio.Buffer;
import java.nio.ByteBuffer;
import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

public class Drive {
    static final int MOST_ROWS = 1 << 18;
    static final sun.misc.Unsafe UNSAFE = unsafe();
    static final List<Object> KEPT = new ArrayList<>();
    static boolean declares;

    public static void main(String[] arguments) throws Exception {
        Path rows = Path.of(arguments[1]);
        long events = map(Path.of(arguments[0]));
        int count = (int) (Files.size(Path.of(arguments[0])) / 16);
        Map<String, Long> every = counters();
        List<String> names = new ArrayList<>();
        for (String name : Files.readAllLines(Path.of(arguments[2]))) {
            if (every.containsKey(name)) names.add(name);
        }
        long[] where = new long[names.size()];
        for (int i = 0; i < where.length; i++) where[i] = every.get(names.get(i));
        long[] invocations = new long[3];
        int collectors = 0;
        for (int i = 0; i < 3; i++) {
            Long at = every.get("sun.gc.collector." + i + ".invocations");
            if (at != null) invocations[collectors++] = at;
        }
        while (collectors < 3) invocations[collectors++] = invocations[0];
        int width = where.length + 1;
        long out = UNSAFE.allocateMemory(8L * MOST_ROWS * width);
        try (PrintStream told = new PrintStream(rows + ".names")) {
            for (String name : names) told.println(name);
        }
        Object[] table = new Object[Integer.parseInt(arguments[3])];
        int scale = UNSAFE.arrayIndexScale(Object[].class);
        Object[] holder = {table};
        int warm = Integer.parseInt(arguments[4]);
        for (int i = 0; i < warm; i++) {
            System.gc();
            if (i < warm - 1) Thread.sleep(60);
        }
        long finalizers = 0;
        if (arguments.length > 5) {
            Declared.begin(map(Path.of(arguments[5])), table, count);
            Declared.clearSofts();
            do { // every fourth leaves nothing that is dead, of the JVM's own too
                System.gc();
                Declared.reset();
            } while (UNSAFE.getLong(invocations[1]) % 4 != 0);
            declares = true;
        }
        long address = held(holder, scale);
        if (declares) {
            holder[0] = Declared.finalizers; // in old by now, as all that is left in frames here
            finalizers = held(holder, scale) + Declared.unfinalized;
        }
        int made = play(events, count, table, invocations, where, out, scale == 8 ? 3 : 2);
        if (declares) Declared.write(Path.of(rows + ".references"));
        try (PrintStream told = new PrintStream(rows + ".table")) {
            told.println(address + " " + scale + " " + finalizers);
        }
        try (FileChannel file = FileChannel.open(rows, StandardOpenOption.CREATE,
                StandardOpenOption.WRITE, StandardOpenOption.TRUNCATE_EXISTING)) {
            long size = 8L * made * width;
            ByteBuffer buffer = ByteBuffer.allocateDirect((int) size);
            UNSAFE.copyMemory(out, address(buffer), size);
            file.write(buffer);
        }
    }

    static int play(long at, int count, Object[] table, long[] invocations, long[] where, long out,
            int shift) {
        long seen = seen(invocations);
        int width = where.length + 1;
        int rows = 0;
        note(out, -1, where);
        rows++;
        try {
            for (int i = 0; i < count; i++, at += 16) {
                int op = UNSAFE.getInt(at);
                int slot = UNSAFE.getInt(at + 4);
                if (op == 0) {
                    table[slot] = null;
                } else if (op == 1) {
                    int target = UNSAFE.getInt(at + 12), field = UNSAFE.getInt(at + 8);
                    Object held = table[slot];
                    if (!(held instanceof Object[])) {
                        if (declares) Declared.refer(held, field, target < 0 ? null : table[target]);
                    } else if (field < ((Object[]) held).length) {
                        ((Object[]) held)[field] = target < 0 ? null : table[target];
                    }
                } else if (op == 4) {
                    ((Declared.Soft) table[slot]).get();
                } else {
                    int bytes = UNSAFE.getInt(at + 8);
                    int elements = (bytes + (1 << shift) - 1) >> shift;
                    if (op == 3) Declared.make(table, slot, bytes, UNSAFE.getInt(at + 12));
                    else if (UNSAFE.getInt(at + 12) > 0) table[slot] = new Object[elements];
                    else table[slot] = new byte[bytes];
                    long now = seen(invocations);
                    if (now != seen) {
                        seen = now;
                        if (rows < MOST_ROWS) note(out + 8L * rows++ * width, i, where);
                        if (declares) Declared.collected(i);
                    }
                }
            }
        } catch (OutOfMemoryError error) {
            table = null;
            System.out.println("out of memory: " + error.getMessage());
        }
        return rows;
    }

    /** Where the array's only element lies. */
    static long held(Object[] holder, int scale) {
        return scale == 8 ? UNSAFE.getLong(holder, 16L) : UNSAFE.getInt(holder, 16L) & 0xffffffffL;
    }

    static long seen(long[] invocations) {
        return UNSAFE.getLong(invocations[0]) + UNSAFE.getLong(invocations[1]) * 1000003L
            + UNSAFE.getLong(invocations[2]) * 7L;
    }

    static void note(long out, long event, long[] where) {
        UNSAFE.putLong(out, event);
        for (int i = 0; i < where.length; i++) {
            UNSAFE.putLong(out + 8 + 8L * i, UNSAFE.getLong(where[i]));
        }
    }

    /** Address of every counter of 64 bits, by name. */
    static Map<String, Long> counters() throws Exception {
        String folder = "hsperfdata_" + System.getProperty("user.name");
        long base = map(Path.of(System.getProperty("java.io.tmpdir"), folder,
            Long.toString(ProcessHandle.current().pid())));
        Map<String, Long> found = new HashMap<>();
        int entry = UNSAFE.getInt(base + 24);
        for (int left = UNSAFE.getInt(base + 28); left > 0; left--) {
            StringBuilder name = new StringBuilder();
            long at = base + entry + UNSAFE.getInt(base + entry + 4);
            for (; UNSAFE.getByte(at) != 0; at++) name.append((char) UNSAFE.getByte(at));
            if (UNSAFE.getByte(base + entry + 12) == 'J') {
                found.put(name.toString(), base + entry + UNSAFE.getInt(base + entry + 16));
            }
            entry += UNSAFE.getInt(base + entry);
        }
        return found;
    }

    static long map(Path path) throws Exception {
        try (FileChannel file = FileChannel.open(path)) {
            MappedByteBuffer mapped = file.map(FileChannel.MapMode.READ_ONLY, 0, file.size());
            KEPT.add(mapped);
            return address(mapped);
        }
    }

    static long address(Buffer buffer) throws Exception {
        Field field = Buffer.class.getDeclaredField("address");
        return UNSAFE.getLong(buffer, UNSAFE.objectFieldOffset(field));
    }

    static sun.misc.Unsafe unsafe() {
        try {
            Field field = sun.misc.Unsafe.class.getDeclaredField("theUnsafe");
            field.setAccessible(true);
            return (sun.misc.Unsafe) field.get(null);
        } catch (ReflectiveOperationException error) {
            throw new Error(error);
        }
    }
}
