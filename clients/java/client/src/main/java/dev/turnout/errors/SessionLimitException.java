package dev.turnout.errors;

/** The session's own limit is reached. */
public class SessionLimitException extends TurnoutException {
    private static final long serialVersionUID = 1L;

    /**
     * Makes one.
     *
     * @param message what happened
     * @param details what the answer said beside it
     */
    public SessionLimitException(String message, ErrorDetails details) {
        super(message, details);
    }
}
