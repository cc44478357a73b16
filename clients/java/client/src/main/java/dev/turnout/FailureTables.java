package dev.turnout;

import static dev.turnout.v1.FailureKind.FAILURE_KIND_AUTHENTICATION;
import static dev.turnout.v1.FailureKind.FAILURE_KIND_CONNECTION;
import static dev.turnout.v1.FailureKind.FAILURE_KIND_CONTENT_FILTERED;
import static dev.turnout.v1.FailureKind.FAILURE_KIND_CONTEXT_LENGTH;
import static dev.turnout.v1.FailureKind.FAILURE_KIND_INVALID_REQUEST;
import static dev.turnout.v1.FailureKind.FAILURE_KIND_MODEL_NOT_FOUND;
import static dev.turnout.v1.FailureKind.FAILURE_KIND_OVERLOADED;
import static dev.turnout.v1.FailureKind.FAILURE_KIND_PERMISSION_DENIED;
import static dev.turnout.v1.FailureKind.FAILURE_KIND_QUOTA_EXHAUSTED;
import static dev.turnout.v1.FailureKind.FAILURE_KIND_RATE_LIMITED;
import static dev.turnout.v1.FailureKind.FAILURE_KIND_SERVER_ERROR;
import static dev.turnout.v1.FailureKind.FAILURE_KIND_TIMEOUT;
import static dev.turnout.v1.FailureKind.FAILURE_KIND_TRUNCATED;
import static dev.turnout.v1.FailureKind.FAILURE_KIND_UNKNOWN;

import dev.turnout.v1.FailureKind;
import java.util.Map;

/** What statuses, providers' error codes and exception classes mean; the same as in Turnout's other clients. */
final class FailureTables {
    /** The providers' own error codes and types, where they say more than the status. */
    static final Map<String, FailureKind> BY_CODE = Map.ofEntries(
            Map.entry("authentication_error", FAILURE_KIND_AUTHENTICATION),
            Map.entry("billing_error", FAILURE_KIND_QUOTA_EXHAUSTED),
            Map.entry("billing_hard_limit_reached", FAILURE_KIND_QUOTA_EXHAUSTED),
            Map.entry("billing_not_active", FAILURE_KIND_QUOTA_EXHAUSTED),
            Map.entry("capacity_exceeded", FAILURE_KIND_OVERLOADED),
            Map.entry("content_filter", FAILURE_KIND_CONTENT_FILTERED),
            Map.entry("content_policy_violation", FAILURE_KIND_CONTENT_FILTERED),
            Map.entry("context_length_exceeded", FAILURE_KIND_CONTEXT_LENGTH),
            Map.entry("credit_balance_exhausted", FAILURE_KIND_QUOTA_EXHAUSTED),
            Map.entry("enforced_spend_limit_reached", FAILURE_KIND_QUOTA_EXHAUSTED),
            Map.entry("engine_overloaded_error", FAILURE_KIND_OVERLOADED),
            Map.entry("exceeded_current_quota_error", FAILURE_KIND_QUOTA_EXHAUSTED),
            Map.entry("insufficient_quota", FAILURE_KIND_QUOTA_EXHAUSTED),
            Map.entry("invalid_api_key", FAILURE_KIND_AUTHENTICATION),
            Map.entry("model_not_found", FAILURE_KIND_MODEL_NOT_FOUND),
            Map.entry("overloaded_error", FAILURE_KIND_OVERLOADED),
            Map.entry("rate_limit_error", FAILURE_KIND_RATE_LIMITED),
            Map.entry("rate_limit_exceeded", FAILURE_KIND_RATE_LIMITED),
            Map.entry("request_too_large", FAILURE_KIND_CONTEXT_LENGTH),
            Map.entry("server_is_overloaded", FAILURE_KIND_OVERLOADED),
            Map.entry("slow_down", FAILURE_KIND_OVERLOADED));

    /** For a 400 whose code says nothing more: all that the provider gives is its message. */
    static final Map<String, FailureKind> BY_PHRASE = Map.of(
            // anthropic, 400: "prompt is too long: 210000 tokens > 200000 maximum"
            "prompt is too long", FAILURE_KIND_CONTEXT_LENGTH,
            // anthropic, 400: "Your credit balance is too low to access the Anthropic API."
            "credit balance is too low", FAILURE_KIND_QUOTA_EXHAUSTED);

    /** By class name, looked up along the exception's base classes, nearest first; nothing of theirs is loaded. */
    static final Map<String, FailureKind> BY_CLASS = Map.ofEntries(
            Map.entry("java.util.concurrent.TimeoutException", FAILURE_KIND_TIMEOUT),
            Map.entry("java.net.SocketTimeoutException", FAILURE_KIND_TIMEOUT),
            Map.entry("java.net.http.HttpTimeoutException", FAILURE_KIND_TIMEOUT),
            Map.entry("java.net.SocketException", FAILURE_KIND_CONNECTION),
            Map.entry("java.net.UnknownHostException", FAILURE_KIND_CONNECTION),
            Map.entry("java.net.ProtocolException", FAILURE_KIND_CONNECTION),
            Map.entry("java.nio.channels.ClosedChannelException", FAILURE_KIND_CONNECTION),
            Map.entry("java.nio.channels.UnresolvedAddressException", FAILURE_KIND_CONNECTION),
            Map.entry("java.io.EOFException", FAILURE_KIND_CONNECTION),
            Map.entry("javax.net.ssl.SSLException", FAILURE_KIND_CONNECTION),
            Map.entry("okhttp3.internal.http2.StreamResetException", FAILURE_KIND_CONNECTION),
            Map.entry("okhttp3.internal.http2.ConnectionShutdownException", FAILURE_KIND_CONNECTION),
            Map.entry("org.apache.http.NoHttpResponseException", FAILURE_KIND_CONNECTION),
            Map.entry("org.apache.hc.core5.http.NoHttpResponseException", FAILURE_KIND_CONNECTION),
            Map.entry("org.apache.http.ConnectionClosedException", FAILURE_KIND_TRUNCATED),
            Map.entry("org.apache.hc.core5.http.ConnectionClosedException", FAILURE_KIND_TRUNCATED),
            Map.entry("io.netty.handler.timeout.ReadTimeoutException", FAILURE_KIND_TIMEOUT),
            Map.entry("reactor.netty.http.client.PrematureCloseException", FAILURE_KIND_CONNECTION));

    /** What SDKs wrap whatever their HTTP client threw into: counts where no cause says more. */
    static final Map<String, FailureKind> BY_WRAPPER = Map.of(
            "com.openai.errors.OpenAIIoException", FAILURE_KIND_CONNECTION,
            "com.anthropic.errors.AnthropicIoException", FAILURE_KIND_CONNECTION,
            "org.springframework.web.client.ResourceAccessException", FAILURE_KIND_CONNECTION,
            "org.springframework.web.reactive.function.client.WebClientRequestException", FAILURE_KIND_CONNECTION);

    private static final Map<Integer, FailureKind> BY_STATUS = Map.ofEntries(
            Map.entry(400, FAILURE_KIND_INVALID_REQUEST),
            Map.entry(401, FAILURE_KIND_AUTHENTICATION),
            Map.entry(402, FAILURE_KIND_QUOTA_EXHAUSTED),
            Map.entry(403, FAILURE_KIND_PERMISSION_DENIED),
            Map.entry(404, FAILURE_KIND_MODEL_NOT_FOUND),
            Map.entry(407, FAILURE_KIND_CONNECTION),
            Map.entry(408, FAILURE_KIND_TIMEOUT),
            Map.entry(410, FAILURE_KIND_MODEL_NOT_FOUND),
            Map.entry(411, FAILURE_KIND_INVALID_REQUEST),
            Map.entry(413, FAILURE_KIND_CONTEXT_LENGTH),
            Map.entry(414, FAILURE_KIND_INVALID_REQUEST),
            Map.entry(415, FAILURE_KIND_INVALID_REQUEST),
            Map.entry(422, FAILURE_KIND_INVALID_REQUEST),
            Map.entry(429, FAILURE_KIND_RATE_LIMITED),
            Map.entry(431, FAILURE_KIND_INVALID_REQUEST),
            Map.entry(498, FAILURE_KIND_OVERLOADED),
            Map.entry(503, FAILURE_KIND_OVERLOADED),
            Map.entry(529, FAILURE_KIND_OVERLOADED));

    private FailureTables() {}

    /** What the sidecar takes an HTTP error status for. */
    static FailureKind ofStatus(int status) {
        FailureKind other = status >= 500 ? FAILURE_KIND_SERVER_ERROR : FAILURE_KIND_UNKNOWN;
        return BY_STATUS.getOrDefault(status, other);
    }
}
