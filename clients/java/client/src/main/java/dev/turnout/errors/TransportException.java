package dev.turnout.errors;

/** The call failed without an answer of the sidecar's: whether anything was sent is not known. */
public class TransportException extends TurnoutException {
    private static final long serialVersionUID = 1L;

    /**
     * Makes one.
     *
     * @param message what happened
     * @param details what the answer said beside it
     */
    public TransportException(String message, ErrorDetails details) {
        super(message, details);
    }
}
