package dev.turnout;

import com.google.protobuf.MessageLite;
import dev.turnout.errors.ContractException;
import dev.turnout.errors.ErrorDetails;
import dev.turnout.errors.TransportException;
import io.grpc.Channel;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import java.time.Duration;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ScheduledExecutorService;
import java.util.function.LongSupplier;
import java.util.random.RandomGenerator;

/** Makes calls on one channel: what all of them share. */
final class Caller {
    private static final CompletableFuture<?> NOW = CompletableFuture.completedFuture(null);

    private final Channel channel;
    private final TokenSource token;
    private final ScheduledExecutorService timer;
    private final LongSupplier clock;
    private final RandomGenerator random;
    private final int maxRetryCount;
    private final Set<RetriedCall<?, ?>> waiting = ConcurrentHashMap.newKeySet();
    private volatile boolean closed;

    Caller(
            Channel channel,
            TokenSource token,
            ScheduledExecutorService timer,
            LongSupplier clock,
            RandomGenerator random,
            int maxRetryCount) {
        this.channel = channel;
        this.token = token;
        this.timer = timer;
        this.clock = clock;
        this.random = random;
        this.maxRetryCount = maxRetryCount;
    }

    Channel channel() {
        return channel;
    }

    TokenSource token() {
        return token;
    }

    ScheduledExecutorService timer() {
        return timer;
    }

    boolean isClosed() {
        return closed;
    }

    /** From now on no call begins; those that wait for their next try end here, those that run with the channel. */
    void close() {
        closed = true;
        waiting.forEach(RetriedCall::closed);
    }

    /** Takes a call that waits for its next try. */
    void waits(RetriedCall<?, ?> call) {
        waiting.add(call);
    }

    /** A call goes on, or has ended. */
    void waitsNoLonger(RetriedCall<?, ?> call) {
        waiting.remove(call);
    }

    void checkOpen() {
        if (closed) {
            throw new IllegalStateException("the client is closed: make a new one");
        }
    }

    /** Throws what ends a call in whose middle the client was closed. */
    void checkRunning() {
        if (closed) {
            throw new TransportException(
                    "the client was closed while the call ran", ErrorDetails.of(Status.Code.CANCELLED));
        }
    }

    /** A unary call; the future ends it when it is cancelled, or completed by anybody else. */
    <Q extends MessageLite, S> CompletableFuture<S> unary(
            MethodDescriptor<Q, S> method, Q request, Rpc rpc, Duration timeout) {
        return unary(method, request, rpc, timeout, true, NOW, TraceContext.current());
    }

    /**
     * The same, begun once {@code first} has ended, and retried only if told so; the time of {@code first} counts. The
     * trace is that of whoever wants the answer.
     */
    <Q extends MessageLite, S> CompletableFuture<S> unary(
            MethodDescriptor<Q, S> method,
            Q request,
            Rpc rpc,
            Duration timeout,
            boolean retried,
            CompletableFuture<?> first,
            Map<String, String> trace) {
        checkOpen();
        Tries tries = new Tries(rpc.retries(), rpc.timeout(timeout), retried ? maxRetryCount : 0, clock, random);
        CompletableFuture<S> result = new CompletableFuture<>();
        RetriedCall<Q, S> call = new RetriedCall<>(
                this, method, request, tries, new RetriedCall.Rules<S>() {}, new One<>(result), 2, trace);
        result.whenComplete((value, error) -> call.cancel("the caller's future was completed"));
        first.whenComplete((value, error) -> call.begin());
        return result;
    }

    /** A streaming call that has not begun. */
    <Q extends MessageLite, S> RetriedCall<Q, S> stream(
            MethodDescriptor<Q, S> method,
            Q request,
            Rpc rpc,
            Duration timeout,
            RetriedCall.Rules<S> rules,
            RetriedCall.Sink<S> sink,
            int window) {
        checkOpen();
        Tries tries = new Tries(rpc.retries(), rpc.timeout(timeout), maxRetryCount, clock, random);
        return new RetriedCall<>(
                this, method, request, tries, rules, sink, window, TraceContext.current());
    }

    /** Takes the one message of a unary call. */
    private static final class One<S> implements RetriedCall.Sink<S> {
        private final CompletableFuture<S> result;
        private S message;

        One(CompletableFuture<S> result) {
            this.result = result;
        }

        @Override
        public void next(S one) {
            message = one;
        }

        @Override
        public void retried() {
            message = null;
        }

        @Override
        public void ended(RuntimeException error) {
            if (error != null) {
                result.completeExceptionally(error);
            } else if (message == null) {
                result.completeExceptionally(
                        new ContractException("the sidecar ended the call without an answer", ErrorDetails.NONE));
            } else {
                result.complete(message);
            }
        }
    }
}
