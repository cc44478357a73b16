package dev.turnout.examples;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.JsonObject;
import dev.turnout.Answer;
import dev.turnout.AnswerStream;
import dev.turnout.Chat;
import dev.turnout.Plan;
import dev.turnout.StatusWatch;
import dev.turnout.TargetException;
import dev.turnout.TurnoutClient;
import dev.turnout.errors.InvalidRequestException;
import dev.turnout.errors.RestartedException;
import dev.turnout.errors.StreamInterruptedException;
import dev.turnout.errors.TransportException;
import dev.turnout.errors.UnreachableException;
import dev.turnout.v1.ExecuteRequest;
import dev.turnout.v1.ExecuteStreamRequest;
import dev.turnout.v1.MidStreamPolicy;
import dev.turnout.v1.ProviderStatusRequest;
import dev.turnout.v1.RouteRequest;
import dev.turnout.v1.WatchProviderStatusRequest;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.condition.EnabledIfEnvironmentVariable;
import org.junit.jupiter.api.io.TempDir;

/** The client's public methods against the real sidecar; every wait is for something to happen, and generous. */
@EnabledIfEnvironmentVariable(
        named = "TURNOUT_BIN",
        matches = ".+",
        disabledReason = "TURNOUT_BIN does not name a sidecar's command")
@Timeout(300)
class RealSidecarTest {
    private static final RouteRequest CHAT = RouteRequest.newBuilder().build();

    @TempDir
    private Path folder;

    private RealSidecar real;
    private TurnoutClient client;

    @BeforeEach
    void start() throws IOException {
        real = RealSidecar.start(folder, "127.0.0.1:0");
        client = TurnoutClient.create(real.address());
        // Connected: what follows has the client's own short deadlines.
        client.route(RouteRequest.getDefaultInstance(), Duration.ofSeconds(60));
    }

    @AfterEach
    void stop() {
        client.close();
        real.close();
    }

    private static ExecuteStreamRequest prompt(MidStreamPolicy policy) {
        ExecuteStreamRequest.Builder request =
                ExecuteStreamRequest.newBuilder().setInput(Chat.of(Chat.user("Count to twenty.")));
        request.getOptionsBuilder().setMidStream(policy);
        return request.build();
    }

    /** Makes answers of a provider take so long that calls to it are surely under way. */
    private void slow(String provider) throws Exception {
        real.patch(provider, "{\"latency\": {\"seconds_per_output_token\": 2}}");
    }

    private void awaitCall(String provider) throws Exception {
        for (int look = 0; look < 600 && real.seen(provider).get("in_flight").getAsInt() == 0; look++) {
            Thread.sleep(100);
        }
        assertEquals(1, real.seen(provider).get("in_flight").getAsInt());
    }

    /** Waits until a provider's call has ended, and tells that its caller went away before the answer was whole. */
    private void assertAbandoned(String provider) throws Exception {
        JsonObject seen = real.seen(provider);
        for (int look = 0; look < 600 && seen.get("in_flight").getAsInt() > 0; look++) {
            Thread.sleep(100);
            seen = real.seen(provider);
        }
        assertEquals("{\"abandoned\":1}", seen.get("endings").toString());
    }

    @Test
    void everyWayGivesAWholeAnswer() throws Exception {
        Answer whole = client.ask("Hello?");
        assertFalse(whole.text().isEmpty());
        assertTrue(whole.costUsd().isPresent());
        assertFalse(whole.decision().getDecisionId().isEmpty());
        try (AnswerStream stream = client.stream("Hello?")) {
            StringBuilder text = new StringBuilder();
            stream.text().forEach(text::append);
            assertEquals(text.toString(), stream.answer().text());
            assertEquals(whole.target(), stream.answer().target());
        }
        StringBuilder pushed = new StringBuilder();
        ExecuteStreamRequest request =
                ExecuteStreamRequest.newBuilder().setInput(Chat.of(Chat.user("Hello?"))).build();
        Answer later = client.streamAsync(request, null, event -> pushed.append(event.getDelta().getText()))
                .get(60, TimeUnit.SECONDS);

        assertEquals(pushed.toString(), later.text());
    }

    @Test
    void aUnixSocketServesTheSame() throws Exception {
        Path other = Files.createDirectory(folder.resolve("other"));
        try (RealSidecar local = RealSidecar.start(other, "unix:" + other.resolve("t.sock"));
                TurnoutClient byPath = TurnoutClient.create(local.address())) {
            assertTrue(local.address().startsWith("unix:"), local.address());
            assertFalse(byPath.ask("Hello?").text().isEmpty());
            assertEquals(2, byPath.status(ProviderStatusRequest.getDefaultInstance()).getProvidersCount());
        }
    }

    @Test
    void wrongInputNamesItsField() {
        ExecuteRequest.Builder request = ExecuteRequest.newBuilder().setInput(Chat.of(Chat.user("Hello?")));
        request.getOptionsBuilder().setMinQuality(120);
        InvalidRequestException error =
                assertThrows(InvalidRequestException.class, () -> client.execute(request.build()));

        assertEquals("options.min_quality", error.fieldViolations().get(0).field());
        assertTrue(
                List.of(error.getStackTrace()).stream()
                        .anyMatch(frame -> frame.getClassName().startsWith(RealSidecarTest.class.getName())),
                "the stack trace tells where the caller called");
    }

    @Test
    void aBrokenStreamIsNeverAShortAnswer() throws Exception {
        real.fault("north", "{\"kind\": \"cut\", \"after_pieces\": 2}");
        try (AnswerStream stream = client.stream(prompt(MidStreamPolicy.MID_STREAM_POLICY_FAIL))) {
            StreamInterruptedException error = assertThrows(StreamInterruptedException.class, stream::answer);

            assertFalse(stream.textSoFar().isEmpty());
            assertEquals(
                    stream.textSoFar().getBytes(StandardCharsets.UTF_8).length,
                    error.deliveredBytes().getAsLong());
            assertThrows(StreamInterruptedException.class, stream::answer, "however often one asks");
        }
    }

    @Test
    void underRestartTheAnswerIsThatOfTheSecondAlone() throws Exception {
        real.fault("north", "{\"kind\": \"cut\", \"after_pieces\": 2}");
        try (AnswerStream stream = client.stream(prompt(MidStreamPolicy.MID_STREAM_POLICY_RESTART))) {
            StringBuilder shown = new StringBuilder();
            stream.text(() -> shown.setLength(0)).forEach(shown::append);

            assertEquals(stream.answer().text(), shown.toString());
            assertEquals("south", stream.answer().target().getProvider());
            assertEquals(2, stream.answer().attempts().size());
        }
    }

    @Test
    void textThatIsVoidIsNeverTakenForTheAnswers() throws Exception {
        real.fault("north", "{\"kind\": \"cut\", \"after_pieces\": 2}");
        try (AnswerStream stream = client.stream(prompt(MidStreamPolicy.MID_STREAM_POLICY_RESTART))) {
            assertThrows(RestartedException.class, () -> stream.text().forEach(piece -> assertFalse(piece.isEmpty())));
        }
    }

    @Test
    void whatTheReaderOfEventsThrowsEndsTheCall() throws Exception {
        slow("north");
        IllegalStateException mistake = new IllegalStateException("a mistake");
        CompletableFuture<Answer> answer =
                client.streamAsync(prompt(MidStreamPolicy.MID_STREAM_POLICY_FAIL), null, event -> {
                    if (event.hasDelta()) {
                        throw mistake;
                    }
                });

        assertEquals(
                mistake,
                assertThrows(ExecutionException.class, () -> answer.get(60, TimeUnit.SECONDS)).getCause());
        assertAbandoned("north");
    }

    @Test
    void closingAStreamEndsTheProvidersCall() throws Exception {
        slow("north");
        try (AnswerStream stream = client.stream(prompt(MidStreamPolicy.MID_STREAM_POLICY_FAIL))) {
            assertFalse(stream.text().iterator().next().isEmpty());
        }

        assertAbandoned("north");
    }

    @Test
    void interruptingTheCallerEndsTheProvidersCall() throws Exception {
        slow("north");
        AtomicReference<Throwable> thrown = new AtomicReference<>();
        CountDownLatch interrupted = new CountDownLatch(1);
        Thread caller = new Thread(() -> {
            try {
                client.ask("Hello?");
            } catch (RuntimeException error) {
                thrown.set(error);
                if (Thread.currentThread().isInterrupted()) {
                    interrupted.countDown();
                }
            }
        });
        caller.start();
        awaitCall("north");
        caller.interrupt();
        caller.join(60_000);

        assertInstanceOf(CancellationException.class, thrown.get());
        assertEquals(0, interrupted.getCount(), "the thread stays interrupted");
        assertAbandoned("north");
    }

    @Test
    void cancellingTheFutureEndsTheProvidersCall() throws Exception {
        slow("north");
        CompletableFuture<Answer> answer = client.executeAsync(
                ExecuteRequest.newBuilder().setInput(Chat.of(Chat.user("Hello?"))).build(), null);
        awaitCall("north");
        assertTrue(answer.cancel(true));

        assertAbandoned("north");
    }

    @Test
    void aPlanIsUsedAgainUntilATargetFails() throws Exception {
        assertFalse(client.plan(CHAT).reused());
        Plan again = client.plan(CHAT);
        assertTrue(again.reused());
        assertThrows(TargetException.class, () -> again.run(attempt -> {
            throw new TargetException("HTTP 500", 500, "", Map.of());
        }));

        assertFalse(client.plan(CHAT).reused(), "it was left after one outcome");
        assertEquals(0, client.pendingCount(), "the sidecar was told before it was asked");
    }

    @Test
    void anApplicationDoesNotGoDownWithItsSidecar() throws Exception {
        String address = real.address();
        Plan asked = client.plan(CHAT);
        client.plan(CHAT).run(attempt -> "ok");
        assertTrue(client.flush(Duration.ofSeconds(60)));
        real.kill();
        // What is kept is good for a while; another request of the task is not.
        RouteRequest other = CHAT.toBuilder().setSessionId("s").build();
        Plan stale = client.plan(other);

        assertTrue(stale.stale());
        assertTrue(stale.staleReason().contains("cannot be reached"), stale.staleReason());
        assertEquals(asked.decisionId(), stale.decisionId());
        assertEquals("ok", stale.run(attempt -> "ok"));
        assertEquals(1, client.pendingCount());
        assertThrows(UnreachableException.class, () -> client.ask("Hello?"));
        real.serve(address);
        assertTrue(client.flush(Duration.ofSeconds(60)), "the outcome waited for the sidecar");
        Plan back = client.plan(other);
        for (int look = 0; look < 600 && back.stale(); look++) {
            Thread.sleep(100);
            back = client.plan(other);
        }
        assertFalse(back.stale());
        assertFalse(client.ask("Hello?").text().isEmpty());
    }

    @Test
    void withoutAnyPlanTheStaticOrderIsFollowed() throws Exception {
        real.kill();
        try (TurnoutClient careful = TurnoutClient.builder()
                .address(real.address())
                .fallback(List.of("south/m", "north/m"))
                .build()) {
            Plan plan = careful.plan(CHAT);

            assertTrue(plan.stale());
            assertEquals("south/m", plan.run(attempt -> attempt.target()));
        }
        assertThrows(UnreachableException.class, () -> client.plan(CHAT), "with nothing to go by the error comes out");
    }

    @Test
    void aWatchBringsEverythingFirst() {
        try (StatusWatch watch = client.watchStatus(WatchProviderStatusRequest.getDefaultInstance())) {
            assertTrue(watch.next().getSnapshot());
        }
    }

    @Test
    void closingTheClientEndsWhatRuns() throws Exception {
        slow("north");
        CompletableFuture<Answer> answer = client.executeAsync(
                ExecuteRequest.newBuilder().setInput(Chat.of(Chat.user("Hello?"))).build(), null);
        awaitCall("north");
        client.close();
        ExecutionException error = assertThrows(ExecutionException.class, () -> answer.get(60, TimeUnit.SECONDS));

        assertInstanceOf(TransportException.class, error.getCause());
        assertThrows(IllegalStateException.class, () -> client.ask("Hello?"));
        assertAbandoned("north");
    }
}
