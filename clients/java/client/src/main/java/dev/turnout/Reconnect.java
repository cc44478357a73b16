package dev.turnout;

import io.grpc.ConnectivityState;
import io.grpc.ManagedChannel;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;

/**
 * Looks for a lost sidecar again after 0.1 s, then ever later up to 2 s: it is next door and back within seconds, while
 * gRPC's own backoff, which Java has no setting for, grows to two minutes.
 */
final class Reconnect {
    private static final long FIRST_MILLIS = 100;
    private static final long LAST_MILLIS = 2_000;

    private final ManagedChannel channel;
    private final ScheduledExecutorService timer;

    Reconnect(ManagedChannel channel, ScheduledExecutorService timer) {
        this.channel = channel;
        this.timer = timer;
    }

    /** Begins to follow the channel's state, until it is shut down. */
    void begin() {
        follow(channel.getState(false));
    }

    private void follow(ConnectivityState state) {
        if (state == ConnectivityState.TRANSIENT_FAILURE) {
            lookAgainIn(FIRST_MILLIS);
        } else if (state != ConnectivityState.SHUTDOWN) {
            channel.notifyWhenStateChanged(state, () -> follow(channel.getState(false)));
        }
    }

    private void lookAgainIn(long millis) {
        try {
            timer.schedule(() -> lookAgain(millis), millis, TimeUnit.MILLISECONDS);
        } catch (RejectedExecutionException error) {
            // The client is closed.
            return;
        }
    }

    private void lookAgain(long lastMillis) {
        ConnectivityState state = channel.getState(false);
        if (state != ConnectivityState.TRANSIENT_FAILURE) {
            follow(state);
            return;
        }
        channel.resetConnectBackoff();
        // A failed try does not change the state, so that nobody would tell of it.
        lookAgainIn(Math.min(2 * lastMillis, LAST_MILLIS));
    }
}
