package dev.turnout;

import dev.turnout.v1.WatchProviderStatusResponse;

/** What messages of a watch mean for its tries: once one has come, the caller decides where to resume. */
final class WatchRules implements RetriedCall.Rules<WatchProviderStatusResponse> {
    @Override
    public boolean pins(WatchProviderStatusResponse message) {
        return true;
    }
}
