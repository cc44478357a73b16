package dev.turnout.errors;

/** The request id was used before, with another payload or by a stream that still runs. */
public class RequestIdReusedException extends TurnoutException {
    private static final long serialVersionUID = 1L;

    /**
     * Makes one.
     *
     * @param message what happened
     * @param details what the answer said beside it
     */
    public RequestIdReusedException(String message, ErrorDetails details) {
        super(message, details);
    }
}
