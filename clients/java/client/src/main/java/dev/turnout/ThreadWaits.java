package dev.turnout;

import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ThreadFactory;
import java.util.concurrent.TimeUnit;

/** Waits by a client's timer; goes on in daemon threads, of which there are as many as callers go on at one time. */
final class ThreadWaits implements Waits, AutoCloseable {
    private final ScheduledExecutorService timer;
    private final ExecutorService workers;
    private final Runnable check;

    /** {@code check} throws where the client is closed. */
    ThreadWaits(ScheduledExecutorService timer, ThreadFactory threads, Runnable check) {
        this.timer = timer;
        this.workers = Executors.newCachedThreadPool(threads);
        this.check = check;
    }

    @Override
    public Runnable after(long nanos, Runnable then) {
        try {
            Future<?> waiting = timer.schedule(then, nanos, TimeUnit.NANOSECONDS);
            return () -> waiting.cancel(false);
        } catch (RejectedExecutionException closed) {
            // The client is closed, and the wait over.
            then.run();
            return () -> {};
        }
    }

    @Override
    public void run(Runnable work) {
        try {
            workers.execute(work);
        } catch (RejectedExecutionException closed) {
            // It finds the client closed, and tells its caller.
            work.run();
        }
    }

    @Override
    public void checkRunning() {
        check.run();
    }

    /** Lets its threads end once they are idle. */
    @Override
    public void close() {
        workers.shutdown();
    }
}
