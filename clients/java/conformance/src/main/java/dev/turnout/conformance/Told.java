package dev.turnout.conformance;

import com.google.gson.JsonObject;

/** An error that is told with more than it carries itself. */
final class Told extends RuntimeException {
    private static final long serialVersionUID = 1L;

    private final transient JsonObject also;

    Told(Throwable error, JsonObject also) {
        super(error);
        this.also = also;
    }

    JsonObject also() {
        return also;
    }
}
