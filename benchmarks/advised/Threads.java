import java.util.ArrayList;
import java.util.List;
import java.util.zip.Deflater;

/** Threads of a JVM that compress: the compressors' memory is malloc's, the rest the JVM's own,
 * which differs by a MiB from run to run. */
public class Threads {
    public static void main(String[] arguments) throws Exception {
        List<Deflater> kept = new ArrayList<>();
        for (int round = 0; round < 6; round++) {
            List<Thread> threads = new ArrayList<>();
            for (int t = 0; t < 8; t++) {
                Thread one = new Thread(() -> {
                    byte[] in = new byte[200_000], out = new byte[300_000];
                    for (int i = 0; i < in.length; i++) in[i] = (byte) (i * 31 % 251);
                    List<Deflater> own = new ArrayList<>();
                    for (int i = 0; i < 12; i++) {
                        Deflater deflater = new Deflater(9);
                        deflater.setInput(in);
                        deflater.finish();
                        deflater.deflate(out);
                        own.add(deflater);
                    }
                    synchronized (kept) { for (int i = 0; i < 4; i++) kept.add(own.remove(0)); }
                    own.forEach(Deflater::end);
                });
                threads.add(one);
                one.start();
                one.join();
            }
        }
        Thread.sleep(2500);
    }
}
