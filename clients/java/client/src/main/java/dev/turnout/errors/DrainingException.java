package dev.turnout.errors;

/** The sidecar is stopping. */
public class DrainingException extends NothingSentException {
    private static final long serialVersionUID = 1L;

    /**
     * Makes one.
     *
     * @param message what happened
     * @param details what the answer said beside it
     */
    public DrainingException(String message, ErrorDetails details) {
        super(message, details);
    }
}
