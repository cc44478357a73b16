package dev.turnout;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import dev.turnout.v1.Target;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class TargetsTest {
    @ParameterizedTest
    @ValueSource(strings = {"openai/gpt-4o", "openai/gpt-4o@eu", "router/meta/llama-3", "router/meta/llama@3@eu"})
    void namesAreReadAsTheyAreWritten(String name) {
        assertEquals(name, Targets.name(Targets.parse(name)));
    }

    @Test
    void aNameIsSplitAtTheFirstSlashAndTheLastAt() {
        Target target = Targets.parse("router/meta/llama@3@eu");

        assertEquals("router", target.getProvider());
        assertEquals("meta/llama@3", target.getModel());
        assertEquals("eu", target.getEndpoint());
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "openai", "openai/", "/gpt", "openai/gpt@", "openai/@eu"})
    void whatIsNoTargetIsToldWithWhatWouldBeRight(String name) {
        IllegalArgumentException error = assertThrows(IllegalArgumentException.class, () -> Targets.parse(name));

        assertEquals("'" + name + "' is not a target: give provider/model or provider/model@endpoint, such as openai/gpt-4o",
                error.getMessage());
    }
}
