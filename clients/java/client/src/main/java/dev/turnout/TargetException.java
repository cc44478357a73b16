package dev.turnout;

import java.net.http.HttpResponse;
import java.util.List;
import java.util.Map;

/**
 * A provider answered with an HTTP error status: for applications that call providers without an SDK, whose own exceptions
 * a plan understands as well.
 */
public class TargetException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    private final int statusCode;
    private final String code;
    private final transient Map<String, List<String>> headers;

    /**
     * Makes one.
     *
     * @param message what happened; no prompt and no key
     * @param statusCode the HTTP status, 400 to 599
     * @param code the provider's own error code or type, such as {@code insufficient_quota}; empty for none
     * @param headers the answer's headers, for {@code Retry-After}
     */
    public TargetException(String message, int statusCode, String code, Map<String, List<String>> headers) {
        super(message);
        this.statusCode = statusCode;
        this.code = code;
        this.headers = headers;
    }

    /**
     * The error of an answer of {@code java.net.http}.
     *
     * @param response an answer with a status of 400 to 599
     * @return the error
     */
    public static TargetException of(HttpResponse<?> response) {
        return new TargetException(
                "HTTP " + response.statusCode() + " from " + response.uri().getHost(),
                response.statusCode(),
                "",
                response.headers().map());
    }

    /**
     * The HTTP status.
     *
     * @return 400 to 599
     */
    public int statusCode() {
        return statusCode;
    }

    /**
     * The provider's own error code.
     *
     * @return the code, empty for none
     */
    public String code() {
        return code;
    }

    /**
     * The answer's headers.
     *
     * @return by name
     */
    public Map<String, List<String>> headers() {
        return headers == null ? Map.of() : headers;
    }
}
