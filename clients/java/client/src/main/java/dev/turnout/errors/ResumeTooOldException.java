package dev.turnout.errors;

/** The revision to resume from is no longer held: watch again without one. */
public class ResumeTooOldException extends TurnoutException {
    private static final long serialVersionUID = 1L;

    /**
     * Makes one.
     *
     * @param message what happened
     * @param details what the answer said beside it
     */
    public ResumeTooOldException(String message, ErrorDetails details) {
        super(message, details);
    }
}
