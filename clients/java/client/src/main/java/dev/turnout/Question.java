package dev.turnout;

import dev.turnout.v1.RouteRequest;
import io.grpc.Context;
import java.util.LinkedHashSet;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;

/** A question to the sidecar, and how far it has come. All times are of the monotonic clock. Guarded by its planner. */
final class Question {
    final RouteRequest request;
    final PlanKey key;
    final Tokens tokens;

    /** What of its caller goes with the RPC, from whichever thread that is made. */
    final Context context = Context.current();

    final Map<String, String> trace = TraceContext.current();

    /** Completed when it has ended: those of the callers who wait for that. */
    final Set<CompletableFuture<Void>> waiting = new LinkedHashSet<>();

    /** When its caller's time is over. */
    long endsAt;

    long sentAt;
    long failureCount;

    /** Whether there is something else to go by without an answer. */
    boolean fallsBack;

    /** Whether all others go on with stale plans meanwhile. */
    boolean alone;

    /** Whether it ended in an error, which is its caller's alone. */
    boolean refused;

    boolean ended;

    /** An equal question that somebody else asks: to be waited for, until {@code waitUntil} at most; null for none. */
    Question waitsFor;

    long waitUntil;
    int waitedCount;

    Question(RouteRequest request, PlanKey key, Tokens tokens, long endsAt) {
        this.request = request;
        this.key = key;
        this.tokens = tokens;
        this.endsAt = endsAt;
    }
}
