package dev.turnout;

import dev.turnout.v1.ExecuteStreamRequest;
import dev.turnout.v1.ExecuteStreamResponse;
import java.util.concurrent.CompletableFuture;
import java.util.function.Consumer;

/** Hands the events of an answer on as they come, and completes with the answer. */
final class PushedAnswer implements RetriedCall.Sink<ExecuteStreamResponse> {
    private final Consumer<? super ExecuteStreamResponse> events;
    private final CompletableFuture<Answer> result = new CompletableFuture<>();
    private RetriedCall<ExecuteStreamRequest, ExecuteStreamResponse> call;
    private Gatherer gatherer = new Gatherer();

    PushedAnswer(Consumer<? super ExecuteStreamResponse> events) {
        this.events = events;
    }

    CompletableFuture<Answer> begin(RetriedCall<ExecuteStreamRequest, ExecuteStreamResponse> running) {
        call = running;
        result.whenComplete((value, error) -> running.cancel("the caller's future was completed"));
        running.begin();
        return result;
    }

    @Override
    public void next(ExecuteStreamResponse event) {
        if (gatherer.add(event)) {
            events.accept(event);
        }
        call.request(1);
    }

    @Override
    public void retried() {
        gatherer = new Gatherer();
    }

    @Override
    public void ended(RuntimeException error) {
        if (error != null) {
            result.completeExceptionally(error);
            return;
        }
        try {
            result.complete(gatherer.answer());
        } catch (RuntimeException incomplete) {
            result.completeExceptionally(incomplete);
        }
    }
}
