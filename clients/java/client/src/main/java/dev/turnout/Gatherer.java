package dev.turnout;

import dev.turnout.errors.ContractException;
import dev.turnout.errors.ErrorDetails;
import dev.turnout.v1.AttemptStarted;
import dev.turnout.v1.ChatOutput;
import dev.turnout.v1.Completion;
import dev.turnout.v1.Decision;
import dev.turnout.v1.Delta;
import dev.turnout.v1.ExecuteResponse;
import dev.turnout.v1.ExecuteStreamResponse;
import dev.turnout.v1.Part;
import dev.turnout.v1.Target;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * Gathers the events of a stream into one answer: pure, and the only place that knows what a Restart undoes. Feed it every
 * event in order; ask for the answer when the stream has ended well.
 */
final class Gatherer {
    private static final String NOT_WHOLE = "the stream ended without its completion: what came is not a whole answer";

    private final Map<String, Target> targets = new HashMap<>();
    private final Set<String> discarded = new HashSet<>();
    private final SortedMap<Integer, PartGatherer> parts = new TreeMap<>();
    private Decision decision;
    private Target target = Target.getDefaultInstance();
    private String attemptId = "";
    private Completion completion;

    /** Takes one event; false for one that the caller should not see, such as a late piece of a discarded attempt. */
    boolean add(ExecuteStreamResponse event) {
        if (completion != null) {
            throw new ContractException("the stream went on after its completion", ErrorDetails.NONE);
        }
        switch (event.getEventCase()) {
            case DECISION -> decision = event.getDecision();
            case ATTEMPT -> begin(event.getAttempt());
            case DELTA -> {
                return add(event.getDelta());
            }
            case RESTART -> restart(event.getRestart().getDiscardedAttemptId());
            case COMPLETION -> completion = event.getCompletion();
            case FAILURE, EVENT_NOT_SET -> {
                // The error that follows tells the failure; other kinds are of a newer contract.
                return false;
            }
        }
        return true;
    }

    /** The decision, null before it has come. */
    Decision decision() {
        return decision;
    }

    /** The text so far of the attempt that counts. */
    String text() {
        StringBuilder text = new StringBuilder();
        parts.values().forEach(part -> text.append(part.text()));
        return text.toString();
    }

    /** The parts so far of the attempt that counts. */
    List<Part> parts() {
        return parts.values().stream().map(part -> part.part(target.getProvider())).toList();
    }

    /** The answer. Throws ContractException where the stream ended without its completion: it is not whole. */
    Answer answer() {
        if (completion == null) {
            throw new ContractException(NOT_WHOLE, ErrorDetails.NONE);
        }
        String provider = completion.getTarget().getProvider();
        ExecuteResponse.Builder response = ExecuteResponse.newBuilder()
                .setOutput(ChatOutput.newBuilder()
                        .addAllParts(parts.values().stream().map(part -> part.part(provider)).toList())
                        .setFinishReasonValue(completion.getFinishReasonValue())
                        .setModel(completion.getModel())
                        .setResponseId(completion.getResponseId()))
                .setTarget(completion.getTarget())
                .setDecision(decision == null ? Decision.getDefaultInstance() : decision)
                .addAllAttempts(completion.getAttemptsList())
                .setCached(completion.getCached())
                .setJoined(completion.getJoined());
        if (completion.hasUsage()) {
            response.setUsage(completion.getUsage());
        }
        if (completion.hasCostUsd()) {
            response.setCostUsd(completion.getCostUsd());
        }
        if (completion.hasNotices()) {
            response.setNotices(completion.getNotices());
        }
        return new Answer(response.build());
    }

    private void begin(AttemptStarted attempt) {
        targets.put(attempt.getAttemptId(), attempt.getTarget());
        // Beside another one: which of the two answers is told by the first piece.
        if (!attempt.getHedge()) {
            target = attempt.getTarget();
        }
    }

    private boolean add(Delta delta) {
        if (discarded.contains(delta.getAttemptId())) {
            return false;
        }
        if (!delta.getAttemptId().equals(attemptId)) {
            if (!parts.isEmpty()) {
                throw new ContractException(
                        "pieces of two attempts came without a restart between them", ErrorDetails.NONE);
            }
            attemptId = delta.getAttemptId();
            target = targets.getOrDefault(attemptId, target);
        }
        parts.computeIfAbsent(delta.getPartIndex(), index -> new PartGatherer()).add(delta);
        return true;
    }

    private void restart(String discardedAttemptId) {
        discarded.add(discardedAttemptId);
        if (discardedAttemptId.equals(attemptId)) {
            parts.clear();
            attemptId = "";
        }
    }
}
