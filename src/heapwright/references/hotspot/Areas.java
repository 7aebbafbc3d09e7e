// Fills one run-time area of the JVM that runs it, and says what it was told and after how much.
//
//   stack        frames of methods with 0, 4 and 16 local words until StackOverflowError
//   arrays       the longest arrays
//   heap BYTES   arrays of so many bytes, all kept
//   classes      classes, each of a loader of its own, all kept: metaspace, or class space
//   direct BYTES direct buffers, all kept
//   replay FILE  a trace of direct buffers: rows "+ slot bytes" and "- slot"; a row back for each
//   threads N    threads that sleep
//   constants    the sizes of the pools, by their beans
import java.io.*;
import java.lang.management.*;
import java.nio.ByteBuffer;
import java.util.*;

public class Areas {
    static final class Loader extends ClassLoader {
        Class<?> define(byte[] code) { return defineClass(null, code, 0, code.length); }
    }
    static final class Tiny { int word; }

    static int depth;
    static void none() { depth++; none(); }
    static void four(int a, int b, int c, int d) { depth++; four(a, b, c, d); }
    static void sixteen(int a, int b, int c, int d, int e, int f, int g, int h,
                        int i, int j, int k, int l, int m, int n, int o, int p) {
        depth++;
        sixteen(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p);
    }

    static void stack(int words, Runnable call) {
        depth = 0;
        try { call.run(); } catch (StackOverflowError error) {
            say("stack", error, words, depth);
        }
    }
    static void say(String area, Throwable error, long what, long after) {
        String text = error.getMessage();
        System.out.println(area + "\t" + what + "\t" + after + "\t" + error.getClass().getName()
                           + (text == null ? "" : ": " + text));
    }
    static void array(String type, int length) {
        try {
            Object made = type.equals("byte") ? new byte[length] : new long[length];
            System.out.println("array\t" + length + "\t1\t" + type);
        } catch (OutOfMemoryError error) { say("array", error, length, 0); }
    }
    static void heap(int bytes) {
        Object[] kept = new Object[1 << 20];
        int count = 0;
        try {
            while (count < kept.length) kept[count++] = new byte[bytes - 16];
        } catch (OutOfMemoryError error) {
            int made = count - 1;
            kept = null;
            say("heap", error, bytes, made);
        }
    }
    static void classes() throws IOException {
        byte[] code;
        try (InputStream in = Areas.class.getResourceAsStream("Areas$Tiny.class")) { code = in.readAllBytes(); }
        Object[] kept = new Object[1 << 20];
        int count = 0;
        try {
            while (count < kept.length) kept[count++] = new Loader().define(code);
        } catch (OutOfMemoryError error) {
            int made = count - 1;
            kept = null;
            say("classes", error, code.length, made);
        }
    }
    static void direct(int bytes) {
        Object[] kept = new Object[1 << 16];
        int count = 0;
        try {
            while (count < kept.length) kept[count++] = ByteBuffer.allocateDirect(bytes);
        } catch (OutOfMemoryError error) { say("direct", error, bytes, count - 1); }
    }
    static void threads(int most) {
        int count = 0;
        try {
            for (; count < most; count++) {
                Thread one = new Thread(() -> {
                    try { Thread.sleep(60000); } catch (InterruptedException end) { return; }
                });
                one.setDaemon(true);
                one.start();
            }
        } catch (OutOfMemoryError error) { say("threads", error, most, count); }
        Runtime.getRuntime().halt(0);
    }

    static long collections() {
        long sum = 0;
        for (GarbageCollectorMXBean one : ManagementFactory.getGarbageCollectorMXBeans()) sum += one.getCollectionCount();
        return sum;
    }
    static void replay(String path) throws Exception {
        BufferPoolMXBean pool = null;
        for (BufferPoolMXBean one : ManagementFactory.getPlatformMXBeans(BufferPoolMXBean.class))
            if (one.getName().equals("direct")) pool = one;
        List<String> rows = new ArrayList<>(); // by no channel, which has direct buffers itself
        try (BufferedReader in = new BufferedReader(new FileReader(path))) {
            for (String row; (row = in.readLine()) != null;) rows.add(row);
        }
        ByteBuffer[] buffer = new ByteBuffer[1 << 16];
        StringBuilder told = new StringBuilder(1 << 20);
        long before = collections();
        for (String row : rows) {
            String[] word = row.split(" ");
            int slot = Integer.parseInt(word[1]);
            String said = "";
            if (word[0].equals("-")) buffer[slot] = null;
            else try { buffer[slot] = ByteBuffer.allocateDirect(Integer.parseInt(word[2])); }
                 catch (OutOfMemoryError error) { said = error.getMessage(); }
            long now = collections();
            if (now != before) Thread.sleep(50); // the cleaners of what it found dead
            before = now;
            told.append(pool.getCount()).append('\t').append(pool.getTotalCapacity()).append('\t')
                .append(pool.getMemoryUsed()).append('\t').append(now).append('\t').append(said).append('\n');
        }
        System.out.print(told);
    }
    static void constants() {
        for (MemoryPoolMXBean one : ManagementFactory.getMemoryPoolMXBeans())
            System.out.println("pool\t" + one.getUsage().getMax() + "\t" + one.getUsage().getUsed() + "\t" + one.getName());
    }

    public static void main(String[] asked) throws Exception {
        int number = asked.length > 1 && asked[1].matches("\\d+") ? Integer.parseInt(asked[1]) : 0;
        switch (asked[0]) {
            case "stack":
                for (int round = 0; round < 2; round++) { // the first one loads the error's class
                    stack(0, Areas::none);
                    stack(4, () -> four(1, 2, 3, 4));
                    stack(16, () -> sixteen(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16));
                }
                break;
            case "arrays":
                for (int less = 0; less < 4; less++) {
                    array("byte", Integer.MAX_VALUE - less);
                    array("long", Integer.MAX_VALUE - less);
                }
                break;
            case "heap": heap(number); break;
            case "classes": classes(); break;
            case "direct": direct(number); break;
            case "threads": threads(number); break;
            case "replay": replay(asked[1]); break;
            default: constants();
        }
    }
}
