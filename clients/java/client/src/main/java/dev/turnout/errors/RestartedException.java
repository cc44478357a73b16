package dev.turnout.errors;

/** Text that was handed out is void, because the answer began again on another target. */
public class RestartedException extends TurnoutException {
    private static final long serialVersionUID = 1L;

    /**
     * Makes one.
     *
     * @param message what happened
     * @param details what the answer said beside it
     */
    public RestartedException(String message, ErrorDetails details) {
        super(message, details);
    }
}
