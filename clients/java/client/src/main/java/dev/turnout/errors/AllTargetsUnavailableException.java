package dev.turnout.errors;

/** Targets fit the request, none can be used now. */
public class AllTargetsUnavailableException extends NothingSentException {
    private static final long serialVersionUID = 1L;

    /**
     * Makes one.
     *
     * @param message what happened
     * @param details what the answer said beside it
     */
    public AllTargetsUnavailableException(String message, ErrorDetails details) {
        super(message, details);
    }
}
