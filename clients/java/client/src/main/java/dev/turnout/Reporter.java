package dev.turnout;

import dev.turnout.v1.Outcome;
import dev.turnout.v1.OutcomeResult;
import dev.turnout.v1.OutcomeStatus;
import dev.turnout.v1.ReportOutcomeResponse;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Function;
import java.util.random.RandomGenerator;

/**
 * Sends outcomes from one daemon thread, which starts with the first: in batches, never in the way of a call, and never a
 * reason for one to fail. While the sidecar is away they wait.
 */
final class Reporter {
    /** Sends a batch once, without tries of its own. */
    interface Send extends Function<List<Outcome>, CompletableFuture<ReportOutcomeResponse>> {}

    /** How long an outcome waits for others to go with it: short, because the next decision should know of a failure. */
    private static final long GATHER_NANOS = TimeUnit.MILLISECONDS.toNanos(50);

    private static final System.Logger LOGGER = System.getLogger("dev.turnout");

    private final Send send;
    private final RandomGenerator random;
    private final Outbox outbox = new Outbox();
    private final ReentrantLock lock = new ReentrantLock();
    private final Condition changed = lock.newCondition();
    private List<CompletableFuture<Boolean>> pressing = new ArrayList<>();
    private CompletableFuture<ReportOutcomeResponse> running;
    private Thread thread;
    private boolean hurry;
    private boolean closed;
    private boolean stopped;
    private int awayCount;
    private long waitNanos = GATHER_NANOS;

    Reporter(Send send, RandomGenerator random) {
        this.send = send;
        this.random = random;
    }

    /** Queues one outcome; never waits for the sidecar and never throws. */
    void add(Outcome outcome) {
        lock.lock();
        try {
            outbox.add(outcome);
            if (stopped) {
                outbox.lost(outbox.take());
            } else if (thread == null) {
                thread = new Thread(this::run, "turnout-report");
                thread.setDaemon(true);
                thread.start();
            } else if (outbox.size() == 1 || outbox.size() == Outbox.MAX_BATCH_COUNT) {
                // Waking the thread for each would cost the caller more than the rest of its call.
                changed.signalAll();
            }
        } finally {
            lock.unlock();
        }
    }

    /** How many outcomes were given up. */
    long lostCount() {
        lock.lock();
        try {
            return outbox.lostCount();
        } finally {
            lock.unlock();
        }
    }

    /** How many outcomes wait, or are on their way. */
    long pendingCount() {
        lock.lock();
        try {
            return outbox.pendingCount();
        } finally {
            lock.unlock();
        }
    }

    /**
     * Sends what the next decision should know of without delay. Completes with true once that is done, or nothing is to
     * tell; with false once a try has failed, or the limit is over. Never fails.
     */
    CompletableFuture<Boolean> tell(Duration limit) {
        lock.lock();
        try {
            if (!outbox.isPressing()) {
                return CompletableFuture.completedFuture(true);
            }
            CompletableFuture<Boolean> told = new CompletableFuture<>();
            pressing.add(told);
            hurry = true;
            changed.signalAll();
            return told.completeOnTimeout(false, limit.toNanos(), TimeUnit.NANOSECONDS);
        } finally {
            lock.unlock();
        }
    }

    /** Waits until everything queued was sent or given up; returns whether that came in time. */
    boolean flush(Duration limit) throws InterruptedException {
        long left = limit.toNanos();
        lock.lockInterruptibly();
        try {
            hurry = outbox.pendingCount() > 0;
            changed.signalAll();
            while (outbox.pendingCount() > 0) {
                if (left <= 0) {
                    return false;
                }
                left = changed.awaitNanos(left);
            }
            return true;
        } finally {
            lock.unlock();
        }
    }

    /** Sends what is queued, waiting no longer than told, and stops; what is left then is given up. */
    void close(Duration limit) {
        Thread reporting;
        lock.lock();
        try {
            closed = true;
            reporting = thread;
            changed.signalAll();
        } finally {
            lock.unlock();
        }
        if (reporting != null) {
            try {
                reporting.join(Math.max(1, limit.toMillis()));
            } catch (InterruptedException error) {
                Thread.currentThread().interrupt();
            }
        }
        stop();
    }

    private void stop() {
        CompletableFuture<ReportOutcomeResponse> left;
        lock.lock();
        try {
            stopped = true;
            left = running;
            while (outbox.size() > 0) {
                outbox.lost(outbox.take());
            }
            changed.signalAll();
        } finally {
            lock.unlock();
        }
        if (left != null) {
            left.cancel(true);
        }
    }

    private void run() {
        while (true) {
            List<Outcome> batch = nextBatch();
            if (batch.isEmpty()) {
                return;
            }
            RuntimeException failed = null;
            try {
                CompletableFuture<ReportOutcomeResponse> call = send.apply(batch);
                running(call);
                Waiting.on(call).getResultsList().forEach(Reporter::logRejected);
            } catch (RuntimeException error) {
                failed = error;
            }
            settle(batch, failed);
        }
    }

    private void running(CompletableFuture<ReportOutcomeResponse> call) {
        lock.lock();
        try {
            running = call;
        } finally {
            lock.unlock();
        }
    }

    /** Waits for a batch that is due; empty where the reporter is closed and nothing is left. */
    private List<Outcome> nextBatch() {
        lock.lock();
        try {
            while (outbox.size() == 0 && !closed) {
                changed.awaitUninterruptibly();
            }
            long left = waitNanos;
            while (left > 0 && !closed && !hurry && (awayCount > 0 || outbox.size() < Outbox.MAX_BATCH_COUNT)) {
                left = awaitNanos(left);
            }
            hurry = false;
            return outbox.take();
        } finally {
            lock.unlock();
        }
    }

    private long awaitNanos(long nanos) {
        try {
            return changed.awaitNanos(nanos);
        } catch (InterruptedException error) {
            // Nobody but a stranger interrupts this thread, and its work is not the stranger's to end.
            return nanos;
        }
    }

    private void settle(List<Outcome> batch, RuntimeException failed) {
        List<CompletableFuture<Boolean>> told = List.of();
        lock.lock();
        try {
            running = null;
            if (failed != null && Away.isShownBy(failed) && !closed) {
                outbox.putBack(batch);
                waitNanos = Math.max(GATHER_NANOS, Tries.waitNanos(failed, awayCount, random));
                awayCount++;
            } else {
                waitNanos = GATHER_NANOS;
                awayCount = 0;
                if (failed == null) {
                    outbox.sent(batch);
                } else {
                    outbox.lost(batch);
                    logLost(batch, failed);
                }
            }
            if (failed != null || !outbox.isPressing()) {
                told = pressing;
                pressing = new ArrayList<>();
            } else {
                hurry = !pressing.isEmpty();
            }
            changed.signalAll();
        } finally {
            lock.unlock();
        }
        told.forEach(future -> future.complete(failed == null));
    }

    private static void logLost(List<Outcome> batch, RuntimeException failed) {
        LOGGER.log(
                System.Logger.Level.WARNING,
                "outcomes that were not reported to the sidecar: {0}; {1}",
                batch.size(),
                failed.getMessage());
    }

    private static void logRejected(OutcomeResult result) {
        if (result.getStatus() == OutcomeStatus.OUTCOME_STATUS_REJECTED) {
            LOGGER.log(System.Logger.Level.WARNING, "the sidecar rejected a reported outcome: {0}", result.getReason());
        }
    }
}
