package dev.turnout.conformance;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.protobuf.Message;
import dev.turnout.AnswerStream;
import dev.turnout.Plan;
import dev.turnout.StatusWatch;
import dev.turnout.Tls;
import dev.turnout.TurnoutClient;
import dev.turnout.v1.ExecuteRequest;
import dev.turnout.v1.ExecuteStreamRequest;
import dev.turnout.v1.ProviderStatusRequest;
import dev.turnout.v1.ReportOutcomeRequest;
import dev.turnout.v1.RouteRequest;
import dev.turnout.v1.WatchProviderStatusRequest;
import dev.turnout.v1.WatchProviderStatusResponse;
import io.grpc.ManagedChannel;
import io.opentelemetry.context.Scope;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/** The suite's operations, each by the client's public methods. */
final class Operations {
    private static final Duration FLUSH_TIME = Duration.ofSeconds(5);

    private final Map<String, TurnoutClient> clients = new ConcurrentHashMap<>();

    /** Carries an operation out and returns its result. */
    JsonObject carryOut(JsonObject asked) throws Exception {
        Scope span = Tracing.contextOf(asked).makeCurrent();
        try {
            return switch (asked.get("op").getAsString()) {
                case "hello" -> hello();
                case "open" -> open(asked);
                case "close" -> close(asked);
                case "route" -> response(client(asked).route(read(asked, RouteRequest.newBuilder()).build(), timeout(asked)));
                case "execute" -> response(client(asked)
                        .execute(read(asked, ExecuteRequest.newBuilder()).build(), timeout(asked))
                        .response());
                case "report" -> response(
                        client(asked).report(read(asked, ReportOutcomeRequest.newBuilder()).build(), timeout(asked)));
                case "status" -> response(
                        client(asked).status(read(asked, ProviderStatusRequest.newBuilder()).build(), timeout(asked)));
                case "stream" -> stream(asked);
                case "watch" -> watch(asked);
                case "plan" -> plan(asked);
                case "flush" -> flush(asked);
                case "measure" -> measure(asked);
                default -> throw new Unsupported(asked.get("op").getAsString());
            };
        } finally {
            span.close();
        }
    }

    /** Closes what is still open. */
    void closeAll() {
        clients.values().forEach(TurnoutClient::close);
    }

    private static JsonObject hello() {
        JsonObject result = new JsonObject();
        result.addProperty("language", "java");
        result.addProperty("client", TurnoutClient.class.getPackage().getImplementationVersion());
        result.addProperty("runtime", "java" + System.getProperty("java.version"));
        result.addProperty("grpc", ManagedChannel.class.getPackage().getImplementationVersion());
        return result;
    }

    private JsonObject open(JsonObject asked) {
        String name = asked.get("client").getAsString();
        TurnoutClient client;
        try {
            client = described(asked).build();
        } catch (IllegalArgumentException error) {
            throw new WrongUse(error.getMessage(), error);
        }
        if (clients.putIfAbsent(name, client) != null) {
            client.close();
            throw new WrongUse("a client " + name + " is open already", null);
        }
        JsonObject result = new JsonObject();
        result.addProperty("address", client.address());
        return result;
    }

    private static TurnoutClient.Builder described(JsonObject asked) {
        TurnoutClient.Builder builder = TurnoutClient.builder();
        if (asked.has("address")) {
            builder.address(asked.get("address").getAsString());
        }
        if (asked.has("token")) {
            builder.token(asked.get("token").getAsString());
        }
        if (asked.has("token_file")) {
            builder.tokenFile(Path.of(asked.get("token_file").getAsString()));
        }
        if (asked.has("tls")) {
            JsonObject tls = asked.getAsJsonObject("tls");
            builder.tls(Tls.ofFiles(
                    path(tls, "ca_file"),
                    path(tls, "cert_file"),
                    path(tls, "key_file"),
                    tls.has("server_name") ? tls.get("server_name").getAsString() : ""));
        }
        if (asked.has("max_retry_count")) {
            builder.maxRetryCount(asked.get("max_retry_count").getAsInt());
        }
        if (asked.has("plan_cache")) {
            builder.planCache(asked.get("plan_cache").getAsBoolean());
        }
        if (asked.has("fallback")) {
            builder.fallback(fallback(asked.get("fallback")));
        }
        return builder;
    }

    private static Map<String, List<String>> fallback(JsonElement given) {
        if (given.isJsonArray()) {
            return Map.of("", texts(given));
        }
        Map<String, List<String>> byTask = new HashMap<>();
        given.getAsJsonObject().asMap().forEach((task, targets) -> byTask.put(task, texts(targets)));
        return byTask;
    }

    private JsonObject close(JsonObject asked) {
        TurnoutClient client = client(asked);
        clients.remove(asked.get("client").getAsString());
        client.close();
        return new JsonObject();
    }

    private JsonObject stream(JsonObject asked) {
        int stopAfter = asked.has("stop_after_deltas") ? asked.get("stop_after_deltas").getAsInt() : Integer.MAX_VALUE;
        SeenEvents seen = new SeenEvents();
        try (AnswerStream stream =
                client(asked).stream(read(asked, ExecuteStreamRequest.newBuilder()).build(), timeout(asked))) {
            JsonObject result = new JsonObject();
            try {
                while (seen.deltaCount() < stopAfter && stream.hasNext()) {
                    seen.take(stream.next());
                }
            } catch (RuntimeException error) {
                result.addProperty("text", stream.textSoFar());
                result.add("parts", Telling.messages(stream.partsSoFar()));
                result.add("events", Telling.texts(seen.names()));
                throw new Told(error, result);
            }
            result.addProperty("text", stream.textSoFar());
            result.add("parts", Telling.messages(stream.partsSoFar()));
            result.add("events", Telling.texts(seen.names()));
            result.addProperty("restart_count", seen.restartCount());
            result.addProperty("stopped", seen.completion() == null);
            if (seen.completion() != null) {
                result.add("completion", Telling.message(seen.completion()));
            }
            return result;
        }
    }

    private JsonObject watch(JsonObject asked) {
        int count = asked.get("count").getAsInt();
        List<WatchProviderStatusResponse> messages = new ArrayList<>();
        try (StatusWatch watch =
                client(asked).watchStatus(read(asked, WatchProviderStatusRequest.newBuilder()).build(), timeout(asked))) {
            while (messages.size() < count && watch.hasNext()) {
                messages.add(watch.next());
            }
        }
        JsonObject result = new JsonObject();
        result.add("messages", Telling.messages(messages));
        return result;
    }

    private JsonObject plan(JsonObject asked) {
        Application application =
                new Application(asked.has("targets") ? asked.getAsJsonObject("targets") : new JsonObject());
        JsonObject told = new JsonObject();
        TurnoutClient client = client(asked);
        try {
            Plan plan = client.plan(read(asked, RouteRequest.newBuilder()).build(), timeout(asked));
            told.addProperty("reused", plan.reused());
            told.addProperty("stale", plan.stale());
            told.addProperty("stale_reason", plan.staleReason());
            told.addProperty("decision_id", plan.decisionId());
            plan.run(application::call);
        } catch (WrongUse error) {
            throw error;
        } catch (Exception error) {
            told.add("called", Telling.texts(application.called()));
            throw new Told(error, told);
        }
        told.add("called", Telling.texts(application.called()));
        told.addProperty("ok", true);
        return told;
    }

    private JsonObject flush(JsonObject asked) throws InterruptedException {
        TurnoutClient client = client(asked);
        client.flush(FLUSH_TIME);
        JsonObject result = new JsonObject();
        result.addProperty("unreported", client.unreportedCount() + client.pendingCount());
        return result;
    }

    private JsonObject measure(JsonObject asked) {
        TurnoutClient client = client(asked);
        RouteRequest request = read(asked, RouteRequest.newBuilder()).build();
        int count = asked.get("count").getAsInt();
        long[] asking = new long[count];
        for (int index = 0; index < count; index++) {
            long begun = System.nanoTime();
            client.route(request);
            asking[index] = System.nanoTime() - begun;
        }
        long[] reusing = new long[count];
        int reused = 0;
        while (reused < count) {
            long begun = System.nanoTime();
            Plan plan = client.plan(request);
            plan.run(attempt -> attempt.model());
            long nanos = System.nanoTime() - begun;
            if (plan.reused()) {
                reusing[reused++] = nanos;
            }
        }
        JsonObject result = new JsonObject();
        result.addProperty("route_seconds", medianSeconds(asking));
        result.addProperty("reused_seconds", medianSeconds(reusing));
        return result;
    }

    private static double medianSeconds(long[] nanos) {
        Arrays.sort(nanos);
        return nanos[nanos.length / 2] / 1e9;
    }

    private TurnoutClient client(JsonObject asked) {
        String name = asked.has("client") ? asked.get("client").getAsString() : "";
        TurnoutClient client = clients.get(name);
        if (client == null) {
            throw new WrongUse("no client " + name + " is open", null);
        }
        return client;
    }

    private static <B extends Message.Builder> B read(JsonObject asked, B builder) {
        return Telling.read(asked, builder);
    }

    private static JsonObject response(Message message) {
        JsonObject result = new JsonObject();
        result.add("response", Telling.message(message));
        return result;
    }

    private static Duration timeout(JsonObject asked) {
        return asked.has("timeout_seconds")
                ? Duration.ofNanos((long) (asked.get("timeout_seconds").getAsDouble() * 1e9))
                : null;
    }

    private static List<String> texts(JsonElement array) {
        return array.getAsJsonArray().asList().stream().map(JsonElement::getAsString).toList();
    }

    private static Path path(JsonObject tls, String name) {
        return tls.has(name) ? Path.of(tls.get(name).getAsString()) : null;
    }
}
