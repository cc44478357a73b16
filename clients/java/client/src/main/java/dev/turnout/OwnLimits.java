package dev.turnout;

import dev.turnout.v1.Candidate;
import dev.turnout.v1.RoutingOptions;
import dev.turnout.v1.Target;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/**
 * What a client can hold a request to by itself, in the plans that it goes by while the sidecar is away: the limits that
 * names and regions tell.
 */
final class OwnLimits {
    private OwnLimits() {}

    /** The candidates that keep to the limits, in their order; one of unknown region is in none, as the sidecar has it. */
    static List<Candidate> allowed(List<Candidate> candidates, RoutingOptions options) {
        return candidates.stream().filter(candidate -> isAllowed(candidate, options)).toList();
    }

    private static boolean isAllowed(Candidate candidate, RoutingOptions options) {
        Target target = candidate.getTarget();
        // Every name that means the target: its provider's, its model's at any endpoint, its own.
        Set<String> names = new HashSet<>(List.of(
                target.getProvider(), target.getProvider() + "/" + target.getModel(), Targets.name(target)));
        return (options.getForceTarget().isEmpty() || names.contains(options.getForceTarget()))
                && (options.getIncludeCount() == 0 || !Collections.disjoint(names, options.getIncludeList()))
                && Collections.disjoint(names, options.getExcludeList())
                && (options.getRegionsCount() == 0 || options.getRegionsList().contains(candidate.getRegion()));
    }
}
