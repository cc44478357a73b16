package dev.turnout.examples;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;

/**
 * The real thing as two processes: simulated providers "north" (wire openai) and "south" (wire anthropic), each with the
 * model "m", and a sidecar that prefers north. TURNOUT_BIN names the command {@code turnout}.
 */
final class RealSidecar implements AutoCloseable {
    private static final String MODEL = "{name: m, context_window_tokens: 128000, max_output_tokens: 4096, quality: 80, "
            + "latency_prior_seconds: 0.05, price: {input_per_million_usd: 1, output_per_million_usd: 2}, "
            + "capabilities: [STREAMING, TOOLS]}";

    private final HttpClient http = HttpClient.newHttpClient();
    private final Path folder;
    private final String control;
    private final String providers;
    private final Process simulation;
    private final List<Process> running = new ArrayList<>();
    private Process serving;
    private String address;

    private RealSidecar(Path folder) throws IOException {
        this.folder = folder;
        simulation = started("sim", "--port", "0", "--provider", "north=openai", "--provider", "south=anthropic");
        JsonObject said = said(simulation, "sim");
        control = said.get("control").getAsString();
        JsonObject urls = said.getAsJsonObject("providers");
        providers = provider("north", "openai", urls) + provider("south", "anthropic", urls);
    }

    /** Starts both; {@code listen} is the sidecar's address, or its socket where it begins with "unix:". */
    static RealSidecar start(Path folder, String listen) throws IOException {
        RealSidecar real = new RealSidecar(folder);
        real.serve(listen);
        return real;
    }

    /** Where the sidecar listens. */
    String address() {
        return address;
    }

    /** Makes a simulated provider go wrong: {@code {"status": 503}}, {@code {"kind": "cut"}}. */
    void fault(String provider, String fault) throws IOException, InterruptedException {
        patch(provider, "{\"fault\": " + fault + "}");
    }

    /** Changes how a simulated provider behaves. */
    void patch(String provider, String change) throws IOException, InterruptedException {
        HttpRequest request = HttpRequest.newBuilder(URI.create(control + "/" + provider))
                .header("content-type", "application/json")
                .method("PATCH", BodyPublishers.ofString(change))
                .build();
        HttpResponse<String> response = http.send(request, BodyHandlers.ofString());
        if (response.statusCode() >= 300) {
            throw new IOException(response.statusCode() + ": " + response.body());
        }
    }

    /** The counts of a simulated provider: requests, in flight, how they ended. */
    JsonObject seen(String provider) throws IOException, InterruptedException {
        HttpRequest request = HttpRequest.newBuilder(URI.create(control + "/" + provider)).build();
        String state = http.send(request, BodyHandlers.ofString()).body();
        return JsonParser.parseString(state).getAsJsonObject().getAsJsonObject("counts");
    }

    /** Starts the sidecar, at an address that it had before or anew. */
    void serve(String listen) throws IOException {
        String where = listen.startsWith("unix:")
                ? "{address: \"\", socket: \"" + listen.substring(5) + "\"}"
                : "{address: \"" + listen + "\"}";
        Path file = folder.resolve("turnout.yaml");
        Files.writeString(file, "listen: " + where + "\nhealth: {address: \"\"}\nmetrics: {address: \"\"}\nproviders:\n"
                + providers + "routing:\n  provider_order: [north, south]\n  policies: {default: {strategy: PRIORITY}}\n"
                + "  plan_valid_seconds: 300\n"
                + "failover: {connect_timeout_seconds: 60, first_token_timeout_seconds: 300}\ndrain_seconds: 1\n");
        serving = started("serve", "-c", file.toString());
        JsonElement first = said(serving, "serve").getAsJsonArray("grpc").get(0);
        address = first.getAsString();
    }

    /** Kills the sidecar, as a crash would. */
    void kill() throws InterruptedException {
        serving.destroyForcibly();
        serving.waitFor(60, TimeUnit.SECONDS);
    }

    @Override
    public void close() {
        for (Process process : running) {
            process.destroy();
            try {
                if (!process.waitFor(60, TimeUnit.SECONDS)) {
                    process.destroyForcibly();
                }
            } catch (InterruptedException error) {
                process.destroyForcibly();
                Thread.currentThread().interrupt();
            }
        }
    }

    private Process started(String... arguments) throws IOException {
        List<String> command = new ArrayList<>(List.of(System.getenv("TURNOUT_BIN")));
        command.addAll(List.of(arguments));
        ProcessBuilder builder = new ProcessBuilder(command)
                .redirectError(folder.resolve(arguments[0] + ".log").toFile());
        builder.environment().keySet().removeIf(name -> name.endsWith("_API_KEY") || name.startsWith("TURNOUT_"));
        Process process = builder.start();
        running.add(0, process);
        return process;
    }

    private JsonObject said(Process process, String name) throws IOException {
        BufferedReader output =
                new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8));
        String line = output.readLine();
        if (line == null) {
            throw new IOException(Files.readString(folder.resolve(name + ".log")));
        }
        return JsonParser.parseString(line).getAsJsonObject();
    }

    private static String provider(String name, String wire, JsonObject urls) {
        String url = urls.getAsJsonObject(name).get("base_url").getAsString();
        return "  " + name + ": {wire: " + wire + ", base_url: \"" + url
                + "\", allow_insecure: true, allow_private: true, models: [" + MODEL + "]}\n";
    }
}
