package dev.turnout;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class ConnectionTest {
    @TempDir
    private Path folder;

    private static Connection resolve(String address, String token, Map<String, String> environment) {
        return Connection.resolve(address, token, null, null, environment);
    }

    private static String message(org.junit.jupiter.api.function.Executable call) {
        return assertThrows(IllegalArgumentException.class, call).getMessage();
    }

    private Path file(String name, String content) throws IOException {
        return Files.writeString(folder.resolve(name), content);
    }

    @Test
    void whatIsGivenComesBeforeTheEnvironmentAndThatBeforeTheDefault() {
        Map<String, String> environment = Map.of("TURNOUT_ADDRESS", "localhost:1", "TURNOUT_TOKEN", "secret-token");

        assertEquals("127.0.0.1:2", resolve("127.0.0.1:2", "", environment).address());
        assertEquals("localhost:1", resolve("", "", environment).address());
        assertEquals("127.0.0.1:50151", resolve(null, null, Map.of()).address());
        assertEquals("mine", resolve("", "mine", environment).token());
        assertEquals("secret-token", resolve("", "", environment).token());
        assertFalse(resolve("", "", environment).toString().contains("secret"));
    }

    @ParameterizedTest
    @ValueSource(strings = {
        "localhost", "localhost:", "localhost:0", "localhost:65536", ":50151", "http://localhost:50151", "unix:", "unix:///",
        "host/path:1", "::1:50151", "localhost:http"
    })
    void anAddressThatCannotBeOneIsToldWithWhatWouldBeRight(String address) {
        String message = message(() -> resolve(address, "", Map.of()));

        assertTrue(message.contains(address) && message.contains("host:port"), message);
    }

    @Test
    void addressesAreTakenApart() {
        assertEquals("::1", resolve("[::1]:50151", "", Map.of()).host());
        assertEquals(50151, resolve("[::1]:50151", "", Map.of()).port());
        assertEquals("/run/t.sock", resolve("unix:/run/t.sock", "", Map.of()).socketPath());
        assertEquals("/run/t.sock", resolve("unix:///run/t.sock", "", Map.of()).socketPath());
        assertEquals("t.sock", resolve("unix:t.sock", "", Map.of()).socketPath());
    }

    @ParameterizedTest
    @ValueSource(strings = {"127.0.0.1:1", "127.9.9.9:1", "localhost:1", "[::1]:1", "[0:0:0:0:0:0:0:1]:1", "unix:/t.sock"})
    void aTokenMayStayOnThisMachine(String address) {
        assertEquals("t", resolve(address, "t", Map.of()).token());
    }

    @ParameterizedTest
    @ValueSource(strings = {"example.com:1", "10.0.0.1:1", "[2001:db8::1]:1", "localhost.example.com:1"})
    void aTokenGoesNowhereInPlainText(String address) {
        String message = message(() -> resolve(address, "t", Map.of()));

        assertTrue(message.contains("plain text") && message.contains("TURNOUT_CA_FILE"), message);
        assertEquals(
                "t",
                Connection.resolve(address, "t", null, Tls.ofPublicRoots(), Map.of()).token());
    }

    @Test
    void contradictionsAreToldAtOnce() throws IOException {
        Path token = file("token", "abc\n");

        assertTrue(message(() -> Connection.resolve("", "t", token, null, Map.of())).contains("give one of them"));
        assertTrue(message(() -> resolve("", "", Map.of("TURNOUT_TOKEN", "t", "TURNOUT_TOKEN_FILE", "/f")))
                .contains("set one of them"));
        assertTrue(message(() -> Tls.ofFiles(null, token, null, "")).contains("needs both"));
        assertTrue(message(() -> Connection.resolve("unix:/s", "", null, Tls.ofPublicRoots(), Map.of()))
                .contains("a Unix socket has none"));
        assertTrue(message(() -> Tls.ofCa(folder.resolve("none.pem"))).contains("none.pem"));
    }

    @Test
    void tlsOfTheEnvironmentDoesNotCountForAUnixSocket() throws IOException {
        Map<String, String> environment = Map.of("TURNOUT_CA_FILE", file("ca.pem", "PEM").toString());

        assertEquals(3, resolve("", "", environment).tls().ca().length);
        assertNull(resolve("unix:/t.sock", "", environment).tls());
        assertEquals("sidecar", resolve("", "", Map.of("TURNOUT_SERVER_NAME", "sidecar")).tls().serverName());
    }

    @Test
    void aTokenFileIsReadAgainWhenItsTokenIsNoLongerTaken() throws IOException {
        Path file = file("token", "first\n");
        TokenSource source = new TokenSource("", file);

        assertEquals("first", source.text());
        assertFalse(source.renewed("first"));
        Files.writeString(file, "second");
        assertTrue(source.renewed("first"));
        assertEquals("second", source.text());
        Files.delete(file);
        assertFalse(source.renewed("second"));
        assertEquals("second", source.text(), "the one before may still be good");
    }

    @Test
    void whatIsNoTokenIsToldWithoutSayingIt() throws IOException {
        Path empty = file("empty", " \n");
        Path two = file("two", "one two");

        assertTrue(message(() -> new TokenSource("", empty)).contains("is empty"));
        assertTrue(message(() -> new TokenSource("", two)).contains("one line of ASCII characters without spaces"));
        assertFalse(message(() -> new TokenSource("geheim ö", null)).contains("geheim"));
        assertTrue(message(() -> new TokenSource("", folder.resolve("none"))).contains("cannot be read"));
    }

    @Test
    void theClientTellsWhatIsWrongBeforeAnyCall() throws IOException {
        Path noPem = file("ca.pem", "no certificate");

        assertTrue(message(() -> TurnoutClient.builder().environment(Map.of()).tls(Tls.ofCa(noPem)).build())
                .contains("PEM"));
        assertTrue(message(() -> TurnoutClient.builder().maxRetryCount(-1)).contains("maxRetryCount"));
        assertTrue(message(() -> TurnoutClient.builder()
                        .environment(Map.of())
                        .fallback(Map.of("chat", java.util.List.of("gpt-4o")))
                        .build())
                .contains("fallback for task chat"));
    }
}
