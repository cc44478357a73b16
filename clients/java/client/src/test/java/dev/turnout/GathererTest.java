package dev.turnout;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.turnout.errors.ContractException;
import dev.turnout.v1.AttemptStarted;
import dev.turnout.v1.Completion;
import dev.turnout.v1.Decision;
import dev.turnout.v1.Delta;
import dev.turnout.v1.ExecuteStreamResponse;
import dev.turnout.v1.FinishReason;
import dev.turnout.v1.Part;
import dev.turnout.v1.Reasoning;
import dev.turnout.v1.Restart;
import dev.turnout.v1.ToolCall;
import dev.turnout.v1.ToolCallDelta;
import dev.turnout.v1.Usage;
import java.util.List;
import org.junit.jupiter.api.Test;

class GathererTest {
    private final Gatherer gatherer = new Gatherer();

    private boolean add(ExecuteStreamResponse.Builder event) {
        return gatherer.add(event.build());
    }

    private static ExecuteStreamResponse.Builder attempt(String id, String target, boolean hedge) {
        return ExecuteStreamResponse.newBuilder()
                .setAttempt(AttemptStarted.newBuilder()
                        .setAttemptId(id)
                        .setTarget(Targets.parse(target))
                        .setHedge(hedge));
    }

    private static ExecuteStreamResponse.Builder text(String attempt, int part, String text) {
        return delta(Delta.newBuilder().setAttemptId(attempt).setPartIndex(part).setText(text));
    }

    private static ExecuteStreamResponse.Builder delta(Delta.Builder delta) {
        return ExecuteStreamResponse.newBuilder().setDelta(delta);
    }

    private static ExecuteStreamResponse.Builder restart(String discarded) {
        return ExecuteStreamResponse.newBuilder()
                .setRestart(Restart.newBuilder().setDiscardedAttemptId(discarded));
    }

    private static ExecuteStreamResponse.Builder completion(String target) {
        return ExecuteStreamResponse.newBuilder()
                .setCompletion(Completion.newBuilder()
                        .setTarget(Targets.parse(target))
                        .setFinishReason(FinishReason.FINISH_REASON_STOP)
                        .setUsage(Usage.newBuilder().setOutputTokens(3))
                        .setCostUsd(0.5));
    }

    @Test
    void aWholeStreamIsTheAnswerOfAUnaryCall() {
        add(ExecuteStreamResponse.newBuilder()
                .setDecision(Decision.newBuilder().setDecisionId("d")));
        add(attempt("a", "north/m", false));
        add(text("a", 1, "wor"));
        add(text("a", 1, "ld"));
        add(text("a", 0, "hello "));
        add(completion("north/m"));
        Answer answer = gatherer.answer();

        assertEquals("hello world", answer.text());
        assertEquals("d", answer.decision().getDecisionId());
        assertEquals(3, answer.usage().orElseThrow().getOutputTokens());
        assertEquals(0.5, answer.costUsd().getAsDouble());
        assertFalse(answer.toString().contains("hello"), "an answer may be logged");
    }

    @Test
    void restartVoidsTheDeltasOfTheDiscardedAttempt() {
        add(attempt("a", "north/m", false));
        add(text("a", 0, "old"));
        add(restart("a"));

        assertEquals("", gatherer.text());
        add(attempt("b", "south/m", false));
        assertFalse(add(text("a", 0, "late")), "a late piece is not for the caller");
        assertTrue(add(text("b", 0, "new")));
        add(completion("south/m"));
        assertEquals("new", gatherer.answer().text());
    }

    @Test
    void aStreamWithoutItsCompletionIsNoAnswer() {
        add(attempt("a", "north/m", false));
        add(text("a", 0, "short"));

        assertThrows(ContractException.class, gatherer::answer);
        assertEquals("short", gatherer.text());
    }

    @Test
    void whatTheContractDoesNotAllowIsToldApart() {
        add(attempt("a", "north/m", false));
        add(attempt("b", "south/m", true));
        add(text("a", 0, "one"));

        assertThrows(ContractException.class, () -> add(text("b", 0, "two")));
        assertThrows(
                ContractException.class,
                () -> add(delta(Delta.newBuilder()
                        .setAttemptId("a")
                        .setToolCall(ToolCallDelta.getDefaultInstance()))));
        add(completion("north/m"));
        assertThrows(ContractException.class, () -> add(text("a", 0, "more")));
    }

    @Test
    void theFirstPieceTellsWhichOfAHedgedPairAnswers() {
        add(attempt("a", "north/m", false));
        add(attempt("b", "south/m", true));
        add(delta(Delta.newBuilder().setAttemptId("b").setPartIndex(0).setSignature("state")));

        assertEquals("south", gatherer.parts().get(0).getOriginProvider());
    }

    @Test
    void toolCallsAndThinkingArePutTogether() {
        add(attempt("a", "north/m", false));
        add(delta(Delta.newBuilder().setAttemptId("a").setPartIndex(0).setReasoning(Reasoning.newBuilder().setText("hm"))));
        add(delta(Delta.newBuilder().setAttemptId("a").setPartIndex(0).setSignature("sig")));
        add(delta(Delta.newBuilder()
                .setAttemptId("a")
                .setPartIndex(1)
                .setToolCall(ToolCallDelta.newBuilder().setId("c1").setName("add").setArgumentsFragment("{\"a\":"))));
        add(delta(Delta.newBuilder()
                .setAttemptId("a")
                .setPartIndex(1)
                .setToolCall(ToolCallDelta.newBuilder().setArgumentsFragment("1}"))));
        add(completion("north/m"));
        Answer answer = gatherer.answer();

        assertEquals("hm", answer.reasoning());
        Part thinking = answer.message().getParts(0);
        assertEquals(List.of("sig", "north"), List.of(thinking.getSignature(), thinking.getOriginProvider()));
        assertEquals(
                List.of(ToolCall.newBuilder().setId("c1").setName("add").setArgumentsJson("{\"a\":1}").build()),
                answer.toolCalls());
    }

    @Test
    void valuesOfANewerContractAreKept() {
        assertFalse(add(ExecuteStreamResponse.newBuilder()), "an event of a kind that this version does not know");
        add(attempt("a", "north/m", false));
        add(text("a", 0, "x"));
        add(delta(Delta.newBuilder().setAttemptId("a")));
        add(ExecuteStreamResponse.newBuilder()
                .setCompletion(Completion.newBuilder()
                        .setTarget(Targets.parse("north/m"))
                        .setFinishReasonValue(99)));
        Answer answer = gatherer.answer();

        assertEquals(FinishReason.UNRECOGNIZED, answer.finishReason());
        assertEquals(99, answer.response().getOutput().getFinishReasonValue());
    }
}
