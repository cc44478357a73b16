package dev.turnout;

import dev.turnout.v1.Candidate;
import dev.turnout.v1.Decision;
import java.util.List;

/** Where a plan comes from: the decision, the order to follow, and whether the sidecar was asked for it. */
record PlanOrigin(Decision decision, List<Candidate> order, boolean reused, String staleReason) {

    /** A decision as the sidecar answered it. */
    static PlanOrigin answered(Decision decision) {
        return new PlanOrigin(decision, decision.getCandidatesList(), false, "");
    }

    /** A decision that is still valid, with the order drawn for this use. */
    static PlanOrigin reused(Decision decision, List<Candidate> order) {
        return new PlanOrigin(decision, order, true, "");
    }

    /** The same in another order. */
    PlanOrigin ordered(List<Candidate> other) {
        return new PlanOrigin(decision, other, reused, staleReason);
    }

    /** The same as stale: why nobody answered. */
    PlanOrigin staleFor(String reason) {
        return new PlanOrigin(decision, order, reused, reason);
    }

    boolean stale() {
        return !staleReason.isEmpty();
    }
}
