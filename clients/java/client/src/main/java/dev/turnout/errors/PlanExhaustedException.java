package dev.turnout.errors;

/** No target of a plan was used with success, and no exception tells why. */
public class PlanExhaustedException extends TurnoutException {
    private static final long serialVersionUID = 1L;

    /**
     * Makes one.
     *
     * @param message what happened
     * @param details what the answer said beside it
     */
    public PlanExhaustedException(String message, ErrorDetails details) {
        super(message, details);
    }
}
