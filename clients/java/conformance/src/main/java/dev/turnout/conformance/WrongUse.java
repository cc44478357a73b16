package dev.turnout.conformance;

/** An argument that was found wrong before any call. */
final class WrongUse extends RuntimeException {
    private static final long serialVersionUID = 1L;

    WrongUse(String message, Throwable cause) {
        super(message, cause);
    }
}
