package dev.turnout;

import dev.turnout.v1.RequestProfile;
import dev.turnout.v1.RouteRequest;
import java.util.OptionalLong;

/** Input and output tokens as a request states them; empty where it does not. */
record Tokens(OptionalLong input, OptionalLong maxOutput) {
    static Tokens of(RouteRequest request) {
        RequestProfile profile = request.getProfile();
        return new Tokens(
                profile.hasInputTokens() ? OptionalLong.of(profile.getInputTokens()) : OptionalLong.empty(),
                profile.hasMaxOutputTokens() ? OptionalLong.of(profile.getMaxOutputTokens()) : OptionalLong.empty());
    }

    /** Whether these are no more than those of a plan; what is unknown is so only where the plan's was unknown, too. */
    boolean areNoMoreThan(Tokens plan) {
        return isNoMore(input, plan.input) && isNoMore(maxOutput, plan.maxOutput);
    }

    private static boolean isNoMore(OptionalLong mine, OptionalLong plans) {
        if (mine.isEmpty() || plans.isEmpty()) {
            return mine.isEmpty() && plans.isEmpty();
        }
        return mine.getAsLong() <= plans.getAsLong();
    }
}
