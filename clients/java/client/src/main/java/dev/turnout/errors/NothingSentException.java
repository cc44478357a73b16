package dev.turnout.errors;

/** Nothing was sent to any provider: safe to send again, after {@link #retryAfter()} where given. */
public class NothingSentException extends TurnoutException {
    private static final long serialVersionUID = 1L;

    /**
     * Makes one.
     *
     * @param message what happened
     * @param details what the answer said beside it
     */
    public NothingSentException(String message, ErrorDetails details) {
        super(message, details);
    }
}
