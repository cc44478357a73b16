package dev.turnout.errors;

/** The token's role or the configuration does not allow it. */
public class PermissionDeniedException extends TurnoutException {
    private static final long serialVersionUID = 1L;

    /**
     * Makes one.
     *
     * @param message what happened
     * @param details what the answer said beside it
     */
    public PermissionDeniedException(String message, ErrorDetails details) {
        super(message, details);
    }
}
