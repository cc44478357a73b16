package dev.turnout.errors;

/** The sidecar stopped before the call had ended: sending again is the caller's choice. */
public class DrainCutException extends CallException {
    private static final long serialVersionUID = 1L;

    /**
     * Makes one.
     *
     * @param message what happened
     * @param details what the answer said beside it
     */
    public DrainCutException(String message, ErrorDetails details) {
        super(message, details);
    }
}
