package dev.turnout.errors;

/** A fault of the sidecar; its log has the details, under the decision id where there is one. */
public class SidecarFaultException extends TurnoutException {
    private static final long serialVersionUID = 1L;

    /**
     * Makes one.
     *
     * @param message what happened
     * @param details what the answer said beside it
     */
    public SidecarFaultException(String message, ErrorDetails details) {
        super(message, details);
    }
}
