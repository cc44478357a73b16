package dev.turnout;

import dev.turnout.v1.FailureKind;
import java.time.Duration;
import java.util.Objects;
import java.util.Optional;
import java.util.OptionalInt;

/**
 * How a call to a provider failed.
 *
 * @param kind the failure kind
 * @param httpStatus the HTTP status, empty where there was none
 * @param retryAfter how long the provider asked to wait, at most one hour; empty where it did not
 */
public record Failure(FailureKind kind, OptionalInt httpStatus, Optional<Duration> retryAfter) {
    /**
     * Makes one.
     *
     * @param kind the failure kind
     * @param httpStatus the HTTP status, empty where there was none
     * @param retryAfter how long the provider asked to wait, at most one hour; empty where it did not
     * @throws NullPointerException for a null
     */
    public Failure {
        Objects.requireNonNull(kind, "kind");
        Objects.requireNonNull(httpStatus, "httpStatus");
        Objects.requireNonNull(retryAfter, "retryAfter");
    }

    /**
     * A failure of a kind, without status and wait.
     *
     * @param kind the failure kind
     * @return the failure
     */
    public static Failure of(FailureKind kind) {
        return new Failure(kind, OptionalInt.empty(), Optional.empty());
    }

    /** Whether it says something of the target; the request, the caller and mistakes in the application do not. */
    boolean speaksAgainstTarget() {
        return speaksAgainstTarget(kind, httpStatus.isPresent());
    }

    static boolean speaksAgainstTarget(FailureKind kind, boolean hasStatus) {
        return switch (kind) {
            case UNRECOGNIZED,
                    FAILURE_KIND_UNSPECIFIED,
                    FAILURE_KIND_CANCELLED,
                    FAILURE_KIND_INVALID_REQUEST,
                    FAILURE_KIND_CONTENT_FILTERED,
                    FAILURE_KIND_CONTEXT_LENGTH -> false;
            case FAILURE_KIND_UNKNOWN -> hasStatus;
            default -> true;
        };
    }

    /**
     * Whether another target may help. A wrong request, refused content and a caller that stopped are the same
     * everywhere; an unknown kind with a status came from a provider, one without may be a mistake in the application.
     */
    boolean anotherTargetMayHelp() {
        return switch (kind) {
            case FAILURE_KIND_INVALID_REQUEST, FAILURE_KIND_CONTENT_FILTERED, FAILURE_KIND_CANCELLED -> false;
            case FAILURE_KIND_UNKNOWN -> httpStatus.isPresent();
            default -> true;
        };
    }

    /** The same once tokens came: silence is a stall then, and a lost connection a cut answer. */
    Failure inMidStream() {
        if (kind == FailureKind.FAILURE_KIND_TIMEOUT && httpStatus.isEmpty()) {
            return of(FailureKind.FAILURE_KIND_STALLED);
        }
        return kind == FailureKind.FAILURE_KIND_CONNECTION ? of(FailureKind.FAILURE_KIND_TRUNCATED) : this;
    }
}
