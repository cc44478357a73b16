package dev.turnout.errors;

/** No target can ever serve the request as asked: waiting does not help, {@link #rejections()} says why. */
public class NoEligibleTargetException extends TurnoutException {
    private static final long serialVersionUID = 1L;

    /**
     * Makes one.
     *
     * @param message what happened
     * @param details what the answer said beside it
     */
    public NoEligibleTargetException(String message, ErrorDetails details) {
        super(message, details);
    }
}
