package dev.turnout;

import dev.turnout.v1.Outcome;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;

/**
 * What waits to be sent. Past its bound the oldest is dropped: the newest tell more about health. Outcomes are numbered as
 * they come; those up to the settled count are sent or given up. For one thread at a time.
 */
final class Outbox {
    static final int MAX_PENDING_COUNT = 1_000;
    static final int MAX_BATCH_COUNT = 100;

    private final Deque<Outcome> pending = new ArrayDeque<>();
    private long addedCount;
    private long settledCount;
    private long lostCount;
    private long pressingNumber;

    /** How many wait to be sent. */
    int size() {
        return pending.size();
    }

    /** How many wait, or are on their way. */
    long pendingCount() {
        return addedCount - settledCount;
    }

    /** How many outcomes were dropped or given up. */
    long lostCount() {
        return lostCount;
    }

    /** Whether one waits, or is on its way, that the next decision should know of. */
    boolean isPressing() {
        return settledCount < pressingNumber;
    }

    void add(Outcome outcome) {
        pending.addLast(outcome);
        addedCount++;
        if (!outcome.getOk() && Failure.speaksAgainstTarget(outcome.getFailure(), outcome.hasHttpStatus())) {
            pressingNumber = addedCount;
        }
        dropOldest();
    }

    /** Removes and returns the oldest, as many as go together. */
    List<Outcome> take() {
        List<Outcome> batch = new ArrayList<>();
        while (batch.size() < MAX_BATCH_COUNT && !pending.isEmpty()) {
            batch.add(pending.removeFirst());
        }
        return batch;
    }

    /** Takes a batch back, since nobody was there; they are the oldest again. */
    void putBack(List<Outcome> batch) {
        for (int index = batch.size() - 1; index >= 0; index--) {
            pending.addFirst(batch.get(index));
        }
        dropOldest();
    }

    /** Notes a batch as sent. */
    void sent(List<Outcome> batch) {
        settledCount += batch.size();
    }

    /** Notes a batch as given up. */
    void lost(List<Outcome> batch) {
        settledCount += batch.size();
        lostCount += batch.size();
    }

    private void dropOldest() {
        while (pending.size() > MAX_PENDING_COUNT) {
            pending.removeFirst();
            settledCount++;
            lostCount++;
        }
    }
}
