package dev.turnout;

/** The client's own version, the same as the artifact's; a test holds the two together. */
final class Version {
    static final String CLIENT = "0.1.0";

    private Version() {}
}
