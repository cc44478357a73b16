package dev.turnout.examples;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import dev.turnout.PlanAttempt;
import dev.turnout.TargetException;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import java.util.Locale;
import java.util.Map;

/** The application's own call to a provider, in two wire formats; no SDK. */
final class ProviderCall {
    private static final Duration PATIENCE = Duration.ofSeconds(60);
    private static final int MAX_OUTPUT_TOKENS = 400;

    private final HttpClient http = HttpClient.newHttpClient();
    private final Map<String, String> environment;

    /** The keys are in the environment: OPENAI_API_KEY and the like, by provider. */
    ProviderCall(Map<String, String> environment) {
        this.environment = environment;
    }

    /** Asks the target of an attempt. */
    String ask(PlanAttempt attempt, String prompt) throws IOException, InterruptedException {
        boolean anthropic = attempt.wire().equals("anthropic");
        if (!anthropic && !attempt.wire().equals("openai")) {
            throw new IllegalArgumentException(
                    attempt.target() + " speaks " + attempt.wire() + ": this example speaks openai and anthropic");
        }
        String key = environment.getOrDefault(attempt.provider().toUpperCase(Locale.ROOT) + "_API_KEY", "none");
        HttpRequest.Builder request = HttpRequest.newBuilder()
                .uri(URI.create(attempt.baseUrl() + (anthropic ? "/messages" : "/chat/completions")))
                .timeout(attempt.timeout().orElse(PATIENCE))
                .header("content-type", "application/json")
                .POST(BodyPublishers.ofString(body(attempt.model(), prompt).toString()));
        if (anthropic) {
            request.header("x-api-key", key).header("anthropic-version", "2023-06-01");
        } else {
            request.header("authorization", "Bearer " + key);
        }
        HttpResponse<String> response = http.send(request.build(), BodyHandlers.ofString());
        if (response.statusCode() >= 400) {
            throw TargetException.of(response);
        }
        JsonObject answer = JsonParser.parseString(response.body()).getAsJsonObject();
        return anthropic ? ofAnthropic(answer, attempt) : ofOpenAi(answer, attempt);
    }

    private static JsonObject body(String model, String prompt) {
        JsonObject message = new JsonObject();
        message.addProperty("role", "user");
        message.addProperty("content", prompt);
        JsonArray messages = new JsonArray();
        messages.add(message);
        JsonObject body = new JsonObject();
        body.addProperty("model", model);
        body.addProperty("max_tokens", MAX_OUTPUT_TOKENS);
        body.add("messages", messages);
        return body;
    }

    private static String ofOpenAi(JsonObject answer, PlanAttempt attempt) {
        JsonObject usage = answer.getAsJsonObject("usage");
        attempt.usage(usage.get("prompt_tokens").getAsLong(), usage.get("completion_tokens").getAsLong());
        JsonObject choice = answer.getAsJsonArray("choices").get(0).getAsJsonObject();
        return choice.getAsJsonObject("message").get("content").getAsString();
    }

    private static String ofAnthropic(JsonObject answer, PlanAttempt attempt) {
        JsonObject usage = answer.getAsJsonObject("usage");
        attempt.usage(usage.get("input_tokens").getAsLong(), usage.get("output_tokens").getAsLong());
        return answer.getAsJsonArray("content").get(0).getAsJsonObject().get("text").getAsString();
    }
}
