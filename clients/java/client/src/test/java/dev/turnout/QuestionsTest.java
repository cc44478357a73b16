package dev.turnout;

import static dev.turnout.Decisions.candidate;
import static dev.turnout.Decisions.failure;
import static dev.turnout.Decisions.names;
import static dev.turnout.Decisions.request;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.turnout.errors.DeadlineException;
import dev.turnout.errors.ErrorDetails;
import dev.turnout.errors.TransportException;
import dev.turnout.errors.UnreachableException;
import dev.turnout.v1.Decision;
import dev.turnout.v1.FailureKind;
import dev.turnout.v1.RouteRequest;
import dev.turnout.v1.RouteResponse;
import io.grpc.Context;
import io.grpc.Status;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;

/** Of callers who want the same plan at the same time one asks; the others wait, and nobody pays for another's fate. */
class QuestionsTest {
    private static final Decision PLAN = Decisions.of("d", candidate("north/m", 1), candidate("south/m", 1));
    private static final Decision ONCE = PLAN.toBuilder().setReusable(false).build();
    private static final RouteRequest CHAT = request("chat");
    private static final RuntimeException LOST =
            new UnreachableException("refused", ErrorDetails.of(Status.Code.UNAVAILABLE));
    private static final long GENEROUS_SECONDS = 60;

    /** The sidecar's side: questions that tests answer. */
    private static final class Asked implements Planner.Sidecar {
        private record Question(Duration timeout, CompletableFuture<RouteResponse> answer, Map<String, String> trace) {}

        private final List<Question> questions = new ArrayList<>();

        @Override
        public CompletableFuture<Boolean> tell(Duration timeout) {
            return CompletableFuture.completedFuture(true);
        }

        @Override
        public CompletableFuture<RouteResponse> route(
                RouteRequest request,
                Duration timeout,
                boolean retried,
                CompletableFuture<Boolean> told,
                Map<String, String> trace) {
            Question question = new Question(timeout, new CompletableFuture<>(), trace);
            questions.add(question);
            return question.answer();
        }

        int count() {
            return questions.size();
        }

        void answers(int number, Decision decision) {
            questions.get(number).answer().complete(RouteResponse.newBuilder().setDecision(decision).build());
        }

        void fails(int number, RuntimeException error) {
            questions.get(number).answer().completeExceptionally(error);
        }
    }

    private final VirtualClock clock = new VirtualClock();
    private final VirtualWaits waits = new VirtualWaits(clock);
    private final Asked sidecar = new Asked();
    private Planner planner = planner(true, Map.of());

    private Planner planner(boolean caching, Map<String, List<String>> fallback) {
        return new Planner(sidecar, waits, caching, StaticOrder.of(fallback), clock, new FixedChance(0.9));
    }

    private List<CompletableFuture<PlanOrigin>> ask(int count) {
        List<CompletableFuture<PlanOrigin>> plans = new ArrayList<>();
        for (int number = 0; number < count; number++) {
            plans.add(planner.plan(CHAT, null));
        }
        return plans;
    }

    private void nothingIsLeft() {
        assertEquals(0, planner.questionCount());
        assertEquals(0, waits.timerCount());
    }

    @Test
    void manyCallersAtOnceMakeOneRoute() {
        List<CompletableFuture<PlanOrigin>> plans = ask(500);
        assertEquals(1, sidecar.count());
        sidecar.answers(0, PLAN);

        assertFalse(plans.get(0).join().reused());
        assertEquals(List.of("north/m", "south/m"), names(plans.get(0).join().order()));
        assertEquals(499, plans.stream().filter(plan -> plan.join().reused()).count());
        assertEquals(List.of("south/m", "north/m"), names(plans.get(1).join().order()), "drawn by share");
        assertEquals(1, sidecar.count());
        nothingIsLeft();
    }

    @Test
    void onlyAQuestionWhosePlanWouldServeIsWaitedFor() {
        planner.plan(request("chat", 10L, 10L), null);
        planner.plan(request("chat", 10L, 10L), null);
        planner.plan(request("chat", 9L, 1L), null);
        assertEquals(1, sidecar.count());
        planner.plan(request("other", 10L, 10L), null);
        planner.plan(request("chat", null, null), null);
        assertEquals(3, sidecar.count());
        planner.plan(request("chat", 11L, 10L), null);
        planner.plan(request("chat", 11L, 9L), null);
        assertEquals(4, sidecar.count(), "the one for more tokens is waited for from then on");
    }

    @Test
    void withoutACacheEverybodyAsks() {
        planner = planner(false, Map.of());
        ask(3);

        assertEquals(3, sidecar.count());
    }

    @Test
    void whatServesItsAskerAloneIsAskedForByAllAtOnceAndNotWaitedForAgain() {
        ask(3);
        sidecar.answers(0, ONCE);
        assertEquals(3, sidecar.count());
        sidecar.answers(1, ONCE);
        sidecar.answers(2, ONCE);
        ask(2);

        assertEquals(5, sidecar.count());
    }

    @Test
    void anErrorIsItsAskersAlone() {
        List<CompletableFuture<PlanOrigin>> plans = ask(3);
        sidecar.fails(0, LOST);
        assertEquals(3, sidecar.count());
        sidecar.answers(1, PLAN);
        sidecar.answers(2, PLAN);

        assertEquals(LOST, assertThrows(CompletionException.class, plans.get(0)::join).getCause());
        assertEquals("d", plans.get(2).join().decision().getDecisionId());
        nothingIsLeft();
    }

    @Test
    void thatTheSidecarIsAwayIsSoForAllWhoHaveSomethingElse() {
        planner = planner(true, Map.of("", List.of("west/m")));
        List<CompletableFuture<PlanOrigin>> plans = ask(3);
        sidecar.fails(0, LOST);

        assertTrue(plans.stream().allMatch(plan -> plan.join().stale()));
        assertEquals(1, sidecar.count());
    }

    @Test
    void whereTheLeaderIsCancelledOneTakesOver() {
        List<CompletableFuture<PlanOrigin>> plans = ask(3);
        plans.get(0).cancel(true);
        assertTrue(sidecar.questions.get(0).answer().isCancelled());
        assertEquals(2, sidecar.count());
        sidecar.answers(1, PLAN);

        assertFalse(plans.get(1).join().reused());
        assertTrue(plans.get(2).join().reused());
        nothingIsLeft();
    }

    @Test
    void aCancelledWaiterLeavesTheLeaderAlone() {
        List<CompletableFuture<PlanOrigin>> plans = ask(2);
        plans.get(1).cancel(true);
        assertEquals(0, waits.timerCount());
        assertFalse(sidecar.questions.get(0).answer().isDone());
        sidecar.answers(0, PLAN);

        assertFalse(plans.get(0).join().reused());
        nothingIsLeft();
    }

    @Test
    void aWaiterWhoseContextEndsEnds() {
        ask(1);
        Context.CancellableContext context = Context.current().withCancellation();
        List<CompletableFuture<PlanOrigin>> plans = new ArrayList<>();
        context.run(() -> plans.addAll(ask(1)));
        context.cancel(null);

        assertThrows(CancellationException.class, plans.get(0)::join);
        assertEquals(0, waits.timerCount());
    }

    @Test
    void aFailureAfterTheQuestionWasPutVoidsItsAnswerForThoseWhoWait() {
        ask(1);
        planner.note(failure("south/m", FailureKind.FAILURE_KIND_TIMEOUT));
        List<CompletableFuture<PlanOrigin>> later = ask(3);
        sidecar.answers(0, PLAN);
        assertEquals(2, sidecar.count(), "one asks anew, for all");
        assertFalse(later.get(0).isDone());
        sidecar.answers(1, PLAN.toBuilder().setDecisionId("after").build());

        assertTrue(later.stream().allMatch(plan -> plan.join().decision().getDecisionId().equals("after")));
        assertEquals(2, sidecar.count());
    }

    @Test
    void nobodyWaitsLongerThanHalfOfHisTimeAndNotMoreThanTwice() {
        ask(4);
        waits.pass(Duration.ofMillis(999));
        assertEquals(1, sidecar.count());
        waits.pass(Duration.ofMillis(1));
        assertEquals(2, sidecar.count(), "one asks, and the others wait for him");
        assertEquals(Duration.ofSeconds(1), sidecar.questions.get(1).timeout());
        waits.pass(Duration.ofMillis(500));
        assertEquals(4, sidecar.count());
        assertEquals(Duration.ofMillis(500), sidecar.questions.get(3).timeout());
        for (int number = 3; number >= 0; number--) {
            sidecar.answers(number, PLAN);
        }
        nothingIsLeft();
    }

    @Test
    void nobodyWaitsForWhoHasLessThanHalfOfHisTime() {
        planner.plan(CHAT, Duration.ofSeconds(1));
        planner.plan(CHAT, Duration.ofSeconds(2));
        assertEquals(1, sidecar.count());
        planner.plan(CHAT, Duration.ofMillis(2001));

        assertEquals(2, sidecar.count());
    }

    @Test
    void whoAskedInWhatWasLeftAndCameTooLateFollowsTheAnswerThatAnotherHad() {
        for (Map<String, List<String>> fallback : List.<Map<String, List<String>>>of(
                Map.of(), Map.of("", List.of("west/m")))) {
            planner = planner(true, fallback);
            sidecar.questions.clear();
            List<CompletableFuture<PlanOrigin>> plans = ask(2);
            waits.pass(Duration.ofSeconds(1));
            assertEquals(2, sidecar.count());
            sidecar.answers(0, PLAN);
            sidecar.fails(1, new DeadlineException("late", ErrorDetails.of(Status.Code.DEADLINE_EXCEEDED)));

            assertTrue(plans.get(1).join().reused());
            assertFalse(plans.get(1).join().stale());
            CompletableFuture<PlanOrigin> other = planner.plan(request("other"), null);
            assertFalse(other.isDone(), "the sidecar is taken to be away");
        }
    }

    /** The time that a gRPC context leaves its caller is his time: half of it he waits, then he asks by himself. */
    @Test
    void aContextsDeadlineIsItsCallersTime() {
        ScheduledThreadPoolExecutor timer = new ScheduledThreadPoolExecutor(1);
        try {
            Duration hour = Duration.ofHours(1);
            planner.plan(CHAT, hour);
            Context.current()
                    .withDeadlineAfter(2 * GENEROUS_SECONDS, TimeUnit.SECONDS, timer)
                    .run(() -> planner.plan(CHAT, hour));
            assertEquals(1, sidecar.count());
            waits.pass(Duration.ofSeconds(GENEROUS_SECONDS));
            assertEquals(2, sidecar.count());
        } finally {
            timer.shutdownNow();
        }
    }

    @Test
    void aWaiterWhoseContextRunsOutHearsOfHisDeadlineAsWhoAsksDoes() throws Exception {
        ScheduledThreadPoolExecutor timer = new ScheduledThreadPoolExecutor(1);
        try {
            ask(1);
            List<CompletableFuture<PlanOrigin>> plans = new ArrayList<>();
            Context.current().withDeadlineAfter(1, TimeUnit.MILLISECONDS, timer).run(() -> plans.addAll(ask(1)));

            ExecutionException end = assertThrows(
                    ExecutionException.class, () -> plans.get(0).get(GENEROUS_SECONDS, TimeUnit.SECONDS));
            assertInstanceOf(DeadlineException.class, end.getCause());
            assertEquals(1, sidecar.count());
        } finally {
            timer.shutdownNow();
        }
    }

    @Test
    void closingTheClientEndsTheWait() {
        List<CompletableFuture<PlanOrigin>> plans = ask(3);
        waits.closed = true;
        sidecar.fails(0, new TransportException("closed", ErrorDetails.NONE));

        for (CompletableFuture<PlanOrigin> plan : plans) {
            assertInstanceOf(
                    TransportException.class,
                    assertThrows(CompletionException.class, plan::join).getCause());
        }
        assertEquals(1, sidecar.count());
        nothingIsLeft();
    }

    /** With threads and real time: each gets a plan, and what one does with his holds up nobody. */
    @Test
    void manyThreadsShareQuestions() throws Exception {
        int callers = 64;
        ExecutorService threads = Executors.newFixedThreadPool(callers);
        ScheduledThreadPoolExecutor timer = new ScheduledThreadPoolExecutor(1);
        AtomicInteger routes = new AtomicInteger();
        Planner.Sidecar answering = new Planner.Sidecar() {
            @Override
            public CompletableFuture<Boolean> tell(Duration timeout) {
                return CompletableFuture.completedFuture(true);
            }

            @Override
            public CompletableFuture<RouteResponse> route(
                    RouteRequest request,
                    Duration timeout,
                    boolean retried,
                    CompletableFuture<Boolean> told,
                    Map<String, String> trace) {
                routes.incrementAndGet();
                return CompletableFuture.supplyAsync(
                        () -> RouteResponse.newBuilder().setDecision(PLAN).build(), threads);
            }
        };
        try (ThreadWaits real = new ThreadWaits(timer, Thread::new, () -> {})) {
            Planner shared = new Planner(
                    answering, real, true, StaticOrder.of(Map.of()), System::nanoTime, new FixedChance(0));
            for (int round = 0; round < 50; round++) {
                RouteRequest request = request("chat " + round);
                CountDownLatch all = new CountDownLatch(callers / 2);
                List<Future<?>> ends = new ArrayList<>();
                for (int number = 0; number < callers / 2; number++) {
                    ends.add(threads.submit(() -> shared.plan(request, Duration.ofSeconds(GENEROUS_SECONDS))
                            .thenAccept(plan -> {
                                // None goes on before all are here: each has a thread of its own to wait in.
                                all.countDown();
                                assertTrue(waited(all));
                            })
                            .get(GENEROUS_SECONDS, TimeUnit.SECONDS)));
                }
                for (Future<?> end : ends) {
                    end.get(GENEROUS_SECONDS, TimeUnit.SECONDS);
                }
            }
            assertEquals(50, routes.get());
            assertEquals(0, shared.questionCount());
        } finally {
            threads.shutdownNow();
            timer.shutdownNow();
        }
    }

    private static boolean waited(CountDownLatch latch) {
        try {
            return latch.await(GENEROUS_SECONDS, TimeUnit.SECONDS);
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
            return false;
        }
    }
}
