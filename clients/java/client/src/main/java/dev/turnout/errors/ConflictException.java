package dev.turnout.errors;

/** What is to be changed was closed, changed meanwhile, or exists already; {@link #reason()} says which. */
public class ConflictException extends TurnoutException {
    private static final long serialVersionUID = 1L;

    /**
     * Makes one.
     *
     * @param message what happened
     * @param details what the answer said beside it
     */
    public ConflictException(String message, ErrorDetails details) {
        super(message, details);
    }
}
