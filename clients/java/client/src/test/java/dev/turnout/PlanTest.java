package dev.turnout;

import static dev.turnout.Decisions.candidate;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.turnout.errors.PlanExhaustedException;
import dev.turnout.v1.Candidate;
import dev.turnout.v1.FailureKind;
import dev.turnout.v1.MidStreamPolicy;
import dev.turnout.v1.Outcome;
import dev.turnout.v1.Probe;
import dev.turnout.v1.RouteRequest;
import java.io.IOException;
import java.net.ConnectException;
import java.net.SocketTimeoutException;
import java.time.Duration;
import java.time.Instant;
import java.time.InstantSource;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import org.junit.jupiter.api.Test;

class PlanTest {
    private final VirtualClock clock = new VirtualClock();
    private final List<Outcome> reported = new ArrayList<>();
    private final List<String> called = new ArrayList<>();

    private Plan plan(boolean restart, Candidate... candidates) {
        RouteRequest.Builder request = RouteRequest.newBuilder();
        if (restart) {
            request.getOptionsBuilder().setMidStream(MidStreamPolicy.MID_STREAM_POLICY_RESTART);
        }
        return plan(PlanOrigin.answered(Decisions.of("d", candidates)), request.build());
    }

    private Plan plan(PlanOrigin origin, RouteRequest request) {
        InstantSource wall = InstantSource.fixed(Instant.parse("2026-11-01T12:00:00Z"));
        return new Plan(origin, request, reported::add, clock, wall, () -> "a" + reported.size());
    }

    private Plan plan() {
        return plan(false, candidate("north/m", 1), candidate("south/m", 0));
    }

    private static TargetException status(int status) {
        return new TargetException("HTTP " + status, status, "", Map.of());
    }

    private static List<FailureKind> kinds(List<Outcome> outcomes) {
        return outcomes.stream().map(Outcome::getFailure).toList();
    }

    @Test
    void theFirstThatAnswersEndsThePlanAndIsReportedWhole() {
        Candidate trial = candidate("north/m@eu", 1).toBuilder()
                .setProbe(Probe.newBuilder().setProbeId("p"))
                .build();
        String text = plan(false, trial, candidate("south/m", 0)).run(attempt -> {
            clock.pass(Duration.ofMillis(200));
            attempt.firstToken();
            clock.pass(Duration.ofMillis(300));
            attempt.firstToken();
            attempt.usage(10, 20);
            attempt.costUsd(0.25);
            attempt.credential("team-key");
            return "text of " + attempt.target();
        });
        Outcome outcome = reported.get(0);

        assertEquals("text of north/m@eu", text);
        assertEquals(1, reported.size());
        assertTrue(outcome.getOk());
        assertEquals(List.of("d", "a0", "p", "team-key"),
                List.of(outcome.getDecisionId(), outcome.getAttemptId(), outcome.getProbeId(), outcome.getCredential()));
        assertEquals(500_000_000, outcome.getLatency().getNanos());
        assertEquals(200_000_000, outcome.getTimeToFirstToken().getNanos());
        assertTrue(outcome.getStreamed());
        assertEquals(20, outcome.getUsage().getOutputTokens());
        assertEquals(0.25, outcome.getCostUsd());
        assertEquals(Instant.parse("2026-11-01T12:00:00Z").getEpochSecond(), outcome.getStartTime().getSeconds());
    }

    @Test
    void aTargetsFailureIsNotedAndTheNextIsCalled() {
        String text = plan().run(attempt -> {
            called.add(attempt.provider());
            if (called.size() == 1) {
                throw new TargetException("HTTP 429", 429, "", Map.of("retry-after", List.of("3")));
            }
            return attempt.model();
        });

        assertEquals("m", text);
        assertEquals(List.of("north", "south"), called);
        assertEquals(FailureKind.FAILURE_KIND_RATE_LIMITED, reported.get(0).getFailure());
        assertEquals(429, reported.get(0).getHttpStatus());
        assertEquals(3, reported.get(0).getRetryAfter().getSeconds());
        assertTrue(reported.get(1).getOk());
    }

    @Test
    void theLastTargetsExceptionComesOutAsItIs() {
        IOException refused = new ConnectException("refused");
        IOException thrown = assertThrows(IOException.class, () -> plan().run(attempt -> {
            throw refused;
        }));

        assertSame(refused, thrown);
        assertEquals(2, reported.size());
    }

    @Test
    void whatAnotherTargetWouldNotHelpComesOutAtOnce() {
        RuntimeException mistake = new IllegalStateException("a mistake");
        for (Exception error : List.of(mistake, status(400), new InterruptedException())) {
            reported.clear();
            assertSame(error, assertThrows(Exception.class, () -> plan().run(attempt -> {
                throw error;
            })));
            assertEquals(1, reported.size(), error.toString());
        }
    }

    @Test
    void anErrorOfTheMachineIsReportedAndComesOut() {
        assertThrows(StackOverflowError.class, () -> plan().run(attempt -> {
            throw new StackOverflowError();
        }));
        assertEquals(1, reported.size());
    }

    @Test
    void afterTheFirstTokenThereIsNoOtherTarget() {
        assertThrows(SocketTimeoutException.class, () -> plan().run(attempt -> {
            attempt.firstToken();
            throw new SocketTimeoutException("silent");
        }));
        assertThrows(ConnectException.class, () -> plan().run(attempt -> {
            attempt.firstToken();
            throw new ConnectException("reset");
        }));

        assertEquals(
                List.of(FailureKind.FAILURE_KIND_STALLED, FailureKind.FAILURE_KIND_TRUNCATED), kinds(reported));
    }

    @Test
    void underRestartThereIs() throws SocketTimeoutException {
        Plan plan = plan(true, candidate("north/m", 1), candidate("south/m", 0));
        String provider = plan.run(attempt -> {
            attempt.firstToken();
            if (attempt.provider().equals("north")) {
                throw new SocketTimeoutException("silent");
            }
            return attempt.provider();
        });

        assertEquals("south", provider);
    }

    @Test
    void whereTheRequestAllowsNoFallbackTheFirstAloneIsCalled() {
        RouteRequest.Builder request = RouteRequest.newBuilder();
        request.getOptionsBuilder().setAllowFallback(false);
        Plan plan = plan(
                PlanOrigin.answered(Decisions.of("d", candidate("north/m", 1), candidate("south/m", 0))), request.build());

        assertEquals(1, plan.candidates().size());
        assertThrows(TargetException.class, () -> plan.run(attempt -> {
            throw status(503);
        }));
        assertEquals(1, reported.size());
    }

    @Test
    void outcomesOfAStalePlanSayThemselvesWhatTheSidecarMayNotKnow() {
        RouteRequest.Builder request = Decisions.request("chat").toBuilder().setSessionId("s");
        request.getCallerBuilder().setTenant("blue");
        PlanOrigin fresh = PlanOrigin.answered(Decisions.of("d", candidate("north/m", 1)));
        plan(fresh.staleFor("away"), request.build()).run(PlanAttempt::model);
        plan(fresh, request.build()).run(PlanAttempt::model);

        assertEquals(
                List.of("chat", "s", "blue"),
                List.of(reported.get(0).getTask(), reported.get(0).getSessionId(), reported.get(0).getCaller().getTenant()));
        assertEquals("", reported.get(1).getTask());
    }

    @Test
    void aFailureThatNoExceptionTellsOf() {
        Integer value = plan().run(attempt -> {
            called.add(attempt.target());
            if (called.size() == 1) {
                attempt.failed(FailureKind.FAILURE_KIND_TRUNCATED);
            }
            return called.size();
        });

        assertEquals(2, value);
        assertEquals(FailureKind.FAILURE_KIND_TRUNCATED, reported.get(0).getFailure());
    }

    @Test
    void aPlanWithoutSuccessAndExceptionIsExhausted() {
        PlanExhaustedException error = assertThrows(PlanExhaustedException.class, () -> plan().run(attempt -> {
            attempt.failed(FailureKind.FAILURE_KIND_TRUNCATED);
            return "";
        }));

        assertEquals("d", error.decisionId());
        assertTrue(error.getMessage().contains("north/m, south/m"));
        assertEquals(2, reported.size());
    }

    @Test
    void withoutBlockingItIsTheSame() {
        CompletableFuture<String> text = plan().runAsync(attempt -> {
            called.add(attempt.provider());
            return called.size() == 1
                    ? CompletableFuture.failedFuture(new CompletionException(status(503)))
                    : CompletableFuture.completedFuture(attempt.provider());
        });

        assertEquals("south", text.join());
        assertEquals(FailureKind.FAILURE_KIND_OVERLOADED, reported.get(0).getFailure());
    }

    @Test
    void withoutBlockingTheLastErrorComesOutUnwrapped() {
        RuntimeException refused = status(503);
        CompletableFuture<String> text = plan().runAsync(attempt -> {
            throw refused;
        });

        assertSame(refused, assertThrows(CompletionException.class, text::join).getCause());
        assertEquals(2, reported.size());
    }

    @Test
    void cancellingEndsTheCallThatRuns() {
        CompletableFuture<String> call = new CompletableFuture<>();
        CompletableFuture<String> text = plan().runAsync(attempt -> call);
        assertFalse(text.isDone());
        text.cancel(true);

        assertTrue(call.isCancelled());
        assertEquals(List.of(FailureKind.FAILURE_KIND_CANCELLED), kinds(reported));
    }

    @Test
    void anErrorOfTheVirtualMachineEndsARunThatDoesNotBlock() {
        CompletableFuture<String> result = plan().runAsync(attempt -> {
            called.add(attempt.target());
            if (called.size() == 1) {
                return CompletableFuture.failedFuture(status(503));
            }
            throw new AssertionError("a mistake");
        });

        assertTrue(result.isCompletedExceptionally(), "nobody would ever hear of it");
        assertEquals("a mistake", assertThrows(CompletionException.class, result::join).getCause().getMessage());
        assertEquals(2, reported.size());
    }
}
