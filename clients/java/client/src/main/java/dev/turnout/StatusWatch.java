package dev.turnout;

import dev.turnout.v1.WatchProviderStatusRequest;
import dev.turnout.v1.WatchProviderStatusResponse;
import java.util.Iterator;
import java.util.NoSuchElementException;
import java.util.concurrent.CancellationException;

/**
 * The state of providers as it changes: first all of it, then what changed, until {@link #close}. One thread reads at a
 * time; any thread may close. Its end throws: whoever watches decides where to resume.
 */
public final class StatusWatch
        implements Iterator<WatchProviderStatusResponse>, Iterable<WatchProviderStatusResponse>, AutoCloseable {
    private final EventQueue<WatchProviderStatusResponse> queue = new EventQueue<>();
    private final RetriedCall<WatchProviderStatusRequest, WatchProviderStatusResponse> call;
    private WatchProviderStatusResponse upcoming;
    private boolean ended;
    private RuntimeException error;

    StatusWatch(Opening opening) {
        call = opening.open(queue);
        call.begin();
    }

    /** Makes the call whose messages go into the sink. */
    interface Opening {
        RetriedCall<WatchProviderStatusRequest, WatchProviderStatusResponse> open(
                RetriedCall.Sink<WatchProviderStatusResponse> sink);
    }

    /**
     * Waits for the next change.
     *
     * @return whether there is one; false where the sidecar ended the watch well
     * @throws dev.turnout.errors.TurnoutException where the call failed
     * @throws CancellationException where the watch was closed or the thread interrupted
     */
    @Override
    public boolean hasNext() {
        while (upcoming == null && !ended) {
            read();
        }
        if (upcoming == null && error != null) {
            throw error;
        }
        return upcoming != null;
    }

    @Override
    public WatchProviderStatusResponse next() {
        if (!hasNext()) {
            throw new NoSuchElementException("the sidecar ended the watch");
        }
        WatchProviderStatusResponse message = upcoming;
        upcoming = null;
        return message;
    }

    /**
     * The changes that are still to come; the same as this watch, so that it can stand in a for loop.
     *
     * @return this watch
     */
    @Override
    public Iterator<WatchProviderStatusResponse> iterator() {
        return this;
    }

    /** Ends the call, from any thread. Whoever is reading gets a CancellationException. */
    @Override
    public void close() {
        call.cancel("the watch was closed");
    }

    private void read() {
        EventQueue.Item<WatchProviderStatusResponse> item;
        try {
            item = queue.take();
        } catch (CancellationException interrupted) {
            close();
            throw interrupted;
        }
        if (item.isEnd()) {
            ended = true;
            error = item.error();
        } else if (!item.retried()) {
            call.request(1);
            upcoming = item.message();
        }
    }
}
