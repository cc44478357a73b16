package dev.turnout.errors;

/** No connection to the sidecar, or it broke: is it running, and is the address right? */
public class UnreachableException extends TransportException {
    private static final long serialVersionUID = 1L;

    /**
     * Makes one.
     *
     * @param message what happened
     * @param details what the answer said beside it
     */
    public UnreachableException(String message, ErrorDetails details) {
        super("the sidecar cannot be reached: " + message + "; is it running there?", details);
    }
}
