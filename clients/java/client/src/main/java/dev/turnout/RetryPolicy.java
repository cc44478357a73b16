package dev.turnout;

import dev.turnout.errors.AllAttemptsRefusedException;
import dev.turnout.errors.AllTargetsUnavailableException;
import dev.turnout.errors.DrainingException;
import dev.turnout.errors.SidecarOverloadedException;
import dev.turnout.errors.TurnoutException;
import dev.turnout.errors.UnreachableException;
import java.util.List;

/**
 * Which errors of an RPC may be followed by another try: only where nothing can have been sent, or where the call changes
 * nothing.
 */
enum RetryPolicy {
    /** Route, ProviderStatus, ReportOutcome: once too often is harmless. "No target now" is an answer, not a failure. */
    IDEMPOTENT(List.of(UnreachableException.class, SidecarOverloadedException.class, DrainingException.class)),

    /** Execute, ExecuteStream: only what was surely not billed; a lost connection does not say that nothing was sent. */
    EXECUTE(List.of(
            AllTargetsUnavailableException.class,
            AllAttemptsRefusedException.class,
            SidecarOverloadedException.class,
            DrainingException.class)),

    /** Watching: the caller decides where to resume. */
    NEVER(List.of());

    private final List<Class<? extends TurnoutException>> errors;

    RetryPolicy(List<Class<? extends TurnoutException>> errors) {
        this.errors = errors;
    }

    /** Whether the error may be followed by another try of a call under this policy. */
    boolean allows(TurnoutException error) {
        return !error.retryForbidden() && errors.stream().anyMatch(kind -> kind.isInstance(error));
    }
}
