package dev.turnout;

import java.time.Duration;
import java.util.function.LongSupplier;

/** A monotonic clock that tests move. */
final class VirtualClock implements LongSupplier {
    private long nanos = 5_000_000_000L;

    @Override
    public long getAsLong() {
        return nanos;
    }

    void pass(Duration time) {
        nanos += time.toNanos();
    }
}
