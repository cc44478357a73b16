package dev.turnout.errors;

import dev.turnout.v1.Attempt;
import dev.turnout.v1.Rejection;
import io.grpc.Status;
import java.time.Duration;
import java.util.List;
import java.util.Objects;
import java.util.Optional;

/** Base of all errors of this client; carries what the answer said. */
public class TurnoutException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    private final String plainMessage;
    private final ErrorDetails details;

    /**
     * Makes one.
     *
     * @param message what happened
     * @param details what the answer said beside it
     */
    public TurnoutException(String message, ErrorDetails details) {
        super(details.reason().isEmpty() ? message : details.reason() + ": " + message);
        this.plainMessage = Objects.requireNonNull(message, "message");
        this.details = details;
    }

    /**
     * The message without the reason before it.
     *
     * @return what happened, in words
     */
    public String plainMessage() {
        return plainMessage;
    }

    /**
     * Everything that the answer said.
     *
     * @return the details
     */
    public ErrorDetails details() {
        return details;
    }

    /**
     * The gRPC status code.
     *
     * @return the code, empty where no call was made
     */
    public Optional<Status.Code> code() {
        return Optional.ofNullable(details.code());
    }

    /**
     * The reason in UPPER_SNAKE as the contract lists it: decide by this, never by messages.
     *
     * @return the reason, empty where the sidecar gave none
     */
    public String reason() {
        return details.reason();
    }

    /**
     * The decision it belongs to: {@code turnout explain} and the sidecar's log know it.
     *
     * @return the decision's id, empty for none
     */
    public String decisionId() {
        return details.decisionId();
    }

    /**
     * How long to wait before trying again.
     *
     * @return the wait, empty where waiting was not said to help
     */
    public Optional<Duration> retryAfter() {
        return Optional.ofNullable(details.retryAfter());
    }

    /**
     * Whether a retry must not happen by itself: something may have been billed.
     *
     * @return whether the sidecar forbids it
     */
    public boolean retryForbidden() {
        return details.retryForbidden();
    }

    /**
     * What is wrong with which field of the request.
     *
     * @return one for each field that is wrong
     */
    public List<FieldViolation> fieldViolations() {
        return details.fieldViolations();
    }

    /**
     * Every call to a provider that was made, in order.
     *
     * @return the attempts
     */
    public List<Attempt> attempts() {
        return details.callFailure() == null ? List.of() : details.callFailure().getAttemptsList();
    }

    /**
     * The targets that could not be used, each with its reasons.
     *
     * @return the rejections
     */
    public List<Rejection> rejections() {
        return details.callFailure() == null ? List.of() : details.callFailure().getRejectionsList();
    }
}
