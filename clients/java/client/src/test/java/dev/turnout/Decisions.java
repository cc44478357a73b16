package dev.turnout;

import com.google.protobuf.Duration;
import dev.turnout.v1.Candidate;
import dev.turnout.v1.Decision;
import dev.turnout.v1.FailureKind;
import dev.turnout.v1.Outcome;
import dev.turnout.v1.RouteRequest;
import java.util.List;

/** Decisions, requests and outcomes for tests. */
final class Decisions {
    private Decisions() {}

    /** A decision that may be used again for 30 s. */
    static Decision of(String id, Candidate... candidates) {
        return Decision.newBuilder()
                .setDecisionId(id)
                .setReusable(true)
                .setValidFor(Duration.newBuilder().setSeconds(30))
                .addAllCandidates(List.of(candidates))
                .build();
    }

    static Candidate candidate(String target, double share) {
        return Candidate.newBuilder().setTarget(Targets.parse(target)).setShare(share).build();
    }

    static RouteRequest request(String task) {
        RouteRequest.Builder request = RouteRequest.newBuilder();
        request.getProfileBuilder().setTask(task);
        return request.build();
    }

    static RouteRequest request(String task, Long input, Long output) {
        RouteRequest.Builder request = request(task).toBuilder();
        if (input != null) {
            request.getProfileBuilder().setInputTokens(input);
        }
        if (output != null) {
            request.getProfileBuilder().setMaxOutputTokens(output);
        }
        return request.build();
    }

    static Outcome failure(String target, FailureKind kind) {
        return Outcome.newBuilder().setTarget(Targets.parse(target)).setFailure(kind).build();
    }

    static List<String> names(List<Candidate> candidates) {
        return candidates.stream().map(candidate -> Targets.name(candidate.getTarget())).toList();
    }
}
