package dev.turnout.examples;

import dev.turnout.TargetException;
import dev.turnout.errors.CallException;
import dev.turnout.errors.DeadlineException;
import dev.turnout.errors.NothingSentException;
import dev.turnout.errors.TransportException;
import dev.turnout.errors.TurnoutException;

/** What became of a run, for whoever started it: the codes of Turnout's own command line, and two for scripts. */
enum ExitCode {
    /** An answer came. */
    WELL(0),
    /** The request was refused, or the provider's own error came out. */
    REFUSED(1),
    /** Wrong usage. */
    USAGE(2),
    /** The sidecar cannot be reached, or did not answer in time. */
    UNREACHABLE(3),
    /** Nothing was sent: the same run may go well later. */
    LATER(75),
    /** Calls were made and failed, some perhaps billed. */
    FAILED(76);

    private final int number;

    ExitCode(int number) {
        this.number = number;
    }

    int number() {
        return number;
    }

    static ExitCode of(Exception error) {
        if (error instanceof IllegalArgumentException) {
            return USAGE;
        }
        boolean silent = error instanceof DeadlineException deadline && deadline.reason().isEmpty();
        if (error instanceof TransportException || silent) {
            return UNREACHABLE;
        }
        if (error instanceof NothingSentException) {
            return LATER;
        }
        if (error instanceof CallException call && !call.attempts().isEmpty()) {
            return FAILED;
        }
        // Of the provider's own errors the last one comes out, as of a call without Turnout.
        return error instanceof TurnoutException || error instanceof TargetException ? REFUSED : FAILED;
    }
}
