package dev.turnout.examples;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.turnout.TurnoutClient;
import dev.turnout.v1.RouteRequest;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.condition.EnabledIfEnvironmentVariable;
import org.junit.jupiter.api.io.TempDir;

@EnabledIfEnvironmentVariable(
        named = "TURNOUT_BIN",
        matches = ".+",
        disabledReason = "TURNOUT_BIN does not name a sidecar's command")
@Timeout(300)
class AskTest {
    private final ByteArrayOutputStream out = new ByteArrayOutputStream();
    private final ByteArrayOutputStream err = new ByteArrayOutputStream();

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

    private ExitCode ask(String... arguments) {
        out.reset();
        err.reset();
        return new Ask(
                        new PrintStream(out, true, StandardCharsets.UTF_8),
                        new PrintStream(err, true, StandardCharsets.UTF_8),
                        Map.of())
                .run(client, arguments);
    }

    private String said() {
        return out.toString(StandardCharsets.UTF_8);
    }

    private String told() {
        return err.toString(StandardCharsets.UTF_8);
    }

    @Test
    void asksInThreeWays() throws InterruptedException {
        assertEquals(ExitCode.WELL, ask("Why", "is", "the", "sky", "blue?"), told());

        assertEquals(3, said().lines().filter(line -> !line.isBlank()).count(), said());
        assertTrue(told().contains("answered by north/m"), told());
        assertTrue(told().contains("streamed by north/m"), told());
        assertTrue(told().contains("calling north/m"), told());
        assertTrue(client.flush(Duration.ofSeconds(60)));
        assertEquals(0, client.unreportedCount());
    }

    @Test
    void aPlanGoesOnWhereATargetFails() throws Exception {
        real.fault("north", "{\"status\": 503}");

        assertEquals(ExitCode.WELL, ask("plan", "Hello?"), told());
        assertTrue(told().contains("calling north/m") && told().contains("calling south/m"), told());
        assertFalse(said().isBlank());
        assertEquals(ExitCode.WELL, ask("stream", "Hello?"), told());
    }

    @Test
    void errorsBecomeExitCodes() throws Exception {
        assertEquals(ExitCode.USAGE, ask("  "));
        real.fault("north", "{\"status\": 500}");
        real.fault("south", "{\"status\": 500}");
        assertEquals(ExitCode.FAILED, ask("whole", "Hello?"));
        assertTrue(told().startsWith("ATTEMPTS_EXHAUSTED") && told().contains("north/m"), told());
        assertEquals(ExitCode.REFUSED, ask("plan", "Hello?"), "the provider's own error");
        assertTrue(told().contains("HTTP 500"), told());
        real.kill();
        assertEquals(ExitCode.UNREACHABLE, ask("whole", "Hello?"));
        assertTrue(told().contains("is it running there?"), told());
    }
}
