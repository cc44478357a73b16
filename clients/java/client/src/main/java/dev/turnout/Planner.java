package dev.turnout;

import dev.turnout.errors.ContractException;
import dev.turnout.errors.ErrorDetails;
import dev.turnout.errors.TurnoutException;
import dev.turnout.v1.Decision;
import dev.turnout.v1.Outcome;
import dev.turnout.v1.RouteRequest;
import dev.turnout.v1.RouteResponse;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.function.LongSupplier;
import java.util.random.RandomGenerator;

/**
 * Finds the plan for a request: one that is kept, else what the sidecar answers, else, where it is away, the last one or a
 * static order. An application never goes down with its sidecar. Any thread may use it; nothing here waits.
 */
final class Planner {
    /** How long a Route may take that there is something to fall back on for. */
    static final Duration PATIENCE = Duration.ofSeconds(1);

    /** A question to the sidecar. */
    private record Question(
            RouteRequest request,
            PlanKey key,
            Tokens tokens,
            long sentAt,
            long failureCount,
            boolean fallsBack,
            boolean alone) {}

    /** Asks the sidecar. */
    interface Sidecar {
        /** Tells it of failures that wait to be reported; whether it knows of them then. Never fails. */
        CompletableFuture<Boolean> tell(Duration timeout);

        /** Makes the RPC once it was told; a null timeout is the default's. */
        CompletableFuture<RouteResponse> route(
                RouteRequest request, Duration timeout, boolean retried, CompletableFuture<Boolean> told);
    }

    private final Sidecar sidecar;
    private final boolean caching;
    private final StaticOrder order;
    private final LongSupplier clock;
    private final RandomGenerator random;
    private final PlanCache cache = new PlanCache();
    private final LastPlans last = new LastPlans();
    private final SeenFailures failures = new SeenFailures();
    private final Away away = new Away();

    Planner(Sidecar sidecar, boolean caching, StaticOrder order, LongSupplier clock, RandomGenerator random) {
        this.sidecar = sidecar;
        this.caching = caching;
        this.order = order;
        this.clock = clock;
        this.random = random;
    }

    /** The plan for a request; the future ends the RPC where it is cancelled. */
    CompletableFuture<PlanOrigin> plan(RouteRequest request, Duration timeout) {
        Duration time = Rpc.ROUTE.timeout(timeout);
        PlanKey key = PlanKey.of(request);
        Question question;
        synchronized (this) {
            long now = clock.getAsLong();
            Tokens tokens = Tokens.of(request);
            Optional<PlanOrigin> kept = cache.find(key, tokens, now, random);
            if (kept.isPresent()) {
                return CompletableFuture.completedFuture(kept.get());
            }
            Optional<PlanOrigin> stale = stale(key, request, now);
            if (stale.isPresent() && !away.mayAsk(now)) {
                return CompletableFuture.completedFuture(stale.get());
            }
            boolean alone = stale.isPresent() && !away.reason().isEmpty();
            question = new Question(request, key, tokens, now, failures.count(), stale.isPresent(), alone);
        }
        return ask(question, question.fallsBack() && time.compareTo(PATIENCE) > 0 ? PATIENCE : time);
    }

    /** Takes how a call ended: a target that failed is in no kept plan before the sidecar was asked anew. */
    void note(Outcome outcome) {
        if (!outcome.getOk() && Failure.speaksAgainstTarget(outcome.getFailure(), outcome.hasHttpStatus())) {
            synchronized (this) {
                failures.add(outcome.getTarget(), clock.getAsLong());
                cache.drop(outcome.getTarget());
            }
        }
    }

    private CompletableFuture<PlanOrigin> ask(Question question, Duration time) {
        CompletableFuture<PlanOrigin> result = new CompletableFuture<>();
        CompletableFuture<Boolean> told = sidecar.tell(time.dividedBy(2));
        CompletableFuture<RouteResponse> call;
        try {
            call = sidecar.route(question.request(), time, !question.fallsBack(), told);
        } catch (RuntimeException error) {
            end(question);
            throw error;
        }
        result.whenComplete((value, error) -> call.cancel(true));
        call.whenComplete((response, error) -> {
            PlanOrigin found;
            try {
                found = error == null
                        ? answered(question, response.getDecision(), told.getNow(false))
                        : failed(question, error);
            } catch (RuntimeException known) {
                end(question);
                result.completeExceptionally(known);
                return;
            }
            end(question);
            result.complete(found);
        });
        return result;
    }

    /** Keeps an answer as far as it may be used again; one of a sidecar that did not know of a failure serves once. */
    private synchronized PlanOrigin answered(Question question, Decision decision, boolean informed) {
        away.over();
        if (decision.getCandidatesCount() == 0) {
            throw new ContractException("the sidecar answered with a plan without candidates", ErrorDetails.NONE);
        }
        if (caching) {
            last.keep(question.key(), question.request(), decision);
            if (informed && !failures.anySince(question.failureCount(), decision.getCandidatesList())) {
                cache.keep(question.key(), question.tokens(), decision, question.sentAt());
            }
        }
        return PlanOrigin.answered(decision);
    }

    /** What to go by instead of an answer; throws the error where there is nothing, and where it is an answer. */
    private synchronized PlanOrigin failed(Question question, Throwable error) {
        long now = clock.getAsLong();
        RuntimeException known = error instanceof RuntimeException one ? one : new IllegalStateException(error);
        if (!Away.isShownBy(error)) {
            if (error instanceof TurnoutException refusal && !refusal.reason().isEmpty()) {
                away.over();
            }
            throw known;
        }
        away.found(error.getMessage(), now);
        return stale(question.key(), question.request(), now).orElseThrow(() -> known);
    }

    private synchronized void end(Question question) {
        if (question.alone()) {
            away.end();
        }
    }

    private Optional<PlanOrigin> stale(PlanKey key, RouteRequest request, long now) {
        String why = away.reason().isEmpty() ? "the sidecar is away" : away.reason();
        return last.find(key, request)
                .or(() -> order.of(request))
                .map(found -> found.ordered(failures.failedLast(found.order(), now)).staleFor(why));
    }
}
