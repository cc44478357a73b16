package dev.turnout.errors;

/** Every allowed attempt failed, some perhaps billed: sending again is the caller's choice. */
public class AttemptsExhaustedException extends CallException {
    private static final long serialVersionUID = 1L;

    /**
     * Makes one.
     *
     * @param message what happened
     * @param details what the answer said beside it
     */
    public AttemptsExhaustedException(String message, ErrorDetails details) {
        super(message, details);
    }
}
