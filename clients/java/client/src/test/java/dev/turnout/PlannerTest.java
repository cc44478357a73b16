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

import dev.turnout.errors.BudgetExhaustedException;
import dev.turnout.errors.DeadlineException;
import dev.turnout.errors.DrainingException;
import dev.turnout.errors.ErrorDetails;
import dev.turnout.errors.SidecarOverloadedException;
import dev.turnout.errors.UnreachableException;
import dev.turnout.v1.Candidate;
import dev.turnout.v1.Decision;
import dev.turnout.v1.FailureKind;
import dev.turnout.v1.Probe;
import dev.turnout.v1.RouteRequest;
import dev.turnout.v1.RouteResponse;
import io.grpc.Status;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import org.junit.jupiter.api.Test;

class PlannerTest {
    private static final Decision PLAN = Decisions.of("d", candidate("north/m", 1), candidate("south/m", 0));
    private static final RouteRequest CHAT = request("chat");
    private static final RuntimeException LOST =
            new UnreachableException("refused", ErrorDetails.of(Status.Code.UNAVAILABLE));

    /** The sidecar's side: questions that tests answer. */
    private static final class Asked implements Planner.Sidecar {
        private record Question(Duration timeout, boolean retried, CompletableFuture<RouteResponse> answer) {}

        private final List<Question> questions = new ArrayList<>();
        private boolean tells = true;

        @Override
        public CompletableFuture<Boolean> tell(Duration timeout) {
            return CompletableFuture.completedFuture(tells);
        }

        @Override
        public CompletableFuture<RouteResponse> route(
                RouteRequest request,
                Duration timeout,
                boolean retried,
                CompletableFuture<Boolean> told,
                Map<String, String> trace) {
            Question question = new Question(timeout, retried, new CompletableFuture<>());
            questions.add(question);
            return question.answer();
        }

        int count() {
            return questions.size();
        }

        Question last() {
            return questions.get(questions.size() - 1);
        }

        void answers(Decision decision) {
            last().answer().complete(RouteResponse.newBuilder().setDecision(decision).build());
        }

        void fails(RuntimeException error) {
            last().answer().completeExceptionally(error);
        }
    }

    private final VirtualClock clock = new VirtualClock();
    private final Asked sidecar = new Asked();
    private Planner planner = planner(true, Map.of());

    private Planner planner(boolean caching, Map<String, List<String>> fallback) {
        return new Planner(sidecar, new VirtualWaits(clock), caching, StaticOrder.of(fallback), clock, new FixedChance(0));
    }

    private PlanOrigin answered(RouteRequest request, Decision decision) {
        CompletableFuture<PlanOrigin> plan = planner.plan(request, null);
        sidecar.answers(decision);
        return plan.join();
    }

    private PlanOrigin failed(RouteRequest request, RuntimeException error) {
        CompletableFuture<PlanOrigin> plan = planner.plan(request, null);
        sidecar.fails(error);
        return plan.join();
    }

    private PlanOrigin now(RouteRequest request) {
        CompletableFuture<PlanOrigin> plan = planner.plan(request, null);
        assertTrue(plan.isDone(), "nobody is asked");
        return plan.join();
    }

    @Test
    void aKeptPlanNeedsNoQuestion() {
        assertFalse(answered(CHAT, PLAN).reused());
        PlanOrigin again = now(CHAT);

        assertTrue(again.reused());
        assertFalse(again.stale());
        assertEquals(1, sidecar.count());
    }

    @Test
    void aFailureThatSpeaksAgainstATargetAsksAnew() {
        answered(CHAT, PLAN);
        planner.note(failure("south/m", FailureKind.FAILURE_KIND_INVALID_REQUEST));
        planner.note(failure("elsewhere/m", FailureKind.FAILURE_KIND_TIMEOUT));
        assertTrue(now(CHAT).reused());
        planner.note(failure("south/m", FailureKind.FAILURE_KIND_TIMEOUT));

        assertFalse(answered(CHAT, PLAN).reused());
        assertEquals(2, sidecar.count());
    }

    @Test
    void whatSpeaksAgainstATargetIsAMatterOfItsKind() {
        for (FailureKind kind : FailureKind.values()) {
            boolean not = List.of("UNRECOGNIZED", "UNSPECIFIED", "CANCELLED", "INVALID_REQUEST", "CONTENT_FILTERED",
                            "CONTEXT_LENGTH", "UNKNOWN")
                    .contains(kind.name().replace("FAILURE_KIND_", ""));
            assertEquals(!not, Failure.speaksAgainstTarget(kind, false), kind.name());
        }
        assertTrue(Failure.speaksAgainstTarget(FailureKind.FAILURE_KIND_UNKNOWN, true));
    }

    @Test
    void anAnswerThatAFailureOvertookServesOnce() {
        CompletableFuture<PlanOrigin> plan = planner.plan(CHAT, null);
        planner.note(failure("south/m", FailureKind.FAILURE_KIND_SERVER_ERROR));
        sidecar.answers(PLAN);

        assertFalse(plan.join().reused());
        planner.plan(CHAT, null);
        assertEquals(2, sidecar.count());
    }

    @Test
    void anAnswerOfASidecarThatWasNotToldServesOnce() {
        sidecar.tells = false;
        answered(CHAT, PLAN);
        planner.plan(CHAT, null);

        assertEquals(2, sidecar.count());
    }

    @Test
    void withNothingToFallBackOnTheErrorComesOutAfterAllRetries() {
        CompletableFuture<PlanOrigin> plan = planner.plan(CHAT, null);
        assertEquals(Duration.ofSeconds(2), sidecar.last().timeout());
        assertTrue(sidecar.last().retried());
        sidecar.fails(LOST);

        assertEquals(LOST, assertThrows(CompletionException.class, plan::join).getCause());
    }

    @Test
    void theLastPlanIsUsedHoweverOldWhileTheSidecarIsAway() {
        answered(CHAT, PLAN);
        clock.pass(Duration.ofDays(3));
        CompletableFuture<PlanOrigin> plan = planner.plan(CHAT, null);
        assertEquals(Duration.ofSeconds(1), sidecar.last().timeout());
        assertFalse(sidecar.last().retried());
        sidecar.fails(LOST);

        assertTrue(plan.join().stale());
        assertFalse(plan.join().reused());
        assertEquals("d", plan.join().decision().getDecisionId());
        assertTrue(plan.join().staleReason().contains("refused"), plan.join().staleReason());
    }

    @Test
    void everySignOfAnAbsentSidecarCounts() {
        answered(CHAT, PLAN);
        for (RuntimeException error : List.of(
                LOST,
                new DeadlineException("no word", ErrorDetails.NONE),
                new DrainingException("stopping", ErrorDetails.NONE),
                new SidecarOverloadedException("full", ErrorDetails.NONE))) {
            clock.pass(Duration.ofSeconds(60));
            assertTrue(failed(CHAT, error).stale(), error.toString());
        }
    }

    @Test
    void refusalsAreAnswersAndComeOut() {
        answered(CHAT, PLAN);
        clock.pass(Duration.ofSeconds(60));
        RuntimeException spent = new BudgetExhaustedException(
                "spent",
                new ErrorDetails(Status.Code.RESOURCE_EXHAUSTED, "BUDGET_EXHAUSTED", "", Map.of(), null, false, List.of(), null));
        CompletableFuture<PlanOrigin> plan = planner.plan(CHAT, null);
        sidecar.fails(spent);

        assertInstanceOf(
                BudgetExhaustedException.class,
                assertThrows(CompletionException.class, plan::join).getCause());
    }

    @Test
    void forASecondNobodyAsksThenOneDoes() {
        answered(CHAT, PLAN);
        clock.pass(Duration.ofSeconds(60));
        failed(CHAT, LOST);
        assertTrue(now(CHAT).stale());
        clock.pass(Duration.ofSeconds(1).minusNanos(1));
        assertTrue(now(CHAT).stale());
        clock.pass(Duration.ofNanos(1));
        CompletableFuture<PlanOrigin> asking = planner.plan(CHAT, null);
        assertTrue(now(CHAT).stale(), "the others go on");
        assertEquals(3, sidecar.count());
        sidecar.answers(PLAN);

        assertFalse(asking.join().stale());
        assertTrue(now(CHAT).reused());
    }

    @Test
    void whoeverAsksAndGoesAwayLeavesTheQuestionToTheNext() {
        answered(CHAT, PLAN);
        clock.pass(Duration.ofSeconds(60));
        failed(CHAT, LOST);
        clock.pass(Duration.ofSeconds(1));
        planner.plan(CHAT, null).cancel(true);

        assertFalse(planner.plan(CHAT, null).isDone());
        assertEquals(4, sidecar.count());
    }

    @Test
    void inAStalePlanTargetsThatFailedOfLateGoLast() {
        answered(CHAT, PLAN);
        clock.pass(Duration.ofSeconds(60));
        planner.note(failure("north/m", FailureKind.FAILURE_KIND_TIMEOUT));
        assertEquals(List.of("south/m", "north/m"), names(failed(CHAT, LOST).order()));
        clock.pass(Duration.ofSeconds(30));

        assertEquals(List.of("north/m", "south/m"), names(failed(CHAT, LOST).order()));
    }

    @Test
    void aCopyForLaterDoesNotClaimATrial() {
        Candidate trial = candidate("north/m", 1).toBuilder()
                .setProbe(Probe.newBuilder().setProbeId("p"))
                .build();
        answered(CHAT, Decisions.of("d", trial).toBuilder().setReusable(false).build());

        assertFalse(failed(CHAT, LOST).order().get(0).hasProbe());
    }

    @Test
    void anotherRequestsPlanOfTheSameTaskAndTenantIsBetterThanNone() {
        answered(CHAT, PLAN);
        RouteRequest larger = CHAT.toBuilder().setSessionId("s").build();
        RouteRequest.Builder other = larger.toBuilder();
        other.getCallerBuilder().setTenant("blue");

        assertEquals(List.of("north/m", "south/m"), names(failed(larger, LOST).order()));
        CompletableFuture<PlanOrigin> plan = planner.plan(other.build(), null);
        sidecar.fails(LOST);
        assertThrows(CompletionException.class, plan::join);
    }

    @Test
    void anotherRequestsPlanIsHeldToThisOnesOwnLimits() {
        answered(CHAT, PLAN);
        RouteRequest.Builder narrow = CHAT.toBuilder();
        narrow.getOptionsBuilder().addExclude("north");
        assertEquals(List.of("south/m"), names(failed(narrow.build(), LOST).order()));
        narrow.getOptionsBuilder().addRegions("eu");
        CompletableFuture<PlanOrigin> plan = planner.plan(narrow.build(), null);
        sidecar.fails(LOST);

        assertThrows(CompletionException.class, plan::join);
    }

    @Test
    void theStaticOrderIsTheLastResort() {
        planner = planner(true, Map.of("", List.of("west/m@eu"), "chat", List.of("east/m", "west/m")));

        assertEquals(List.of("east/m", "west/m"), names(failed(CHAT, LOST).order()));
        assertEquals(List.of("west/m@eu"), names(now(request("planning")).order()));
        assertTrue(now(CHAT).stale());
    }

    @Test
    void withTheCacheOffEveryPlanIsAskedForAndNoneIsKept() {
        planner = planner(false, Map.of());
        answered(CHAT, PLAN);
        CompletableFuture<PlanOrigin> plan = planner.plan(CHAT, null);
        sidecar.fails(LOST);

        assertThrows(CompletionException.class, plan::join);
    }
}
