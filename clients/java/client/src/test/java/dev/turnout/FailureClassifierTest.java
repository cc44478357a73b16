package dev.turnout;

import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.turnout.v1.FailureKind;
import java.io.EOFException;
import java.io.IOException;
import java.io.InterruptedIOException;
import java.io.UncheckedIOException;
import java.net.ConnectException;
import java.net.SocketTimeoutException;
import java.net.UnknownHostException;
import java.net.http.HttpConnectTimeoutException;
import java.net.http.HttpHeaders;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletionException;
import javax.net.ssl.SSLHandshakeException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class FailureClassifierTest {
    private static final Instant NOW = Instant.parse("2026-11-01T12:00:00Z");

    private static Failure classify(Throwable error) {
        return FailureClassifier.classify(error, NOW);
    }

    private static String kind(Throwable error) {
        return classify(error).kind().name().replace("FAILURE_KIND_", "");
    }

    private static TargetException http(int status, String code, Map<String, List<String>> headers) {
        return new TargetException("HTTP " + status, status, code, headers);
    }

    /** As openai-java and anthropic-java carry it: methods, and headers of a class of their own. */
    public static final class SdkException extends RuntimeException {
        private static final long serialVersionUID = 1L;

        /** Headers as those SDKs have them. */
        public static final class Headers {
            /** The values of a name. */
            public List<String> values(String name) {
                return name.equalsIgnoreCase("Retry-After") ? List.of("7") : List.of();
            }
        }

        /** The status. */
        public int statusCode() {
            return 429;
        }

        /** The code. */
        public Optional<String> code() {
            return Optional.of("insufficient_quota");
        }

        /** The headers. */
        public Headers headers() {
            return new Headers();
        }
    }

    /** As Spring's clients carry it: a status object with the number in it. */
    public static final class SpringException extends RuntimeException {
        private static final long serialVersionUID = 1L;

        /** A status. */
        public static final class Code {
            /** The number. */
            public int value() {
                return 503;
            }
        }

        /** The status. */
        public Code getStatusCode() {
            return new Code();
        }
    }

    /** An exception that carries its response, whose body was read. */
    public static final class ResponseException extends RuntimeException {
        private static final long serialVersionUID = 1L;

        /** A response. */
        public static final class Response {
            /** The status. */
            public int statusCode() {
                return 400;
            }

            /** The headers. */
            public HttpHeaders headers() {
                return HttpHeaders.of(Map.of("retry-after-ms", List.of("1500")), (name, value) -> true);
            }
        }

        /** The response. */
        public Response response() {
            return new Response();
        }

        /** The body. */
        public Map<String, Object> body() {
            return Map.of("error", Map.of("code", "context_length_exceeded"));
        }
    }

    @ParameterizedTest
    @CsvSource({
        "400,INVALID_REQUEST", "401,AUTHENTICATION", "402,QUOTA_EXHAUSTED", "403,PERMISSION_DENIED", "404,MODEL_NOT_FOUND",
        "407,CONNECTION", "408,TIMEOUT", "413,CONTEXT_LENGTH", "418,UNKNOWN", "422,INVALID_REQUEST", "429,RATE_LIMITED",
        "498,OVERLOADED", "500,SERVER_ERROR", "503,OVERLOADED", "529,OVERLOADED", "599,SERVER_ERROR"
    })
    void aStatusTellsTheKind(int status, String kind) {
        assertEquals(kind, kind(http(status, "", Map.of())));
        assertEquals(OptionalInt.of(status), classify(http(status, "", Map.of())).httpStatus());
    }

    @Test
    void theProvidersCodeSaysMoreThanTheStatus() {
        assertEquals("QUOTA_EXHAUSTED", kind(http(429, "insufficient_quota", Map.of())));
        assertEquals("RATE_LIMITED", kind(http(429, "a_new_code", Map.of())));
        assertEquals("CONTEXT_LENGTH", kind(new TargetException("prompt is too long: 9 > 8", 400, "", Map.of())));
    }

    @Test
    void sdksAreUnderstoodWithoutBeingKnown() {
        assertEquals("QUOTA_EXHAUSTED", kind(new SdkException()));
        assertEquals(Optional.of(Duration.ofSeconds(7)), classify(new SdkException()).retryAfter());
        assertEquals("OVERLOADED", kind(new SpringException()));
        assertEquals("CONTEXT_LENGTH", kind(new CompletionException(new ResponseException())));
        assertEquals(Optional.of(Duration.ofMillis(1500)), classify(new ResponseException()).retryAfter());
    }

    @Test
    void timeoutsAndLostConnectionsAreFoundAmongTheCauses() {
        assertEquals("TIMEOUT", kind(new HttpConnectTimeoutException("slow")));
        assertEquals("TIMEOUT", kind(new RuntimeException("wrapped", new SocketTimeoutException("slow"))));
        assertEquals("TIMEOUT", kind(new InterruptedIOException("timeout")));
        assertEquals("CONNECTION", kind(new ConnectException("refused")));
        assertEquals("CONNECTION", kind(new IOException("received no bytes", new EOFException("EOF"))));
        assertEquals("CONNECTION", kind(new UncheckedIOException(new UnknownHostException("nowhere"))));
        assertEquals("CONNECTION", kind(new SSLHandshakeException("no")));
    }

    @Test
    void aCallerThatStoppedIsNobodysFault() {
        assertEquals("CANCELLED", kind(new CancellationException()));
        assertEquals("CANCELLED", kind(new RuntimeException(new InterruptedException())));
        assertEquals("CANCELLED", kind(new InterruptedIOException("interrupted")));
    }

    @Test
    void aMistakeTellsNothingOfAProvider() {
        assertEquals(Failure.of(FailureKind.FAILURE_KIND_UNKNOWN), classify(new NullPointerException()));
        assertEquals(Failure.of(FailureKind.FAILURE_KIND_UNKNOWN), classify(new IOException("disk full")));
        assertEquals(Failure.of(FailureKind.FAILURE_KIND_UNKNOWN), classify(http(200, "", Map.of())));
    }

    @ParameterizedTest
    @CsvSource({
        "2,PT2S", "0.5,PT0.5S", "99999,PT1H", "'Sun, 01 Nov 2026 12:01:00 GMT',PT1M", "'Sun, 01 Nov 2026 11:00:00 GMT',",
        "soon,", "-3,", "nan,"
    })
    void retryAfterIsReadInBothForms(String value, Duration wait) {
        Failure failure = classify(http(429, "", Map.of("Retry-After", List.of(value))));

        assertEquals(Optional.ofNullable(wait), failure.retryAfter());
    }

    @Test
    void circularCausesEnd() {
        RuntimeException one = new RuntimeException("one");
        RuntimeException two = new RuntimeException("two", one);
        one.initCause(two);

        assertEquals("UNKNOWN", kind(one));
    }
}
