package dev.turnout.errors;

/** The provider refused the content before any output. */
public class ContentFilteredException extends CallException {
    private static final long serialVersionUID = 1L;

    /**
     * Makes one.
     *
     * @param message what happened
     * @param details what the answer said beside it
     */
    public ContentFilteredException(String message, ErrorDetails details) {
        super(message, details);
    }
}
