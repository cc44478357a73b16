package dev.turnout;

import dev.turnout.v1.Attempt;
import dev.turnout.v1.Decision;
import dev.turnout.v1.ExecuteResponse;
import dev.turnout.v1.FinishReason;
import dev.turnout.v1.Message;
import dev.turnout.v1.Notices;
import dev.turnout.v1.Part;
import dev.turnout.v1.Role;
import dev.turnout.v1.Target;
import dev.turnout.v1.ToolCall;
import dev.turnout.v1.Usage;
import java.util.List;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.stream.Collectors;

/**
 * A complete answer, the target that gave it, and what it took; the same whether it came at once or as a stream. Its
 * content is left out of {@link #toString}, so that an answer may be logged.
 *
 * @param response the answer as the contract has it; for a stream, put together from its events
 */
public record Answer(ExecuteResponse response) {

    /**
     * All text of the answer, without thinking and tool calls.
     *
     * @return the text
     */
    public String text() {
        return parts().stream().filter(Part::hasText).map(Part::getText).collect(Collectors.joining());
    }

    /**
     * The model's thinking, as far as the provider shows it.
     *
     * @return the text of it
     */
    public String reasoning() {
        return parts().stream()
                .filter(Part::hasReasoning)
                .map(part -> part.getReasoning().getText())
                .collect(Collectors.joining());
    }

    /**
     * The tools that the model wants called, in order.
     *
     * @return the calls
     */
    public List<ToolCall> toolCalls() {
        return parts().stream().filter(Part::hasToolCall).map(Part::getToolCall).toList();
    }

    /**
     * The parts of the answer, in order.
     *
     * @return the parts
     */
    public List<Part> parts() {
        return response.getOutput().getPartsList();
    }

    /**
     * The answer as a turn for the next request, with the opaque state that providers want back unchanged.
     *
     * @return the turn
     */
    public Message message() {
        return Message.newBuilder().setRole(Role.ROLE_ASSISTANT).addAllParts(parts()).build();
    }

    /**
     * Why the answer ended.
     *
     * @return the reason
     */
    public FinishReason finishReason() {
        return response.getOutput().getFinishReason();
    }

    /**
     * Who gave the answer.
     *
     * @return the target
     */
    public Target target() {
        return response.getTarget();
    }

    /**
     * Tokens of the answering attempt.
     *
     * @return the usage, empty where unknown
     */
    public Optional<Usage> usage() {
        return response.hasUsage() ? Optional.of(response.getUsage()) : Optional.empty();
    }

    /**
     * What the answering attempt cost, in USD.
     *
     * @return the cost, empty where unknown
     */
    public OptionalDouble costUsd() {
        return response.hasCostUsd() ? OptionalDouble.of(response.getCostUsd()) : OptionalDouble.empty();
    }

    /**
     * Why this target was chosen.
     *
     * @return the decision
     */
    public Decision decision() {
        return response.getDecision();
    }

    /**
     * Every call to a provider that was made, in order.
     *
     * @return the attempts
     */
    public List<Attempt> attempts() {
        return response.getAttemptsList();
    }

    /**
     * Whether it came from the sidecar's response cache; then nothing was called and nothing is owed.
     *
     * @return whether it did
     */
    public boolean cached() {
        return response.getCached();
    }

    /**
     * Whether it is the answer of an earlier call with the same request id, told and charged there already.
     *
     * @return whether it is
     */
    public boolean joined() {
        return response.getJoined();
    }

    /**
     * What the caller may want to know beside the answer, such as what remains of a budget.
     *
     * @return the notices, empty where there are none
     */
    public Optional<Notices> notices() {
        return response.hasNotices() ? Optional.of(response.getNotices()) : Optional.empty();
    }

    @Override
    public String toString() {
        return "Answer[target=" + Targets.name(target()) + ", finishReason=" + finishReason() + ", decision="
                + decision().getDecisionId() + "]";
    }
}
