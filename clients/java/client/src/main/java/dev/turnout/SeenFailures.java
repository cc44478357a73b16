package dev.turnout;

import dev.turnout.v1.Candidate;
import dev.turnout.v1.Target;
import java.time.Duration;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** What this process has seen fail, and how long ago; beyond the bound the oldest is forgotten. For one thread at a time. */
final class SeenFailures {
    static final int MAX_COUNT = 1_024;

    /** How long a failure puts a target last in a stale plan. */
    static final Duration REMEMBERED = Duration.ofSeconds(30);

    private record Seen(long number, long at) {}

    private final Map<Target, Seen> last = new LinkedHashMap<>();
    private long count;

    /** How many failures there were so far: what is asked at one count and answered at another met failures. */
    long count() {
        return count;
    }

    void add(Target target, long now) {
        count++;
        last.remove(target);
        last.put(target, new Seen(count, now));
        if (last.size() > MAX_COUNT) {
            last.remove(last.keySet().iterator().next());
        }
    }

    /** Whether any of the targets has failed since there were so many failures. */
    boolean anySince(long number, List<Candidate> candidates) {
        return count != number
                && candidates.stream()
                        .map(candidate -> last.get(candidate.getTarget()))
                        .anyMatch(seen -> seen != null && seen.number() > number);
    }

    /** The order kept, but for targets that failed within the last 30 s: they go last. */
    List<Candidate> failedLast(List<Candidate> candidates, long now) {
        return candidates.stream()
                .sorted(Comparator.comparing((Candidate candidate) -> failedLately(candidate.getTarget(), now)))
                .toList();
    }

    private boolean failedLately(Target target, long now) {
        Seen seen = last.get(target);
        return seen != null && now - seen.at() < REMEMBERED.toNanos();
    }
}
