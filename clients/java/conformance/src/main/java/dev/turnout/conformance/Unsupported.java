package dev.turnout.conformance;

/** An operation that this driver does not know. */
final class Unsupported extends RuntimeException {
    private static final long serialVersionUID = 1L;

    Unsupported(String operation) {
        super(operation + " is not an operation of this driver");
    }
}
