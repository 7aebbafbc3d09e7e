// A small server under load, to be recorded and really run: sessions, a page cache, a log.
//
//     java Server REQUESTS CLIENTS SEED
//
// Clients of the same process talk to it over sockets, a line a request, each in a thread of its own and
// with a random generator of its own. What it prints depends on the arguments alone.

import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStreamWriter;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;

public class Server {
    static final int PAGE_BYTES = 1024;

    static final class Session {
        final String name;
        final Map<String, String> values = new TreeMap<>();
        long requests;

        Session(String name) {
            this.name = name;
        }
    }

    /** The least recently used go first. */
    static final class Cache<V> extends LinkedHashMap<String, V> {
        final int most;

        Cache(int most) {
            super(16, 0.75f, true);
            this.most = most;
        }

        @Override
        protected boolean removeEldestEntry(Map.Entry<String, V> eldest) {
            return size() > most;
        }
    }

    final Cache<Session> sessions = new Cache<>(2000);
    final Cache<byte[]> pages = new Cache<>(1000);
    final ArrayDeque<String> log = new ArrayDeque<>();

    String answer(String line) {
        String[] words = line.split(" ");
        synchronized (this) {
            Session session = sessions.computeIfAbsent(words[1], Session::new);
            session.requests++;
            if (words[0].equals("put")) session.values.put(words[2], words[3]);
            byte[] page = pages.get(words[2]);
            if (page == null) {
                page = new byte[PAGE_BYTES];
                pages.put(words[2], page);
            }
            List<String> parts = new ArrayList<>();
            for (Map.Entry<String, String> each : session.values.entrySet()) {
                parts.add(each.getKey() + "=" + each.getValue());
                if (parts.size() == 8) break;
            }
            log.addLast(session.name + " " + words[0] + " " + session.requests);
            if (log.size() > 5000) log.removeFirst();
            StringBuilder body = new StringBuilder();
            for (String part : parts) body.append(part).append(';');
            for (int i = 0; i < 8; i++) body.append((char) ('a' + page[i * 64]));
            return body.toString();
        }
    }

    void serve(Socket socket) {
        try (BufferedReader in = new BufferedReader(new InputStreamReader(socket.getInputStream()));
                BufferedWriter out =
                    new BufferedWriter(new OutputStreamWriter(socket.getOutputStream()))) {
            for (String line = in.readLine(); line != null; line = in.readLine()) {
                out.write(answer(line));
                out.newLine();
                out.flush();
            }
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
    }

    static long load(int port, int requests, Random random) throws IOException {
        long bytes = 0;
        try (Socket socket = new Socket(InetAddress.getLoopbackAddress(), port);
                BufferedReader in =
                    new BufferedReader(new InputStreamReader(socket.getInputStream()));
                BufferedWriter out =
                    new BufferedWriter(new OutputStreamWriter(socket.getOutputStream()))) {
            for (int i = 0; i < requests; i++) {
                String user = "user" + (int) Math.abs(random.nextGaussian() * 1500);
                String key = "page" + random.nextInt(3000);
                out.write(random.nextInt(3) == 0 ? "put " + user + " " + key + " v" + i
                    : "get " + user + " " + key);
                out.newLine();
                out.flush();
                bytes += in.readLine().length();
            }
        }
        return bytes;
    }

    public static void main(String[] arguments) throws Exception {
        int requests = Integer.parseInt(arguments[0]), clients = Integer.parseInt(arguments[1]);
        Server server = new Server();
        List<Thread> all = new ArrayList<>();
        try (ServerSocket listening = new ServerSocket(0, 16, InetAddress.getLoopbackAddress())) {
            for (int i = 0; i < clients; i++) {
                Random random = new Random(Long.parseLong(arguments[2]) + i);
                Thread client = new Thread(() -> {
                    try {
                        load(listening.getLocalPort(), requests / clients, random);
                    } catch (IOException error) {
                        throw new IllegalStateException(error);
                    }
                });
                client.start();
                Socket socket = listening.accept();
                Thread worker = new Thread(() -> server.serve(socket));
                worker.start();
                all.add(client);
                all.add(worker);
            }
            for (Thread each : all) each.join();
        }
        System.out.println(server.sessions.size() + " sessions, " + server.pages.size() + " pages");
    }
}
