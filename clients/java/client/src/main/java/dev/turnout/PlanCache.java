package dev.turnout;

import dev.turnout.v1.Candidate;
import dev.turnout.v1.Decision;
import dev.turnout.v1.Target;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.random.RandomGenerator;

/**
 * Plans that may be used again without asking the sidecar: at most so many, one for each key; the one least recently used
 * goes. Pure: the clock's value (monotonic nanoseconds) and chance are arguments. For one thread at a time.
 */
final class PlanCache {
    static final int MAX_PLAN_COUNT = 256;

    private record Kept(Decision decision, Tokens tokens, long sentAt, long validNanos) {
        boolean has(Target target) {
            return decision.getCandidatesList().stream().anyMatch(candidate -> candidate.getTarget().equals(target));
        }
    }

    private final Map<PlanKey, Kept> plans = new LinkedHashMap<>(16, 0.75f, true);

    int size() {
        return plans.size();
    }

    /** A kept plan that serves the request, its first target drawn by share; empty where the sidecar is to be asked. */
    Optional<PlanOrigin> find(PlanKey key, Tokens tokens, long now, RandomGenerator random) {
        Kept kept = plans.get(key);
        if (kept == null) {
            return Optional.empty();
        }
        if (now - kept.sentAt() >= kept.validNanos()) {
            plans.remove(key);
            return Optional.empty();
        }
        if (!tokens.areNoMoreThan(kept.tokens())) {
            return Optional.empty();
        }
        return Optional.of(PlanOrigin.reused(kept.decision(), drawn(kept.decision().getCandidatesList(), random)));
    }

    /** Keeps the answer to a question that was sent at {@code sentAt}; what may not be used again takes no place. */
    void keep(PlanKey key, Tokens tokens, Decision decision, long sentAt) {
        plans.remove(key);
        if (!mayServeAgain(decision)) {
            return;
        }
        plans.put(key, new Kept(decision, tokens, sentAt, nanos(decision.getValidFor())));
        if (plans.size() > MAX_PLAN_COUNT) {
            plans.remove(plans.keySet().iterator().next());
        }
    }

    /** Whether the sidecar lets a decision serve further requests. */
    static boolean mayServeAgain(Decision decision) {
        return decision.getReusable() && decision.getCandidatesCount() > 0 && nanos(decision.getValidFor()) > 0;
    }

    /** Drops every plan in which the target is a candidate. */
    void drop(Target target) {
        plans.values().removeIf(kept -> kept.has(target));
    }

    /** The first by share, the others in the plan's order; where all shares are 0 the order stands. */
    private static List<Candidate> drawn(List<Candidate> candidates, RandomGenerator random) {
        double sum = 0;
        for (Candidate candidate : candidates) {
            sum += Math.max(0, candidate.getShare());
        }
        if (!(sum > 0)) {
            return candidates;
        }
        double point = random.nextDouble() * sum;
        for (int place = 0; place < candidates.size(); place++) {
            double share = Math.max(0, candidates.get(place).getShare());
            point -= share;
            if (share > 0 && point < 0) {
                return inFront(place, candidates);
            }
        }
        // What rounding left over is the first's.
        return candidates;
    }

    private static List<Candidate> inFront(int place, List<Candidate> candidates) {
        if (place == 0) {
            return candidates;
        }
        List<Candidate> order = new ArrayList<>(candidates);
        order.add(0, order.remove(place));
        return List.copyOf(order);
    }

    private static long nanos(com.google.protobuf.Duration duration) {
        // A day is longer than any plan is valid.
        return Math.min(duration.getSeconds(), 86_400) * 1_000_000_000L + duration.getNanos();
    }
}
