package dev.turnout;

import dev.turnout.errors.TurnoutException;
import dev.turnout.errors.UnauthenticatedException;
import java.time.Duration;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.function.BooleanSupplier;
import java.util.function.LongSupplier;
import java.util.random.RandomGenerator;

/**
 * The tries of one call, which share one deadline. Pure: the clock (monotonic nanoseconds) and chance are arguments. Used
 * by one call, whose tries come one after the other.
 */
final class Tries {
    static final long BASE_NANOS = 100_000_000L;
    static final long MAX_NANOS = 2_000_000_000L;
    static final double JITTER = 0.2;

    private final RetryPolicy policy;
    private final int maxRetryCount;
    private final LongSupplier clock;
    private final RandomGenerator random;
    private final OptionalLong deadline;
    private int madeCount;
    private boolean renewed;

    /** A call that begins now. A null timeout is no deadline. */
    Tries(RetryPolicy policy, Duration timeout, int maxRetryCount, LongSupplier clock, RandomGenerator random) {
        this.policy = policy;
        this.maxRetryCount = maxRetryCount;
        this.clock = clock;
        this.random = random;
        this.deadline = timeout == null
                ? OptionalLong.empty()
                : OptionalLong.of(clock.getAsLong() + timeout.toNanos());
    }

    /** What is left for the next try, never below a millisecond; empty for no deadline. */
    OptionalLong remainingNanos() {
        return deadline.isEmpty()
                ? deadline
                : OptionalLong.of(Math.max(1_000_000L, deadline.getAsLong() - clock.getAsLong()));
    }

    /**
     * How long to wait before the next try, empty where there must not be one.
     *
     * <p>What the sidecar asked for is the least; up to 20 % is added so that callers who were told the same do not come
     * back together. Without a word of the sidecar: full jitter below 0.1 s · 2ⁿ, at most 2 s. A wait that would use up
     * the deadline is not begun. {@code otherToken} tells whether there is another token than the one that was refused:
     * a call is made again once for it, and that one is not counted, since the sidecar has not looked at the request.
     */
    Optional<Duration> waitAfter(TurnoutException error, BooleanSupplier otherToken) {
        if (error instanceof UnauthenticatedException && !renewed && otherToken.getAsBoolean()) {
            renewed = true;
            return Optional.of(Duration.ZERO);
        }
        if (!policy.allows(error) || madeCount >= maxRetryCount) {
            return Optional.empty();
        }
        long wait = waitNanos(error, madeCount, random);
        if (deadline.isPresent() && deadline.getAsLong() - clock.getAsLong() <= wait) {
            return Optional.empty();
        }
        madeCount++;
        return Optional.of(Duration.ofNanos(wait));
    }

    /** How long to wait after an error that came after {@code count} others, by the rule above. */
    static long waitNanos(RuntimeException error, int count, RandomGenerator random) {
        if (error instanceof TurnoutException told && told.retryAfter().isPresent()) {
            // A day is beyond every deadline, and keeps the arithmetic within bounds.
            Duration asked = told.retryAfter().get();
            long nanos = asked.compareTo(Duration.ofDays(1)) > 0 ? Duration.ofDays(1).toNanos() : asked.toNanos();
            return (long) (nanos * (1 + JITTER * random.nextDouble()));
        }
        long limit = Math.min(MAX_NANOS, BASE_NANOS << Math.min(count, 10));
        return (long) (limit * random.nextDouble());
    }
}
