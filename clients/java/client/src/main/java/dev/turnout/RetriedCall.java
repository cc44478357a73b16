package dev.turnout;

import com.google.protobuf.MessageLite;
import dev.turnout.errors.ErrorDetails;
import dev.turnout.errors.TransportException;
import dev.turnout.errors.TurnoutException;
import dev.turnout.v1.CallFailure;
import io.grpc.CallOptions;
import io.grpc.ClientCall;
import io.grpc.Context;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import java.time.Duration;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CancellationException;
import java.util.concurrent.Future;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.TimeUnit;

/** One call of a caller, over however many tries it takes; nothing here blocks. */
final class RetriedCall<Q extends MessageLite, S> {
    /** Who gets what comes; called one after the other, and {@code ended} once and last. */
    interface Sink<S> {
        void next(S message);

        /** What came so far is void: the call is made again. */
        default void retried() {}

        /** The end; null where it went well. */
        void ended(RuntimeException error);
    }

    /** What messages mean for the tries. */
    interface Rules<S> {
        /** Whether the call is not made again after this message. */
        default boolean pins(S message) {
            return false;
        }

        /** Whether nothing is missing after this message, however the connection ends. */
        default boolean completes(S message) {
            return false;
        }

        /** What the message says of the failure that the status is about to tell, null for nothing. */
        default CallFailure failure(S message) {
            return null;
        }
    }

    private static final Metadata.Key<String> AUTHORIZATION =
            Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

    private final Caller caller;
    private final MethodDescriptor<Q, S> method;
    private final Q request;
    private final Tries tries;
    private final Rules<S> rules;
    private final Sink<S> sink;
    private final int window;
    private final Map<String, String> trace;
    private final Context context = Context.current();

    private ClientCall<Q, S> running;
    private Future<?> waiting;
    private boolean finished;

    /**
     * {@code window} is how many messages may come before the sink asks for more; {@code trace} is what goes with it of the
     * caller's trace.
     */
    RetriedCall(
            Caller caller,
            MethodDescriptor<Q, S> method,
            Q request,
            Tries tries,
            Rules<S> rules,
            Sink<S> sink,
            int window,
            Map<String, String> trace) {
        this.caller = caller;
        this.method = method;
        this.request = request;
        this.tries = tries;
        this.rules = rules;
        this.sink = sink;
        this.window = window;
        this.trace = trace;
    }

    /** Makes the call. */
    void begin() {
        int bytes = request.getSerializedSize();
        if (bytes > Transport.MESSAGE_BYTES) {
            finish(new TransportException(
                    "the request has " + bytes + " bytes, and the sidecar takes " + Transport.MESSAGE_BYTES + " at most",
                    ErrorDetails.of(Status.Code.RESOURCE_EXHAUSTED)));
            return;
        }
        context.run(this::tryOnce);
    }

    /** Lets {@code count} more messages come. */
    synchronized void request(int count) {
        if (running != null && !finished) {
            running.request(count);
        }
    }

    /** Ends the call, and with it the provider's; the sink hears of a cancellation. Harmless after the end. */
    void cancel(String why) {
        finish(new CancellationException(why));
    }

    /** Ends the call since its client is closed. */
    void closed() {
        finish(new TransportException(
                "the client was closed while the call ran", ErrorDetails.of(Status.Code.CANCELLED)));
    }

    private synchronized void tryOnce() {
        caller.waitsNoLonger(this);
        if (finished) {
            return;
        }
        CallOptions options = CallOptions.DEFAULT;
        if (tries.remainingNanos().isPresent()) {
            options = options.withDeadlineAfter(tries.remainingNanos().getAsLong(), TimeUnit.NANOSECONDS);
        }
        String token = caller.token().text();
        Metadata metadata = new Metadata();
        if (!token.isEmpty()) {
            metadata.put(AUTHORIZATION, "Bearer " + token);
        }
        TraceContext.put(trace, metadata);
        running = caller.channel().newCall(method, options);
        running.start(new Listener(token), metadata);
        running.request(window);
        running.sendMessage(request);
        running.halfClose();
    }

    private void finish(RuntimeException error) {
        ClientCall<Q, S> call;
        synchronized (this) {
            if (finished) {
                return;
            }
            finished = true;
            call = running;
            if (waiting != null) {
                waiting.cancel(false);
            }
        }
        caller.waitsNoLonger(this);
        if (call != null && error != null) {
            call.cancel("the caller has gone", error);
        }
        sink.ended(error);
    }

    private void after(TurnoutException error, boolean pinned, String token) {
        Optional<Duration> wait =
                pinned ? Optional.empty() : tries.waitAfter(error, () -> caller.token().renewed(token));
        if (wait.isEmpty()) {
            finish(error);
            return;
        }
        sink.retried();
        synchronized (this) {
            if (finished) {
                return;
            }
            try {
                // Before the timer has it, and the client is looked at: a timer that is shut down says nothing.
                caller.waits(this);
                waiting = caller.timer()
                        .schedule(context.wrap(this::tryOnce), wait.get().toNanos(), TimeUnit.NANOSECONDS);
                if (!caller.isClosed()) {
                    return;
                }
            } catch (RejectedExecutionException stopped) {
                error.addSuppressed(stopped);
            }
        }
        closed();
    }

    /** What comes of one try. */
    private final class Listener extends ClientCall.Listener<S> {
        private final String token;
        private boolean pinned;
        private boolean complete;
        private CallFailure failure;

        Listener(String token) {
            this.token = token;
        }

        @Override
        public void onMessage(S message) {
            synchronized (RetriedCall.this) {
                if (finished) {
                    return;
                }
            }
            pinned |= rules.pins(message);
            complete |= rules.completes(message);
            failure = rules.failure(message) == null ? failure : rules.failure(message);
            try {
                sink.next(message);
            } catch (RuntimeException error) {
                finish(error);
            }
        }

        @Override
        public void onClose(Status status, Metadata trailers) {
            if (status.isOk() || complete) {
                finish(null);
            } else if (context.isCancelled() && status.getCode() == Status.Code.CANCELLED) {
                finish(new CancellationException("the gRPC context of the caller was cancelled"));
            } else if (caller.isClosed()) {
                finish(new TransportException(
                        "the client was closed while the call ran", ErrorDetails.of(status.getCode())));
            } else {
                after(ErrorReader.read(status, trailers, failure), pinned, token);
            }
        }
    }
}
