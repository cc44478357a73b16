package dev.turnout;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.turnout.errors.ErrorDetails;
import dev.turnout.errors.InvalidRequestException;
import dev.turnout.errors.UnreachableException;
import dev.turnout.v1.FailureKind;
import dev.turnout.v1.Outcome;
import dev.turnout.v1.ReportOutcomeResponse;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Threads are real here; every wait is for something to happen, and generous. */
@Timeout(120)
class ReporterTest {
    private static final Duration LONG = Duration.ofSeconds(60);
    private static final RuntimeException AWAY = new UnreachableException("refused", ErrorDetails.NONE);

    private record Sent(List<Outcome> batch, CompletableFuture<ReportOutcomeResponse> end) {
        void well() {
            end.complete(ReportOutcomeResponse.getDefaultInstance());
        }
    }

    private final BlockingQueue<Sent> sent = new LinkedBlockingQueue<>();
    private final Reporter reporter = new Reporter(this::send, new FixedChance(0));

    private CompletableFuture<ReportOutcomeResponse> send(List<Outcome> batch) {
        Sent one = new Sent(batch, new CompletableFuture<>());
        sent.add(one);
        return one.end();
    }

    private Sent next() throws InterruptedException {
        Sent one = sent.poll(60, TimeUnit.SECONDS);
        assertNotNull(one, "nothing was sent");
        return one;
    }

    private static Outcome ok(int number) {
        return Outcome.newBuilder().setAttemptId("a" + number).setOk(true).build();
    }

    private static Outcome failed(int number) {
        return Outcome.newBuilder()
                .setAttemptId("a" + number)
                .setFailure(FailureKind.FAILURE_KIND_TIMEOUT)
                .build();
    }

    @AfterEach
    void close() {
        sent.forEach(Sent::well);
        reporter.close(Duration.ofMillis(1));
    }

    @Test
    void outcomesGoTogetherAtMostAHundred() throws InterruptedException {
        for (int number = 0; number < 230; number++) {
            reporter.add(ok(number));
        }
        int count = 0;
        while (count < 230) {
            Sent one = next();
            assertTrue(one.batch().size() <= 100);
            assertEquals("a" + count, one.batch().get(0).getAttemptId());
            count += one.batch().size();
            one.well();
        }

        assertTrue(reporter.flush(LONG));
        assertEquals(0, reporter.lostCount());
    }

    @Test
    void whileTheSidecarIsAwayOutcomesWaitAndGoLater() throws InterruptedException {
        reporter.add(ok(1));
        next().end().completeExceptionally(AWAY);
        Sent again = next();
        assertEquals("a1", again.batch().get(0).getAttemptId());
        again.well();

        assertTrue(reporter.flush(LONG));
        assertEquals(0, reporter.lostCount());
    }

    @Test
    void whatTheSidecarRefusesIsLostAndCounted() throws InterruptedException {
        reporter.add(ok(1));
        next().end().completeExceptionally(new InvalidRequestException("no", ErrorDetails.NONE));

        assertTrue(reporter.flush(LONG));
        assertEquals(1, reporter.lostCount());
    }

    @Test
    void withoutAFailureThereIsNothingToTell() throws InterruptedException {
        reporter.add(ok(1));

        assertTrue(reporter.tell(LONG).getNow(false));
        next().well();
    }

    @Test
    void aFailureIsToldBeforeTheNextQuestion() throws Exception {
        reporter.add(failed(1));
        CompletableFuture<Boolean> told = reporter.tell(LONG);
        Sent one = next();
        assertFalse(told.isDone());
        one.well();

        assertTrue(told.get(60, TimeUnit.SECONDS));
        assertTrue(reporter.tell(LONG).getNow(false), "it is known now");
    }

    @Test
    void aFailureThatCannotBeToldHoldsNobodyUp() throws Exception {
        reporter.add(failed(1));
        CompletableFuture<Boolean> told = reporter.tell(LONG);
        next().end().completeExceptionally(AWAY);

        assertFalse(told.get(60, TimeUnit.SECONDS));
        CompletableFuture<Boolean> late = reporter.tell(Duration.ofMillis(1));
        assertFalse(late.get(60, TimeUnit.SECONDS), "the limit is over");
        next().well();
    }

    @Test
    void closingSendsWhatIsLeft() throws InterruptedException {
        reporter.add(ok(1));
        CompletableFuture<Void> closed = CompletableFuture.runAsync(() -> reporter.close(LONG));
        next().well();
        closed.join();

        assertEquals(0, reporter.pendingCount());
        assertEquals(0, reporter.lostCount());
    }

    @Test
    void closingDoesNotWaitForASidecarThatIsAway() throws InterruptedException {
        reporter.add(ok(1));
        reporter.add(ok(2));
        CompletableFuture<Void> closed = CompletableFuture.runAsync(() -> reporter.close(LONG));
        next().end().completeExceptionally(AWAY);
        closed.orTimeout(60, TimeUnit.SECONDS).join();
        reporter.add(ok(3));

        assertEquals(0, reporter.pendingCount());
        assertEquals(3, reporter.lostCount());
    }

    @Test
    void pastItsBoundTheOldestIsDropped() {
        Outbox outbox = new Outbox();
        for (int number = 0; number < Outbox.MAX_PENDING_COUNT + 5; number++) {
            outbox.add(ok(number));
        }

        assertEquals(1_000, outbox.size());
        assertEquals(5, outbox.lostCount());
        List<Outcome> batch = outbox.take();
        assertEquals("a5", batch.get(0).getAttemptId());
        for (int number = 0; number < 60; number++) {
            outbox.add(ok(number));
        }
        outbox.putBack(batch);
        assertEquals(1_000, outbox.size());
        assertEquals(65, outbox.lostCount());
        assertEquals("a65", outbox.take().get(0).getAttemptId());
    }
}
