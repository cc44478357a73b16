package dev.turnout;

import dev.turnout.errors.ErrorDetails;
import dev.turnout.errors.RestartedException;
import dev.turnout.v1.Decision;
import dev.turnout.v1.ExecuteStreamRequest;
import dev.turnout.v1.ExecuteStreamResponse;
import dev.turnout.v1.ExecuteStreamResponse.EventCase;
import dev.turnout.v1.Part;
import java.util.Iterator;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.Optional;
import java.util.concurrent.CancellationException;

/**
 * An answer while it comes. Iterate over the events, or over {@link #text()}; {@link #answer()} reads on to the end.
 *
 * <p>It ends with a complete answer or throws: a cut stream never looks like a short answer. Use it in a
 * try-with-resources block, or {@link #close} it, to end the call early: that also ends the provider's. An interrupted
 * reader ends it, too. One thread reads at a time; any thread may close.
 */
public final class AnswerStream implements Iterator<ExecuteStreamResponse>, Iterable<ExecuteStreamResponse>, AutoCloseable {
    private final EventQueue<ExecuteStreamResponse> queue = new EventQueue<>();
    private final RetriedCall<ExecuteStreamRequest, ExecuteStreamResponse> call;
    private volatile Gatherer gatherer = new Gatherer();
    private ExecuteStreamResponse upcoming;
    private boolean ended;
    private RuntimeException error;

    AnswerStream(Opening opening) {
        call = opening.open(queue);
        call.begin();
    }

    /** Makes the call whose events go into the sink. */
    interface Opening {
        RetriedCall<ExecuteStreamRequest, ExecuteStreamResponse> open(RetriedCall.Sink<ExecuteStreamResponse> sink);
    }

    /**
     * Waits for the next event.
     *
     * @return whether there is one; false after the completion
     * @throws dev.turnout.errors.TurnoutException where the call failed
     * @throws CancellationException where the stream was closed or the thread interrupted
     */
    @Override
    public boolean hasNext() {
        while (upcoming == null && !ended) {
            read();
        }
        if (upcoming == null && error != null) {
            throw error;
        }
        return upcoming != null;
    }

    @Override
    public ExecuteStreamResponse next() {
        if (!hasNext()) {
            throw new NoSuchElementException("the answer is complete: no event comes after its completion");
        }
        ExecuteStreamResponse event = upcoming;
        upcoming = null;
        return event;
    }

    /**
     * The events that are left; the same as this stream, so that it can stand in a for loop.
     *
     * @return this stream
     */
    @Override
    public Iterator<ExecuteStreamResponse> iterator() {
        return this;
    }

    /**
     * The text in pieces. Where the answer begins again on another target after text was given (only under
     * MID_STREAM_POLICY_RESTART), it throws {@link RestartedException}.
     *
     * @return the pieces, to be read once
     */
    public Iterable<String> text() {
        return () -> new TextPieces(this, null);
    }

    /**
     * The text in pieces.
     *
     * @param onRestart called where the answer begins again on another target, so that what was shown is taken back
     * @return the pieces, to be read once
     */
    public Iterable<String> text(Runnable onRestart) {
        return () -> new TextPieces(this, onRestart);
    }

    /**
     * Reads what is left and returns the complete answer, the same as {@link TurnoutClient#execute} does.
     *
     * @return the answer
     * @throws dev.turnout.errors.TurnoutException where the call failed
     */
    public Answer answer() {
        while (hasNext()) {
            next();
        }
        return gatherer.answer();
    }

    /**
     * The decision behind the answer.
     *
     * @return the decision, empty before it has come
     */
    public Optional<Decision> decision() {
        return Optional.ofNullable(gatherer.decision());
    }

    /**
     * The text that has come, of the attempt that counts.
     *
     * @return the text
     */
    public String textSoFar() {
        return gatherer.text();
    }

    /**
     * All that has come, of the attempt that counts; after an error, what was delivered of an answer that is not whole.
     *
     * @return the parts
     */
    public List<Part> partsSoFar() {
        return gatherer.parts();
    }

    /** Ends the call, from any thread; harmless after its end. Whoever is reading gets a CancellationException. */
    @Override
    public void close() {
        call.cancel("the stream was closed");
    }

    private void read() {
        EventQueue.Item<ExecuteStreamResponse> item;
        try {
            item = queue.take();
        } catch (CancellationException interrupted) {
            close();
            throw interrupted;
        }
        if (item.isEnd()) {
            end(item.error());
        } else if (item.retried()) {
            gatherer = new Gatherer();
        } else {
            call.request(1);
            take(item.message());
        }
    }

    private void take(ExecuteStreamResponse event) {
        try {
            if (gatherer.add(event)) {
                upcoming = event;
            }
        } catch (RuntimeException contract) {
            close();
            ended = true;
            error = contract;
        }
    }

    private void end(RuntimeException failed) {
        ended = true;
        error = failed;
        if (failed == null) {
            try {
                gatherer.answer();
            } catch (RuntimeException incomplete) {
                error = incomplete;
            }
        } else {
            // It was made where the end came in; the reader wants to know where he read.
            failed.fillInStackTrace();
        }
    }

    /** Picks the text out of events, and sees to it that text of a discarded attempt is not taken for the answer's. */
    private static final class TextPieces implements Iterator<String> {
        private final AnswerStream stream;
        private final Runnable onRestart;
        private String upcoming = "";
        private boolean given;

        TextPieces(AnswerStream stream, Runnable onRestart) {
            this.stream = stream;
            this.onRestart = onRestart;
        }

        @Override
        public boolean hasNext() {
            while (upcoming.isEmpty() && stream.hasNext()) {
                ExecuteStreamResponse event = stream.next();
                if (event.getEventCase() == EventCase.RESTART && given) {
                    restarted();
                }
                upcoming = event.getDelta().getText();
            }
            return !upcoming.isEmpty();
        }

        @Override
        public String next() {
            if (!hasNext()) {
                throw new NoSuchElementException("the answer is complete: no text is left");
            }
            String piece = upcoming;
            upcoming = "";
            given = true;
            return piece;
        }

        private void restarted() {
            if (onRestart == null) {
                throw new RestartedException(
                        "the text so far is void, the answer began again: pass onRestart to begin again too",
                        ErrorDetails.NONE);
            }
            given = false;
            onRestart.run();
        }
    }
}
