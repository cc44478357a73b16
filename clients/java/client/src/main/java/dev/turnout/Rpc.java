package dev.turnout;

import java.time.Duration;

/** How each RPC is called: its deadline where the caller names none (null for none), and when it may be called again. */
enum Rpc {
    ROUTE(Duration.ofSeconds(2), RetryPolicy.IDEMPOTENT),
    REPORT_OUTCOME(Duration.ofSeconds(5), RetryPolicy.IDEMPOTENT),
    PROVIDER_STATUS(Duration.ofSeconds(5), RetryPolicy.IDEMPOTENT),
    /** The sidecar's own default for a call without a deadline. */
    EXECUTE(Duration.ofSeconds(600), RetryPolicy.EXECUTE),
    /** The sidecar's own default for the longest stream; how long silence may last is the sidecar's to watch. */
    EXECUTE_STREAM(Duration.ofSeconds(1800), RetryPolicy.EXECUTE),
    WATCH(null, RetryPolicy.NEVER);

    private static final Duration LONGEST = Duration.ofDays(365);

    private final Duration timeout;
    private final RetryPolicy retries;

    Rpc(Duration timeout, RetryPolicy retries) {
        this.timeout = timeout;
        this.retries = retries;
    }

    RetryPolicy retries() {
        return retries;
    }

    /** The time for a call with all its tries, null for no end. Throws IllegalArgumentException for one not positive. */
    Duration timeout(Duration given) {
        if (given == null) {
            return timeout;
        }
        if (given.isNegative() || given.isZero()) {
            throw new IllegalArgumentException(
                    "timeout is " + given + ": give a positive duration, or leave it out for the default");
        }
        return given.compareTo(LONGEST) > 0 ? LONGEST : given;
    }
}
