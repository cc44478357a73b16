package dev.turnout;

import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;

/** What comes of a stream, between gRPC's thread and the reader's; bounded by what the reader lets come. */
final class EventQueue<S> implements RetriedCall.Sink<S> {
    /** How many messages may wait for the reader. */
    static final int WINDOW = 16;

    /** One thing that came: a message, a new beginning, or the end. */
    record Item<S>(S message, boolean retried, RuntimeException error) {
        boolean isEnd() {
            return message == null && !retried;
        }
    }

    private final BlockingQueue<Item<S>> items = new LinkedBlockingQueue<>();

    /** The next thing, once it is there; an interruption ends in CancellationException. */
    Item<S> take() {
        try {
            return items.take();
        } catch (InterruptedException error) {
            throw Waiting.interrupted(error);
        }
    }

    @Override
    public void next(S message) {
        items.add(new Item<>(message, false, null));
    }

    @Override
    public void retried() {
        items.add(new Item<>(null, true, null));
    }

    @Override
    public void ended(RuntimeException error) {
        items.add(new Item<>(null, false, error));
    }
}
