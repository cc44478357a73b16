package dev.turnout;

import dev.turnout.v1.Candidate;
import dev.turnout.v1.Decision;
import dev.turnout.v1.RouteRequest;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * The last plan of each kind of request, however old: what is left to go by while the sidecar is away. At most so many; the
 * one longest without an answer goes. For one thread at a time.
 */
final class LastPlans {
    private record Last(Decision decision, String task, String tenant) {}

    private final Map<PlanKey, Last> plans = new LinkedHashMap<>();

    int size() {
        return plans.size();
    }

    /** Keeps an answer. The ids of trials are left out: a trial is one caller's, once, and for seconds. */
    void keep(PlanKey key, RouteRequest request, Decision decision) {
        plans.remove(key);
        plans.put(key, new Last(
                withoutProbes(decision), request.getProfile().getTask(), request.getCaller().getTenant()));
        if (plans.size() > PlanCache.MAX_PLAN_COUNT) {
            plans.remove(plans.keySet().iterator().next());
        }
    }

    /** Whether the last answer to such a request was for its asker alone. */
    boolean servedOnce(PlanKey key) {
        Last own = plans.get(key);
        return own != null && !PlanCache.mayServeAgain(own.decision());
    }

    /**
     * The last plan for an equal request, else the newest for the same task and tenant. Another request's plan was not made
     * under this one's limits: what names and regions rule out is left out of it.
     */
    Optional<PlanOrigin> find(PlanKey key, RouteRequest request) {
        Last own = plans.get(key);
        if (own != null) {
            return Optional.of(PlanOrigin.answered(own.decision()));
        }
        List<Last> newestFirst = new ArrayList<>(plans.values());
        Collections.reverse(newestFirst);
        for (Last last : newestFirst) {
            if (last.task().equals(request.getProfile().getTask())
                    && last.tenant().equals(request.getCaller().getTenant())) {
                List<Candidate> allowed = OwnLimits.allowed(last.decision().getCandidatesList(), request.getOptions());
                if (!allowed.isEmpty()) {
                    return Optional.of(PlanOrigin.answered(last.decision()).ordered(allowed));
                }
            }
        }
        return Optional.empty();
    }

    private static Decision withoutProbes(Decision decision) {
        if (decision.getCandidatesList().stream().noneMatch(Candidate::hasProbe)) {
            return decision;
        }
        Decision.Builder copy = decision.toBuilder();
        copy.getCandidatesBuilderList().forEach(Candidate.Builder::clearProbe);
        return copy.build();
    }
}
