package dev.turnout;

import dev.turnout.v1.Candidate;
import dev.turnout.v1.Decision;
import dev.turnout.v1.RouteRequest;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/** The application's own order of targets for when the sidecar is away and no plan was ever made; by task, "" for others. */
record StaticOrder(Map<String, Decision> byTask) {
    /** In one list; a request's include may name as many. */
    static final int MAX_TARGET_COUNT = 256;

    /** Throws IllegalArgumentException for a name that is no target, and for too many, naming the task. */
    static StaticOrder of(Map<String, List<String>> targets) {
        Map<String, Decision> byTask = new HashMap<>();
        targets.forEach((task, names) -> byTask.put(task, decision(task, names)));
        return new StaticOrder(Map.copyOf(byTask));
    }

    /** The order for a request, without what its own options rule out. */
    Optional<PlanOrigin> of(RouteRequest request) {
        Decision decision = byTask.get(request.getProfile().getTask());
        return Optional.ofNullable(decision == null ? byTask.get("") : decision)
                .map(found -> PlanOrigin.answered(found)
                        .ordered(OwnLimits.allowed(found.getCandidatesList(), request.getOptions())))
                .filter(found -> !found.order().isEmpty());
    }

    private static Decision decision(String task, List<String> names) {
        String where = task.isEmpty() ? "fallback" : "fallback for task " + task;
        if (names.size() > MAX_TARGET_COUNT) {
            throw new IllegalArgumentException(
                    where + " has " + names.size() + " targets: give at most " + MAX_TARGET_COUNT);
        }
        Decision.Builder decision = Decision.newBuilder().setTask(task).setReason("the client's own order of targets");
        for (String name : names) {
            try {
                decision.addCandidates(Candidate.newBuilder().setTarget(Targets.parse(name)));
            } catch (IllegalArgumentException error) {
                throw new IllegalArgumentException(where + ": " + error.getMessage(), error);
            }
        }
        return decision.build();
    }
}
