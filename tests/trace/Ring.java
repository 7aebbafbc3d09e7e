// Arrays that live for a while in a ring, cells of a list beside them; `java Ring COUNT`.

public class Ring {
    static final class Cell {
        final Cell next;
        final byte[] held;

        Cell(Cell next, byte[] held) {
            this.next = next;
            this.held = held;
        }
    }

    static Cell kept;
    static byte[][] ring = new byte[40][];

    public static void main(String[] arguments) {
        int count = Integer.parseInt(arguments[0]);
        for (int i = 0; i < count; i++) {
            byte[] made = new byte[3000 + i % 7 * 1500];
            ring[i % ring.length] = made;
            if (i % 50 == 0) kept = new Cell(kept, made);
            if (i % 2000 == 0) kept = null;
        }
        System.out.println(ring.length);
    }
}
