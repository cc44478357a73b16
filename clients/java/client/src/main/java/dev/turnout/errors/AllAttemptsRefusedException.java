package dev.turnout.errors;

/** Every allowed attempt failed and none can have been billed: safe to send again later. */
public class AllAttemptsRefusedException extends CallException {
    private static final long serialVersionUID = 1L;

    /**
     * Makes one.
     *
     * @param message what happened
     * @param details what the answer said beside it
     */
    public AllAttemptsRefusedException(String message, ErrorDetails details) {
        super(message, details);
    }
}
