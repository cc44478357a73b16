package dev.turnout;

import dev.turnout.v1.CallFailure;
import dev.turnout.v1.ExecuteStreamResponse;
import dev.turnout.v1.ExecuteStreamResponse.EventCase;

/** What the events of an answer mean for its tries: once content has come, the stream is never made again. */
final class StreamRules implements RetriedCall.Rules<ExecuteStreamResponse> {
    @Override
    public boolean pins(ExecuteStreamResponse event) {
        return event.getEventCase() == EventCase.DELTA;
    }

    @Override
    public boolean completes(ExecuteStreamResponse event) {
        return event.getEventCase() == EventCase.COMPLETION;
    }

    @Override
    public CallFailure failure(ExecuteStreamResponse event) {
        return event.hasFailure() ? event.getFailure() : null;
    }
}
