package dev.turnout.conformance;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.protobuf.MessageOrBuilder;
import com.google.protobuf.util.JsonFormat;
import dev.turnout.errors.CallException;
import dev.turnout.errors.ContractException;
import dev.turnout.errors.DeadlineException;
import dev.turnout.errors.PlanExhaustedException;
import dev.turnout.errors.TurnoutException;
import dev.turnout.errors.UnreachableException;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.CancellationException;

/** The suite's JSON: its requests as messages, and answers and errors of the client as it compares them. */
final class Telling {
    private Telling() {}

    /** Reads the operation's request into a builder. */
    static <B extends Message.Builder> B read(JsonObject asked, B builder) {
        try {
            JsonElement request = asked.has("request") ? asked.get("request") : new JsonObject();
            JsonFormat.parser().merge(request.toString(), builder);
            return builder;
        } catch (InvalidProtocolBufferException error) {
            throw new WrongUse(error.getMessage(), error);
        }
    }

    /** A message as protobuf's own JSON. */
    static JsonObject message(MessageOrBuilder message) {
        try {
            return JsonParser.parseString(JsonFormat.printer().print(message)).getAsJsonObject();
        } catch (InvalidProtocolBufferException error) {
            throw new IllegalStateException(error);
        }
    }

    static JsonArray messages(List<? extends MessageOrBuilder> messages) {
        JsonArray array = new JsonArray();
        messages.forEach(message -> array.add(message(message)));
        return array;
    }

    static JsonArray texts(List<String> texts) {
        JsonArray array = new JsonArray();
        texts.forEach(array::add);
        return array;
    }

    /** An error as the suite compares it; what is not known is left out. */
    static JsonObject error(Throwable thrown) {
        Throwable error = thrown instanceof Told told ? told.getCause() : thrown;
        JsonObject result = new JsonObject();
        result.addProperty("kind", kind(error));
        result.addProperty("type", error.getClass().getSimpleName());
        result.addProperty("message", Objects.toString(error.getMessage(), ""));
        if (error instanceof TurnoutException known) {
            tell(known, result);
        }
        if (error instanceof CallException call) {
            call.deliveredBytes().ifPresent(bytes -> result.addProperty("delivered_bytes", bytes));
            call.usage().ifPresent(usage -> result.add("usage", message(usage)));
            call.costUsd().ifPresent(usd -> result.addProperty("cost_usd", usd));
        }
        if (thrown instanceof Told told) {
            for (Map.Entry<String, JsonElement> entry : told.also().entrySet()) {
                result.add(entry.getKey(), entry.getValue());
            }
        }
        return result;
    }

    private static void tell(TurnoutException error, JsonObject result) {
        if (!error.reason().isEmpty()) {
            result.addProperty("reason", error.reason());
        }
        error.code().ifPresent(code -> result.addProperty("code", code.name()));
        error.retryAfter().ifPresent(wait -> result.addProperty("retry_after_seconds", wait.toNanos() / 1e9));
        result.addProperty("retry_forbidden", error.retryForbidden());
        if (!error.decisionId().isEmpty()) {
            result.addProperty("decision_id", error.decisionId());
        }
        if (!error.fieldViolations().isEmpty()) {
            JsonArray violations = new JsonArray();
            error.fieldViolations().forEach(violation -> {
                JsonObject one = new JsonObject();
                one.addProperty("field", violation.field());
                one.addProperty("description", violation.description());
                violations.add(one);
            });
            result.add("field_violations", violations);
        }
        if (!error.attempts().isEmpty()) {
            result.add("attempts", messages(error.attempts()));
        }
        if (!error.rejections().isEmpty()) {
            result.add("rejections", messages(error.rejections()));
        }
    }

    private static String kind(Throwable error) {
        if (error instanceof Unsupported) {
            return "UNSUPPORTED";
        }
        if (error instanceof WrongUse || error instanceof IllegalArgumentException) {
            return "USAGE";
        }
        if (error instanceof CancellationException || error instanceof InterruptedException) {
            return "CANCELLED";
        }
        if (error instanceof PlanExhaustedException) {
            return "PLAN_EXHAUSTED";
        }
        if (error instanceof ContractException) {
            return "CONTRACT";
        }
        if (error instanceof TurnoutException known) {
            return kindOfCall(known);
        }
        return "APPLICATION";
    }

    private static String kindOfCall(TurnoutException error) {
        if (!error.reason().isEmpty()) {
            return "REFUSED";
        }
        if (error instanceof UnreachableException) {
            return "UNREACHABLE";
        }
        return error instanceof DeadlineException ? "DEADLINE" : "TRANSPORT";
    }
}
