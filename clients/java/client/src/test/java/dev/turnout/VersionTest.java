package dev.turnout;

import static org.junit.jupiter.api.Assertions.assertEquals;

import org.junit.jupiter.api.Test;

class VersionTest {
    @Test
    void theClientKnowsTheVersionOfItsArtifact() {
        assertEquals(System.getProperty("artifact.version"), Version.CLIENT);
    }
}
