package dev.turnout.errors;

/** The sidecar itself has no room. */
public class SidecarOverloadedException extends NothingSentException {
    private static final long serialVersionUID = 1L;

    /**
     * Makes one.
     *
     * @param message what happened
     * @param details what the answer said beside it
     */
    public SidecarOverloadedException(String message, ErrorDetails details) {
        super(message, details);
    }
}
