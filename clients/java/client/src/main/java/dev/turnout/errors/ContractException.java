package dev.turnout.errors;

/** The sidecar answered in a way that the contract does not allow, such as a stream without its end. */
public class ContractException extends TurnoutException {
    private static final long serialVersionUID = 1L;

    /**
     * Makes one.
     *
     * @param message what happened
     * @param details what the answer said beside it
     */
    public ContractException(String message, ErrorDetails details) {
        super(message, details);
    }
}
