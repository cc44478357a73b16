package dev.turnout.errors;

/** The time given to the call ran out. Without a {@link #reason()} it is this client that stopped waiting. */
public class DeadlineException extends CallException {
    private static final long serialVersionUID = 1L;

    /**
     * Makes one.
     *
     * @param message what happened
     * @param details what the answer said beside it
     */
    public DeadlineException(String message, ErrorDetails details) {
        super(message, details);
    }
}
