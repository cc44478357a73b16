package dev.turnout.errors;

/** No token, or a wrong one. */
public class UnauthenticatedException extends TurnoutException {
    private static final long serialVersionUID = 1L;

    /**
     * Makes one.
     *
     * @param message what happened
     * @param details what the answer said beside it
     */
    public UnauthenticatedException(String message, ErrorDetails details) {
        super(message, details);
    }
}
