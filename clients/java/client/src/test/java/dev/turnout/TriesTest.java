package dev.turnout;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.turnout.errors.AllTargetsUnavailableException;
import dev.turnout.errors.AttemptsExhaustedException;
import dev.turnout.errors.DrainingException;
import dev.turnout.errors.ErrorDetails;
import dev.turnout.errors.SidecarOverloadedException;
import dev.turnout.errors.TurnoutException;
import dev.turnout.errors.UnauthenticatedException;
import dev.turnout.errors.UnreachableException;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;

class TriesTest {
    private static final TurnoutException LOST = new UnreachableException("reset", ErrorDetails.NONE);

    private final VirtualClock clock = new VirtualClock();

    private Tries tries(RetryPolicy policy, Duration timeout, double chance) {
        return new Tries(policy, timeout, 3, clock, new FixedChance(chance));
    }

    private static ErrorDetails asked(Duration wait, boolean forbidden) {
        return new ErrorDetails(null, "", "", Map.of(), wait, forbidden, List.of(), null);
    }

    @Test
    void waitsGrowUnderFullJitterAndEndAfterThreeRetries() {
        Tries tries = tries(RetryPolicy.IDEMPOTENT, Duration.ofSeconds(60), 0.5);

        assertEquals(Optional.of(Duration.ofMillis(50)), tries.waitAfter(LOST, () -> false));
        assertEquals(Optional.of(Duration.ofMillis(100)), tries.waitAfter(LOST, () -> false));
        assertEquals(Optional.of(Duration.ofMillis(200)), tries.waitAfter(LOST, () -> false));
        assertEquals(Optional.empty(), tries.waitAfter(LOST, () -> false));
    }

    @Test
    void jitterIsBelowTwoSecondsHoweverManyCameBefore() {
        assertEquals(1_000_000_000L, Tries.waitNanos(LOST, 60, new FixedChance(0.5)));
    }

    @Test
    void whatTheSidecarAskedForIsTheLeast() {
        TurnoutException full = new SidecarOverloadedException("full", asked(Duration.ofSeconds(1), false));

        assertEquals(
                Optional.of(Duration.ofSeconds(1)),
                tries(RetryPolicy.EXECUTE, Duration.ofSeconds(60), 0).waitAfter(full, () -> false));
        assertEquals(
                Optional.of(Duration.ofMillis(1100)),
                tries(RetryPolicy.EXECUTE, Duration.ofSeconds(60), 0.5).waitAfter(full, () -> false));
    }

    @Test
    void noRetryWhereTheSidecarForbidsIt() {
        TurnoutException cut = new DrainingException("cut", asked(null, true));

        assertEquals(Optional.empty(), tries(RetryPolicy.IDEMPOTENT, null, 0).waitAfter(cut, () -> false));
    }

    @Test
    void noWaitThatWouldOutlastTheDeadline() {
        TurnoutException full = new SidecarOverloadedException("full", asked(Duration.ofSeconds(2), false));
        Tries tries = tries(RetryPolicy.EXECUTE, Duration.ofSeconds(3), 0);

        assertEquals(Optional.of(Duration.ofSeconds(2)), tries.waitAfter(full, () -> false));
        clock.pass(Duration.ofSeconds(1));
        assertEquals(Optional.empty(), tries.waitAfter(full, () -> false));
    }

    @Test
    void aCallThatMayHaveBeenSentIsNotMadeAgain() {
        TurnoutException billed = new AttemptsExhaustedException("all failed", ErrorDetails.NONE);
        TurnoutException none = new AllTargetsUnavailableException("none", ErrorDetails.NONE);

        assertFalse(RetryPolicy.EXECUTE.allows(LOST));
        assertFalse(RetryPolicy.EXECUTE.allows(billed));
        assertTrue(RetryPolicy.EXECUTE.allows(none));
        assertFalse(RetryPolicy.IDEMPOTENT.allows(none), "no target now is an answer of Route");
        assertFalse(RetryPolicy.NEVER.allows(none));
    }

    @Test
    void anotherTokenIsTriedOnceAndNotCounted() {
        TurnoutException wrong = new UnauthenticatedException("wrong", ErrorDetails.NONE);
        Tries tries = new Tries(RetryPolicy.NEVER, null, 0, clock, new FixedChance(0));

        assertEquals(Optional.empty(), tries.waitAfter(wrong, () -> false));
        assertEquals(Optional.of(Duration.ZERO), tries.waitAfter(wrong, () -> true));
        assertEquals(Optional.empty(), tries.waitAfter(wrong, () -> true));
    }

    @Test
    void allTriesShareOneDeadline() {
        Tries tries = tries(RetryPolicy.IDEMPOTENT, Duration.ofSeconds(2), 0);
        clock.pass(Duration.ofMillis(1500));

        assertEquals(500_000_000L, tries.remainingNanos().getAsLong());
        clock.pass(Duration.ofSeconds(10));
        assertEquals(1_000_000L, tries.remainingNanos().getAsLong());
        assertTrue(tries(RetryPolicy.NEVER, null, 0).remainingNanos().isEmpty());
    }
}
