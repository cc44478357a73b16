package dev.turnout;

import dev.turnout.errors.DeadlineException;
import dev.turnout.errors.DrainCutException;
import dev.turnout.errors.DrainingException;
import dev.turnout.errors.SidecarOverloadedException;
import dev.turnout.errors.UnreachableException;

/**
 * Whether the sidecar is away, and who looks for it: after a failure nobody does for a second, then one caller, while the
 * others go on with what they have. Pure: the clock's value is an argument. For one thread at a time.
 */
final class Away {
    static final long PAUSE_NANOS = 1_000_000_000L;

    private String reason = "";
    private long until;
    private boolean asking;

    /** Whether an error says that the sidecar is away or has no room, rather than that it refuses the request. */
    static boolean isShownBy(Throwable error) {
        if (error instanceof UnreachableException unreachable) {
            // A reason that this version does not know is a word of the sidecar's all the same.
            return unreachable.reason().isEmpty();
        }
        return error instanceof DeadlineException
                || error instanceof DrainingException
                || error instanceof DrainCutException
                || error instanceof SidecarOverloadedException;
    }

    /** Whether this caller, who has something to fall back on, is to ask the sidecar; then {@link #end} once. */
    boolean mayAsk(long now) {
        if (reason.isEmpty()) {
            return true;
        }
        if (asking || now - until < 0) {
            return false;
        }
        asking = true;
        return true;
    }

    /** Why it is away, empty where it is not. */
    String reason() {
        return reason;
    }

    void found(String why, long now) {
        reason = why;
        until = now + PAUSE_NANOS;
    }

    void over() {
        reason = "";
    }

    /** The caller who asked has done so, however that ended. */
    void end() {
        asking = false;
    }
}
