package dev.turnout.conformance;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/**
 * Lets the conformance suite drive the Java client: one JSON object a line comes in for each operation, and one goes out as
 * it ends, in any order. Each operation has a thread of its own, so that cancelling is interrupting, as in applications.
 */
final class Driver {
    private final ExecutorService threads = Executors.newCachedThreadPool();
    private final Map<Integer, Future<?>> running = new ConcurrentHashMap<>();
    private final Operations operations = new Operations();
    private final PrintStream replies;

    private Driver(PrintStream replies) {
        this.replies = replies;
    }

    public static void main(String[] arguments) throws IOException {
        Driver driver = new Driver(new PrintStream(System.out, true, StandardCharsets.UTF_8));
        try (BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8))) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                driver.take(JsonParser.parseString(line).getAsJsonObject());
            }
        }
        driver.threads.shutdownNow();
        driver.operations.closeAll();
    }

    private void take(JsonObject asked) {
        int id = asked.get("id").getAsInt();
        if (asked.get("op").getAsString().equals("cancel")) {
            cancel(id, asked.get("target").getAsInt());
            return;
        }
        // It must be known before it can end.
        synchronized (running) {
            running.put(id, threads.submit(() -> carryOut(id, asked)));
        }
    }

    private void cancel(int id, int target) {
        Future<?> operation = running.get(target);
        if (operation != null) {
            operation.cancel(true);
        }
        reply(id, "result", new JsonObject());
    }

    private void carryOut(int id, JsonObject asked) {
        try {
            reply(id, "result", operations.carryOut(asked));
        } catch (Throwable error) {
            reply(id, "error", Telling.error(error));
        } finally {
            synchronized (running) {
                running.remove(id);
            }
        }
    }

    private void reply(int id, String name, JsonObject value) {
        JsonObject reply = new JsonObject();
        reply.addProperty("id", id);
        reply.add(name, value);
        synchronized (replies) {
            replies.println(reply);
        }
    }
}
