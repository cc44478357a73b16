package dev.turnout.conformance;

import dev.turnout.v1.Completion;
import dev.turnout.v1.ExecuteStreamResponse;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/** The events of a stream as the suite compares them: runs of deltas as one. */
final class SeenEvents {
    private final List<String> names = new ArrayList<>();
    private int deltaCount;
    private Completion completion;

    void take(ExecuteStreamResponse event) {
        String name = event.getEventCase().name().toLowerCase(Locale.ROOT);
        if (event.hasDelta()) {
            deltaCount++;
        } else if (event.hasCompletion()) {
            completion = event.getCompletion();
        }
        if (!event.hasDelta() || names.isEmpty() || !names.get(names.size() - 1).equals("delta")) {
            names.add(name);
        }
    }

    List<String> names() {
        return names;
    }

    int deltaCount() {
        return deltaCount;
    }

    long restartCount() {
        return names.stream().filter("restart"::equals).count();
    }

    /** The end, null before it. */
    Completion completion() {
        return completion;
    }
}
