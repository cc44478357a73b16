package dev.turnout;

import java.util.HashMap;
import java.util.Map;

/**
 * Questions to the sidecar that are under way, by key: of equal ones at one time one caller asks, and the others wait for
 * it. At most as many as there are callers who ask. Why the rules are these is decision 58, "Joined questions". Pure: the
 * clock's value (monotonic nanoseconds) is an argument. For one thread at a time.
 */
final class Questions {
    /** For how many questions of others a caller waits: after that he asks, whoever else does. */
    static final int MAX_WAIT_COUNT = 2;

    private final Map<PlanKey, Question> asked = new HashMap<>();

    int size() {
        return asked.size();
    }

    /**
     * Finds a question to wait for; where there is none, this one is what later callers wait for. A caller waits for half
     * of the time that he has left, and for no question that may end before that: neither the silence nor the deadline of
     * another takes his own chance from him.
     */
    void join(Question question, long now) {
        Question other = asked.get(question.key);
        if (question.waitsFor != null && question.waitsFor.refused) {
            question.waitedCount = MAX_WAIT_COUNT;
        }
        long until = now + (question.endsAt - now) / 2;
        if (other == null
                || other == question.waitsFor
                || other.endsAt - until < 0
                || question.waitedCount == MAX_WAIT_COUNT
                || !question.tokens.areNoMoreThan(other.tokens)) {
            ask(question);
            return;
        }
        question.waitsFor = other;
        question.waitUntil = until;
        question.waitedCount++;
    }

    /** Takes a question that waits for no other; it is the one that later callers wait for. */
    void ask(Question question) {
        question.waitsFor = null;
        asked.put(question.key, question);
    }

    /** Forgets a question. */
    void end(Question question) {
        asked.remove(question.key, question);
        question.ended = true;
    }
}
