package dev.turnout;

import dev.turnout.errors.ContractException;
import dev.turnout.errors.ErrorDetails;
import dev.turnout.errors.TurnoutException;
import dev.turnout.v1.Decision;
import dev.turnout.v1.Outcome;
import dev.turnout.v1.RouteRequest;
import dev.turnout.v1.RouteResponse;
import io.grpc.Context;
import io.grpc.Contexts;
import io.grpc.Deadline;
import io.grpc.Metadata;
import io.grpc.Status;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.function.LongSupplier;
import java.util.random.RandomGenerator;

/**
 * Finds the plan for a request: one that is kept, else what the sidecar answers, to this caller or to who asks the same,
 * else, where it is away, the last one or a static order. An application never goes down with its sidecar. Any thread may
 * use it; nothing here waits.
 */
final class Planner {
    /** How long a Route may take that there is something to fall back on for. */
    static final Duration PATIENCE = Duration.ofSeconds(1);

    /** What is left for a question at the least: too late is not the caller's mistake. */
    private static final Duration LEAST_TIME = Duration.ofMillis(1);

    /** Asks the sidecar. */
    interface Sidecar {
        /** Tells it of failures that wait to be reported; whether it knows of them then. Never fails. */
        CompletableFuture<Boolean> tell(Duration timeout);

        /** Makes the RPC once it was told, with the trace of whoever wants the plan; a null timeout is the default's. */
        CompletableFuture<RouteResponse> route(
                RouteRequest request,
                Duration timeout,
                boolean retried,
                CompletableFuture<Boolean> told,
                Map<String, String> trace);
    }

    private final Sidecar sidecar;
    private final Waits waits;
    private final boolean caching;
    private final StaticOrder order;
    private final LongSupplier clock;
    private final RandomGenerator random;
    private final PlanCache cache = new PlanCache();
    private final LastPlans last = new LastPlans();
    private final SeenFailures failures = new SeenFailures();
    private final Away away = new Away();
    private final Questions questions = new Questions();

    Planner(
            Sidecar sidecar,
            Waits waits,
            boolean caching,
            StaticOrder order,
            LongSupplier clock,
            RandomGenerator random) {
        this.sidecar = sidecar;
        this.waits = waits;
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
            question = new Question(request, key, tokens, now + own(time));
            Optional<PlanOrigin> stale = ready(question, now);
            if (stale.isPresent()) {
                return CompletableFuture.completedFuture(stale.get());
            }
        }
        CompletableFuture<PlanOrigin> result = new CompletableFuture<>();
        try {
            goOn(question, result);
        } catch (RuntimeException error) {
            end(question);
            throw error;
        }
        return result;
    }

    /** The time that a caller has, in nanoseconds: no more than the gRPC context that he calls in. */
    private static long own(Duration time) {
        Deadline contexts = Context.current().getDeadline();
        long nanos = time.toNanos();
        return contexts == null ? nanos : Math.min(nanos, contexts.timeRemaining(TimeUnit.NANOSECONDS));
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

    /** How many questions are under way that callers may wait for. */
    synchronized int questionCount() {
        return questions.size();
    }

    /** Makes a question ready, to be asked or to wait for another; or the stale plan to go on with instead. */
    private Optional<PlanOrigin> ready(Question question, long now) {
        Optional<PlanOrigin> stale = stale(question.key, question.request, now);
        question.fallsBack = stale.isPresent();
        if (question.fallsBack) {
            if (!away.mayAsk(now)) {
                return stale;
            }
            question.alone = !away.reason().isEmpty();
            if (question.endsAt - now > PATIENCE.toNanos()) {
                question.endsAt = now + PATIENCE.toNanos();
            }
        }
        question.sentAt = now;
        question.failureCount = failures.count();
        // To wait for an answer that will serve its asker alone would only cost time.
        if (caching && !question.alone && !last.servedOnce(question.key)) {
            questions.join(question, now);
        } else {
            questions.ask(question);
        }
        return Optional.empty();
    }

    private void goOn(Question question, CompletableFuture<PlanOrigin> result) {
        if (question.waitsFor == null) {
            ask(question, result);
        } else {
            await(question, result);
        }
    }

    private void ask(Question question, CompletableFuture<PlanOrigin> result) {
        Duration left = Duration.ofNanos(question.endsAt - clock.getAsLong());
        Duration time = left.compareTo(LEAST_TIME) < 0 ? LEAST_TIME : left;
        CompletableFuture<Boolean> told = sidecar.tell(time.dividedBy(2));
        CompletableFuture<RouteResponse> call =
                sidecar.route(question.request, time, !question.fallsBack, told, question.trace);
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
    }

    /** Goes on once the other question has ended, half of the time is over, or the caller has gone. */
    private void await(Question question, CompletableFuture<PlanOrigin> result) {
        Question other = question.waitsFor;
        CompletableFuture<Void> go = new CompletableFuture<>();
        Runnable forget = waits.after(question.waitUntil - clock.getAsLong(), () -> go.complete(null));
        Context.CancellationListener gone = context -> go.complete(null);
        question.context.addListener(gone, Runnable::run);
        synchronized (this) {
            if (other.ended) {
                go.complete(null);
            } else {
                other.waiting.add(go);
            }
        }
        result.whenComplete((value, error) -> go.complete(null));
        go.thenRun(() -> {
            forget.run();
            question.context.removeListener(gone);
            synchronized (this) {
                other.waiting.remove(go);
            }
            // Elsewhere: what this caller does with the plan must not hold up the others who wait.
            waits.run(question.context.wrap(() -> awaited(question, result)));
        });
    }

    private void awaited(Question question, CompletableFuture<PlanOrigin> result) {
        Optional<PlanOrigin> found;
        try {
            waits.checkRunning();
            if (question.context.isCancelled()) {
                found = Optional.of(gone(question));
            } else {
                found = result.isDone() ? Optional.empty() : again(question);
            }
            if (found.isEmpty() && !result.isDone()) {
                goOn(question, result);
                return;
            }
        } catch (RuntimeException error) {
            end(question);
            result.completeExceptionally(error);
            return;
        }
        end(question);
        found.ifPresent(result::complete);
    }

    /** What a caller gets whose gRPC context has ended, as one who asks gets it; of the sidecar that says nothing. */
    private synchronized PlanOrigin gone(Question question) {
        Status why = Contexts.statusFromCancelled(question.context);
        if (why.getCode() != Status.Code.DEADLINE_EXCEEDED) {
            throw new CancellationException("the gRPC context of the caller was cancelled");
        }
        return stale(question.key, question.request, clock.getAsLong())
                .orElseThrow(() -> ErrorReader.read(why, new Metadata(), null));
    }

    private synchronized Optional<PlanOrigin> again(Question question) {
        long now = clock.getAsLong();
        return cache.find(question.key, question.tokens, now, random).or(() -> ready(question, now));
    }

    /** Keeps an answer as far as it may be used again; one of a sidecar that did not know of a failure serves once. */
    private synchronized PlanOrigin answered(Question question, Decision decision, boolean informed) {
        away.over();
        if (decision.getCandidatesCount() == 0) {
            question.refused = true;
            throw new ContractException("the sidecar answered with a plan without candidates", ErrorDetails.NONE);
        }
        if (caching) {
            last.keep(question.key, question.request, decision);
            if (informed && !failures.anySince(question.failureCount, decision.getCandidatesList())) {
                cache.keep(question.key, question.tokens, decision, question.sentAt);
            }
        }
        return PlanOrigin.answered(decision);
    }

    /** What to go by instead of an answer; throws the error where there is nothing, and where it is an answer. */
    private synchronized PlanOrigin failed(Question question, Throwable error) {
        long now = clock.getAsLong();
        question.refused = !(error instanceof CancellationException);
        RuntimeException known = error instanceof RuntimeException one ? one : new IllegalStateException(error);
        if (!Away.isShownBy(error)) {
            if (error instanceof TurnoutException refusal && !refusal.reason().isEmpty()) {
                away.over();
            }
            throw known;
        }
        Optional<PlanOrigin> kept = cache.find(question.key, question.tokens, now, random);
        if (kept.isPresent()) {
            // Another had an answer meanwhile: this one came too late, and the sidecar is not away.
            return kept.get();
        }
        away.found(error.getMessage(), now);
        return stale(question.key, question.request, now).orElseThrow(() -> known);
    }

    /** Ends a question, however it went, so that nobody waits for it; to be called once for each. */
    private void end(Question question) {
        List<CompletableFuture<Void>> waiting;
        synchronized (this) {
            questions.end(question);
            if (question.alone) {
                away.end();
            }
            waiting = List.copyOf(question.waiting);
        }
        if (!waiting.isEmpty()) {
            waits.run(() -> waiting.forEach(go -> go.complete(null)));
        }
    }

    private Optional<PlanOrigin> stale(PlanKey key, RouteRequest request, long now) {
        String why = away.reason().isEmpty() ? "the sidecar is away" : away.reason();
        return last.find(key, request)
                .or(() -> order.of(request))
                .map(found -> found.ordered(failures.failedLast(found.order(), now)).staleFor(why));
    }
}
