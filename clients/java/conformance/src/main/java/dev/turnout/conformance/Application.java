package dev.turnout.conformance;

import com.google.gson.JsonObject;
import dev.turnout.PlanAttempt;
import dev.turnout.TargetException;
import dev.turnout.v1.Usage;
import dev.turnout.v1.UsageSource;
import java.io.IOException;
import java.net.SocketException;
import java.net.http.HttpTimeoutException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** What an application's function does with a target in a case: succeeds, or fails as Java's HTTP clients fail. */
final class Application {
    /** A mistake in the application's own code. */
    static final class Mistake extends RuntimeException {
        private static final long serialVersionUID = 1L;

        Mistake() {
            super("a mistake of the application's own");
        }
    }

    private final JsonObject scripts;
    private final List<String> called = new ArrayList<>();

    Application(JsonObject scripts) {
        this.scripts = scripts;
    }

    /** Who was called, in order. */
    List<String> called() {
        return called;
    }

    /** Does with a target what its script says; a target without one succeeds. */
    Void call(PlanAttempt attempt) throws IOException {
        called.add(attempt.target());
        String name = scripts.has(attempt.target()) ? attempt.target() : "*";
        play(scripts.has(name) ? scripts.getAsJsonObject(name) : new JsonObject(), attempt);
        return null;
    }

    private void play(JsonObject script, PlanAttempt attempt) throws IOException {
        if (script.has("stream_then")) {
            attempt.firstToken();
            play(script.getAsJsonObject("stream_then"), attempt);
        } else if (script.has("http_status")) {
            int status = script.get("http_status").getAsInt();
            Map<String, List<String>> headers = script.has("retry_after")
                    ? Map.of("retry-after", List.of(script.get("retry_after").getAsString()))
                    : Map.of();
            throw new TargetException("HTTP " + status, status, "", headers);
        } else if (script.has("timeout")) {
            throw new HttpTimeoutException("request timed out");
        } else if (script.has("connection")) {
            throw new SocketException("Connection reset");
        } else if (script.has("bug")) {
            throw new Mistake();
        } else if (script.has("ok")) {
            attempt.usage(usage(script.getAsJsonObject("ok")));
        }
    }

    private static Usage usage(JsonObject used) {
        Usage.Builder usage = Usage.newBuilder().setSource(UsageSource.USAGE_SOURCE_REPORTED);
        if (used.has("input_tokens")) {
            usage.setInputTokens(used.get("input_tokens").getAsLong());
        }
        if (used.has("output_tokens")) {
            usage.setOutputTokens(used.get("output_tokens").getAsLong());
        }
        return usage.build();
    }
}
