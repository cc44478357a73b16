package dev.turnout.errors;

/** Something named in the request is not known to the sidecar; {@link #reason()} says what. */
public class NotFoundException extends TurnoutException {
    private static final long serialVersionUID = 1L;

    /**
     * Makes one.
     *
     * @param message what happened
     * @param details what the answer said beside it
     */
    public NotFoundException(String message, ErrorDetails details) {
        super(message, details);
    }
}
