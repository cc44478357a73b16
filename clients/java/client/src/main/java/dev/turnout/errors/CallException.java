package dev.turnout.errors;

import dev.turnout.v1.Usage;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.OptionalLong;

/** A call that was made failed; {@link #attempts()} says what each call to a provider did, the rest what it came to. */
public class CallException extends TurnoutException {
    private static final long serialVersionUID = 1L;

    /**
     * Makes one.
     *
     * @param message what happened
     * @param details what the answer said beside it
     */
    public CallException(String message, ErrorDetails details) {
        super(message, details);
    }

    /**
     * UTF-8 bytes of content that had been passed on and count; after a restart what came before does not.
     *
     * @return the bytes, empty where the sidecar could not tell
     */
    public OptionalLong deliveredBytes() {
        return details().callFailure() == null
                ? OptionalLong.empty()
                : OptionalLong.of(details().callFailure().getDeliveredBytes());
    }

    /**
     * Tokens of all attempts together.
     *
     * @return the usage, empty where nothing was used, or nothing is known
     */
    public Optional<Usage> usage() {
        return details().callFailure() != null && details().callFailure().hasUsage()
                ? Optional.of(details().callFailure().getUsage())
                : Optional.empty();
    }

    /**
     * What all attempts cost together, in USD.
     *
     * @return the cost, empty where that is not known of one of them
     */
    public OptionalDouble costUsd() {
        return details().callFailure() != null && details().callFailure().hasCostUsd()
                ? OptionalDouble.of(details().callFailure().getCostUsd())
                : OptionalDouble.empty();
    }
}
