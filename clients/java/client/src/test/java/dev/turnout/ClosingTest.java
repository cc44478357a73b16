package dev.turnout;

import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;

import dev.turnout.errors.TransportException;
import dev.turnout.errors.TurnoutException;
import dev.turnout.v1.RouteRequest;
import dev.turnout.v1.RouteResponse;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Whoever waits for a call gets its end when the client is closed. */
@Timeout(120)
class ClosingTest {
    private static final Duration LONG = Duration.ofSeconds(600);

    /** An address at which nobody listens. */
    private static String nobody() throws IOException {
        try (ServerSocket socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            return "127.0.0.1:" + socket.getLocalPort();
        }
    }

    @Test
    void callsThatWaitForTheirNextTryEndAsTheClientIsClosed() throws Exception {
        TurnoutClient client =
                TurnoutClient.builder().address(nobody()).maxRetryCount(1_000_000).build();
        List<CompletableFuture<RouteResponse>> calls = new ArrayList<>();
        for (int count = 0; count < 100; count++) {
            calls.add(client.routeAsync(RouteRequest.getDefaultInstance(), LONG));
        }
        // By now most of them wait, for up to two seconds each.
        assertThrows(TurnoutException.class, () -> client.plan(RouteRequest.getDefaultInstance(), Duration.ofSeconds(3)));
        client.close();

        for (CompletableFuture<RouteResponse> call : calls) {
            ExecutionException error = assertThrows(ExecutionException.class, () -> call.get(60, TimeUnit.SECONDS));
            assertInstanceOf(TransportException.class, error.getCause());
        }
    }
}
