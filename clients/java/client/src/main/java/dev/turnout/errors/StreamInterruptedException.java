package dev.turnout.errors;

/** The stream broke after output began: what came so far is not the answer. */
public class StreamInterruptedException extends CallException {
    private static final long serialVersionUID = 1L;

    /**
     * Makes one.
     *
     * @param message what happened
     * @param details what the answer said beside it
     */
    public StreamInterruptedException(String message, ErrorDetails details) {
        super(message, details);
    }
}
