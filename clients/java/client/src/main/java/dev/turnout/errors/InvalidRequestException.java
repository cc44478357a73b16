package dev.turnout.errors;

/** The request is malformed or contradicts itself; {@link #fieldViolations()} says where. */
public class InvalidRequestException extends TurnoutException {
    private static final long serialVersionUID = 1L;

    /**
     * Makes one.
     *
     * @param message what happened
     * @param details what the answer said beside it
     */
    public InvalidRequestException(String message, ErrorDetails details) {
        super(message, details);
    }
}
