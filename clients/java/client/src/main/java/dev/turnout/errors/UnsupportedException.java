package dev.turnout.errors;

/** The contract has it, this version of the sidecar does not. */
public class UnsupportedException extends TurnoutException {
    private static final long serialVersionUID = 1L;

    /**
     * Makes one.
     *
     * @param message what happened
     * @param details what the answer said beside it
     */
    public UnsupportedException(String message, ErrorDetails details) {
        super(message, details);
    }
}
