package dev.turnout.errors;

/** The provider says that the request itself is wrong. */
public class ProviderRejectedRequestException extends CallException {
    private static final long serialVersionUID = 1L;

    /**
     * Makes one.
     *
     * @param message what happened
     * @param details what the answer said beside it
     */
    public ProviderRejectedRequestException(String message, ErrorDetails details) {
        super(message, details);
    }
}
