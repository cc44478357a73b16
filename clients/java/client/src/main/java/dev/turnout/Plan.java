package dev.turnout;

import dev.turnout.errors.ErrorDetails;
import dev.turnout.errors.PlanExhaustedException;
import dev.turnout.v1.Candidate;
import dev.turnout.v1.Decision;
import dev.turnout.v1.MidStreamPolicy;
import dev.turnout.v1.Outcome;
import dev.turnout.v1.RouteRequest;
import java.time.InstantSource;
import java.util.Iterator;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ExecutionException;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.function.LongSupplier;
import java.util.function.Supplier;
import java.util.stream.Collectors;

/**
 * The targets of a decision, to be called by the application itself, best first.
 *
 * <pre>{@code
 * String text = client.plan(request).run(attempt -> {
 *     HttpResponse<String> response = http.send(requestFor(attempt), BodyHandlers.ofString());
 *     if (response.statusCode() >= 400) {
 *         throw TargetException.of(response);
 *     }
 *     return response.body();
 * });
 * }</pre>
 *
 * <p>The first target that answers ends it. A failure of the target's (HTTP status, timeout, lost connection) is noted, and
 * the next target is called; the last target's exception comes out. What another target would not help (a wrong request,
 * refused content, cancellation, a mistake in the application) comes out at once; so does everything after
 * {@link PlanAttempt#firstToken}, because text may have been passed on, unless the options say
 * {@code MID_STREAM_POLICY_RESTART}. Where they allow no fallback the first target alone is called. Every end is reported in the background.
 */
public final class Plan {
    private final PlanOrigin origin;
    private final List<Candidate> order;
    private final Outcome about;
    private final boolean restart;
    private final Consumer<Outcome> report;
    private final LongSupplier clock;
    private final InstantSource wall;
    private final Supplier<String> newId;

    Plan(
            PlanOrigin origin,
            RouteRequest request,
            Consumer<Outcome> report,
            LongSupplier clock,
            InstantSource wall,
            Supplier<String> newId) {
        this.origin = origin;
        // The first alone where the request wants no other.
        boolean firstOnly = request.getOptions().hasAllowFallback() && !request.getOptions().getAllowFallback();
        this.order = firstOnly ? origin.order().stream().limit(1).toList() : origin.order();
        this.about = about(origin, request);
        this.restart = request.getOptions().getMidStream() == MidStreamPolicy.MID_STREAM_POLICY_RESTART;
        this.report = report;
        this.clock = clock;
        this.wall = wall;
        this.newId = newId;
    }

    /**
     * The decision that the plan follows.
     *
     * @return the decision; for a static order one that has its targets alone
     */
    public Decision decision() {
        return origin.decision();
    }

    /**
     * The decision's id.
     *
     * @return the id, empty for a static order
     */
    public String decisionId() {
        return origin.decision().getDecisionId();
    }

    /**
     * The targets in the order in which they are called.
     *
     * @return the candidates
     */
    public List<Candidate> candidates() {
        return order;
    }

    /**
     * Whether no RPC was made for it: an earlier decision is followed.
     *
     * @return whether it is reused
     */
    public boolean reused() {
        return origin.reused();
    }

    /**
     * Whether the sidecar could not be asked, so that the last plan or a static order is followed.
     *
     * @return whether it is stale
     */
    public boolean stale() {
        return origin.stale();
    }

    /**
     * Why the sidecar could not be asked.
     *
     * @return the reason, empty where the plan is not stale
     */
    public String staleReason() {
        return origin.staleReason();
    }

    /**
     * Calls the targets in order until one answers.
     *
     * @param function the application's own call
     * @param <T> what the call gives
     * @param <E> what it throws
     * @return what the call gave
     * @throws E where no target answered, or another one would not help: what the last call threw
     * @throws PlanExhaustedException where no exception tells why no target answered
     */
    public <T, E extends Exception> T run(TargetFunction<? extends T, E> function) throws E {
        Iterator<Candidate> left = order.iterator();
        while (left.hasNext()) {
            PlanAttempt attempt = attempt(left.next());
            T value;
            try {
                value = function.call(attempt);
            } catch (Throwable error) {
                if (!mayGoOn(attempt, end(attempt, error)) || !left.hasNext() || !(error instanceof Exception)) {
                    throw error;
                }
                continue;
            }
            Failure failure = end(attempt, null);
            if (failure == null) {
                return value;
            }
            if (!mayGoOn(attempt, failure)) {
                break;
            }
        }
        throw exhausted();
    }

    /**
     * Calls the targets in order until one answers, without blocking.
     *
     * @param function the application's own call; where the result is cancelled, so is the call that runs
     * @param <T> what the call gives
     * @return what the call gave, or what the last call failed with
     */
    public <T> CompletableFuture<T> runAsync(Function<? super PlanAttempt, ? extends CompletionStage<T>> function) {
        CompletableFuture<T> result = new CompletableFuture<>();
        callNext(order.iterator(), function, result);
        return result;
    }

    private <T> void callNext(
            Iterator<Candidate> left,
            Function<? super PlanAttempt, ? extends CompletionStage<T>> function,
            CompletableFuture<T> result) {
        if (!left.hasNext()) {
            result.completeExceptionally(exhausted());
            return;
        }
        PlanAttempt attempt = attempt(left.next());
        CompletableFuture<T> call;
        try {
            call = function.apply(attempt).toCompletableFuture();
        } catch (Throwable error) {
            // Errors too: from the second target on nobody else would hear of one.
            call = CompletableFuture.failedFuture(error);
        }
        CompletableFuture<T> running = call;
        result.whenComplete((value, error) -> running.cancel(true));
        running.whenComplete((value, error) -> {
            Failure failure = end(attempt, error);
            if (failure == null) {
                result.complete(value);
            } else if (mayGoOn(attempt, failure) && (left.hasNext() || error == null)) {
                callNext(left, function, result);
            } else {
                result.completeExceptionally(error == null ? exhausted() : unwrapped(error));
            }
        });
    }

    private PlanAttempt attempt(Candidate candidate) {
        return new PlanAttempt(candidate, about, newId.get(), clock, wall);
    }

    private Failure end(PlanAttempt attempt, Throwable error) {
        Failure failure = attempt.end(error, wall.instant());
        report.accept(attempt.outcome());
        return failure;
    }

    /** What was handed on of a stream cannot be taken back, unless the caller asked for restarts. */
    private boolean mayGoOn(PlanAttempt attempt, Failure failure) {
        return failure != null && failure.anotherTargetMayHelp() && (restart || !attempt.isStreamed());
    }

    private PlanExhaustedException exhausted() {
        String names = order.stream()
                .map(candidate -> Targets.name(candidate.getTarget()))
                .collect(Collectors.joining(", "));
        return new PlanExhaustedException(
                "no target of the plan was used with success: " + (names.isEmpty() ? "it has none" : names),
                ErrorDetails.ofDecision(decisionId()));
    }

    /**
     * What every outcome of the plan says of it. The sidecar adds the rest from its history, but not for a decision that it
     * does not know: one of the time before it was started anew, or none.
     */
    private static Outcome about(PlanOrigin origin, RouteRequest request) {
        Outcome.Builder about = Outcome.newBuilder().setDecisionId(origin.decision().getDecisionId());
        if (origin.stale()) {
            about.setTask(request.getProfile().getTask()).setSessionId(request.getSessionId());
            if (request.hasCaller()) {
                about.setCaller(request.getCaller());
            }
        }
        return about.build();
    }

    private static Throwable unwrapped(Throwable error) {
        boolean wrapper = error instanceof CompletionException || error instanceof ExecutionException;
        return wrapper && error.getCause() != null ? error.getCause() : error;
    }
}
