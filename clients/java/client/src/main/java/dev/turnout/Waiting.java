package dev.turnout;

import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;

/** Waits for a future of ours as a blocking method does. */
final class Waiting {
    private Waiting() {}

    /** Its value, or its error; an interruption cancels it, ends in CancellationException and stays set. */
    static <T> T on(CompletableFuture<T> future) {
        try {
            return future.get();
        } catch (InterruptedException error) {
            future.cancel(true);
            throw interrupted(error);
        } catch (ExecutionException error) {
            throw rethrown(error.getCause());
        }
    }

    /** What an interrupted wait ends in; the thread stays interrupted. */
    static CancellationException interrupted(InterruptedException error) {
        Thread.currentThread().interrupt();
        CancellationException cancelled = new CancellationException("the calling thread was interrupted");
        cancelled.initCause(error);
        return cancelled;
    }

    private static RuntimeException rethrown(Throwable cause) {
        if (cause instanceof Error error) {
            throw error;
        }
        if (cause instanceof RuntimeException error) {
            // It was made where the answer came in; nobody but this caller sees it, who wants to know where he called.
            error.fillInStackTrace();
            return error;
        }
        return new IllegalStateException(cause);
    }
}
