package dev.turnout;

import dev.turnout.v1.ChatInput;
import dev.turnout.v1.ExecuteRequest;
import dev.turnout.v1.ExecuteStreamRequest;
import dev.turnout.v1.ExecuteStreamResponse;
import dev.turnout.v1.Outcome;
import dev.turnout.v1.ProviderStatusRequest;
import dev.turnout.v1.ProviderStatusResponse;
import dev.turnout.v1.ReportOutcomeRequest;
import dev.turnout.v1.ReportOutcomeResponse;
import dev.turnout.v1.RouteRequest;
import dev.turnout.v1.RouteResponse;
import dev.turnout.v1.RouterServiceGrpc;
import dev.turnout.v1.WatchProviderStatusRequest;
import io.grpc.ConnectivityState;
import java.nio.file.Path;
import java.time.Duration;
import java.time.InstantSource;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.function.LongSupplier;
import java.util.random.RandomGenerator;

/**
 * A connection to one sidecar. Any thread may use it, and one is enough for a whole process; connecting happens with the
 * first call.
 *
 * <p>Methods that wait have a twin that returns a {@link CompletableFuture}. A waiting thread that is interrupted, and a
 * future that is cancelled, end the call, and the provider's with it. Everything that goes wrong is a
 * {@link dev.turnout.errors.TurnoutException}, a wrong argument an {@link IllegalArgumentException}, and what the caller
 * stopped itself a {@link java.util.concurrent.CancellationException}.
 *
 * <p>Timeouts cover a call with all its tries. Without one: 2 s for a route or plan, 5 s for reports and status, 600 s for
 * an answer, 1,800 s for a stream, none for a watch.
 */
public final class TurnoutClient implements AutoCloseable {
    private static final Duration REPORT_TIME = Duration.ofSeconds(5);
    private static final Duration CLOSE_TIME = Duration.ofSeconds(2);

    private final Connection connection;
    private final ScheduledThreadPoolExecutor timer;
    private final Transport transport;
    private final Caller caller;
    private final Reporter reporter;
    private final ThreadWaits waits;
    private final Planner planner;

    private TurnoutClient(Builder builder) {
        connection = Connection.resolve(
                builder.address, builder.token, builder.tokenFile, builder.tls, builder.environment);
        StaticOrder order = StaticOrder.of(builder.fallback);
        TokenSource token = new TokenSource(connection.token(), connection.tokenFile());
        timer = new ScheduledThreadPoolExecutor(1, work -> daemon(work, "turnout-timer"));
        timer.setRemoveOnCancelPolicy(true);
        transport = opened();
        LongSupplier clock = System::nanoTime;
        RandomGenerator random = new Chance();
        caller = new Caller(transport.channel(), token, timer, clock, random, builder.maxRetryCount);
        reporter = new Reporter(this::send, random);
        waits = new ThreadWaits(timer, work -> daemon(work, "turnout-plan"), caller::checkRunning);
        planner = new Planner(new OfPlanner(), waits, builder.planCache, order, clock, random);
    }

    /**
     * A client as the environment says: TURNOUT_ADDRESS, TURNOUT_TOKEN or TURNOUT_TOKEN_FILE, and for TLS
     * TURNOUT_CA_FILE, TURNOUT_CERT_FILE, TURNOUT_KEY_FILE and TURNOUT_SERVER_NAME.
     *
     * @return the client
     * @throws IllegalArgumentException where that cannot work
     */
    public static TurnoutClient create() {
        return builder().build();
    }

    /**
     * A client at an address, the rest as the environment says.
     *
     * @param address {@code host:port} or {@code unix:/path}
     * @return the client
     * @throws IllegalArgumentException where that cannot work
     */
    public static TurnoutClient create(String address) {
        return builder().address(address).build();
    }

    /**
     * Begins to describe a client.
     *
     * @return the builder
     */
    public static Builder builder() {
        return new Builder();
    }

    /**
     * Where the sidecar is.
     *
     * @return the address in use
     */
    public String address() {
        return connection.address();
    }

    /**
     * The answer to one prompt.
     *
     * @param prompt what the user says
     * @return the answer
     */
    public Answer ask(String prompt) {
        return execute(ExecuteRequest.newBuilder().setInput(prompt(prompt)).build());
    }

    /**
     * Has the sidecar choose, call, retry and fail over.
     *
     * @param request what to answer
     * @return one complete answer
     */
    public Answer execute(ExecuteRequest request) {
        return execute(request, null);
    }

    /**
     * Has the sidecar choose, call, retry and fail over.
     *
     * @param request what to answer
     * @param timeout how long all of it may take, null for the default
     * @return one complete answer
     */
    public Answer execute(ExecuteRequest request, Duration timeout) {
        return Waiting.on(executeAsync(request, timeout));
    }

    /**
     * Does the same as {@link #execute} without waiting.
     *
     * @param request what to answer
     * @param timeout how long all of it may take, null for the default
     * @return one complete answer, later
     */
    public CompletableFuture<Answer> executeAsync(ExecuteRequest request, Duration timeout) {
        return mapped(caller.unary(RouterServiceGrpc.getExecuteMethod(), request, Rpc.EXECUTE, timeout), Answer::new);
    }

    /**
     * The answer to one prompt while it comes.
     *
     * @param prompt what the user says
     * @return the stream, to be closed
     */
    public AnswerStream stream(String prompt) {
        return stream(ExecuteStreamRequest.newBuilder().setInput(prompt(prompt)).build());
    }

    /**
     * Does the same as {@link #execute} and passes the answer on while it comes.
     *
     * @param request what to answer
     * @return the stream, to be closed
     */
    public AnswerStream stream(ExecuteStreamRequest request) {
        return stream(request, null);
    }

    /**
     * Does the same as {@link #execute} and passes the answer on while it comes.
     *
     * @param request what to answer
     * @param timeout how long all of it may take, null for the default
     * @return the stream, to be closed
     */
    public AnswerStream stream(ExecuteStreamRequest request, Duration timeout) {
        return new AnswerStream(sink -> streamed(request, timeout, sink, EventQueue.WINDOW));
    }

    /**
     * Passes an answer on while it comes, without waiting.
     *
     * @param request what to answer
     * @param timeout how long all of it may take, null for the default
     * @param events gets each event in order, one at a time, on a thread of gRPC's: the next one comes when it returns;
     *     what it throws ends the call. A Restart voids the deltas before it
     * @return the complete answer, later; cancelling it ends the call
     */
    public CompletableFuture<Answer> streamAsync(
            ExecuteStreamRequest request, Duration timeout, Consumer<? super ExecuteStreamResponse> events) {
        PushedAnswer sink = new PushedAnswer(events);
        RetriedCall<ExecuteStreamRequest, ExecuteStreamResponse> call = streamed(request, timeout, sink, 1);
        return sink.begin(call);
    }

    /**
     * The decision for a request that the application sends itself; nothing goes to a provider.
     *
     * @param request what is known of the request
     * @return the decision
     */
    public RouteResponse route(RouteRequest request) {
        return route(request, null);
    }

    /**
     * The decision for a request that the application sends itself, whatever is kept of earlier ones.
     *
     * @param request what is known of the request
     * @param timeout how long it may take, null for the default
     * @return the decision
     */
    public RouteResponse route(RouteRequest request, Duration timeout) {
        return Waiting.on(routeAsync(request, timeout));
    }

    /**
     * Does the same as {@link #route} without waiting.
     *
     * @param request what is known of the request
     * @param timeout how long it may take, null for the default
     * @return the decision, later
     */
    public CompletableFuture<RouteResponse> routeAsync(RouteRequest request, Duration timeout) {
        Duration time = Rpc.ROUTE.timeout(timeout);
        return caller.unary(
                RouterServiceGrpc.getRouteMethod(),
                request,
                Rpc.ROUTE,
                time,
                true,
                reporter.tell(time.dividedBy(2)),
                TraceContext.current());
    }

    /**
     * The targets to call for a request, whose outcomes are reported in the background.
     *
     * @param request what is known of the request
     * @return the plan
     */
    public Plan plan(RouteRequest request) {
        return plan(request, null);
    }

    /**
     * The targets to call for a request, whose outcomes are reported in the background. While a plan is valid, and nothing
     * speaks against its targets, equal requests get it again without an RPC; while the sidecar is away they get the last
     * one, or the static order, marked as stale.
     *
     * @param request what is known of the request
     * @param timeout how long to wait for a decision, null for the default; where there is something to fall back on it is
     *     1 s at most
     * @return the plan
     */
    public Plan plan(RouteRequest request, Duration timeout) {
        return Waiting.on(planAsync(request, timeout));
    }

    /**
     * Does the same as {@link #plan} without waiting.
     *
     * @param request what is known of the request
     * @param timeout how long to wait for a decision, null for the default
     * @return the plan, later
     */
    public CompletableFuture<Plan> planAsync(RouteRequest request, Duration timeout) {
        caller.checkOpen();
        return mapped(
                planner.plan(request, timeout),
                origin -> new Plan(
                        origin, request, this::ended, System::nanoTime, InstantSource.system(), TurnoutClient::newId));
    }

    /**
     * Reports outcomes and feedback now; each has its own result in the answer. What plans report goes by itself.
     *
     * @param request the reports
     * @return what became of each
     */
    public ReportOutcomeResponse report(ReportOutcomeRequest request) {
        return report(request, null);
    }

    /**
     * Reports outcomes and feedback now.
     *
     * @param request the reports
     * @param timeout how long it may take, null for the default
     * @return what became of each
     */
    public ReportOutcomeResponse report(ReportOutcomeRequest request, Duration timeout) {
        return Waiting.on(reportAsync(request, timeout));
    }

    /**
     * Does the same as {@link #report} without waiting.
     *
     * @param request the reports
     * @param timeout how long it may take, null for the default
     * @return what became of each, later
     */
    public CompletableFuture<ReportOutcomeResponse> reportAsync(ReportOutcomeRequest request, Duration timeout) {
        request.getOutcomesList().forEach(planner::note);
        CompletableFuture<ReportOutcomeResponse> call =
                caller.unary(RouterServiceGrpc.getReportOutcomeMethod(), request, Rpc.REPORT_OUTCOME, timeout);
        CompletableFuture<ReportOutcomeResponse> result = new CompletableFuture<>();
        result.whenComplete((value, error) -> call.cancel(true));
        call.whenComplete((response, error) -> {
            // Once more, for a plan that was made meanwhile: the sidecar knew nothing of it.
            request.getOutcomesList().forEach(planner::note);
            if (error == null) {
                result.complete(response);
            } else {
                result.completeExceptionally(error);
            }
        });
        return result;
    }

    /**
     * The state of providers, endpoints and targets at this moment.
     *
     * @param request whose, and how far statistics look back
     * @return the state
     */
    public ProviderStatusResponse status(ProviderStatusRequest request) {
        return status(request, null);
    }

    /**
     * The state of providers, endpoints and targets at this moment.
     *
     * @param request whose, and how far statistics look back
     * @param timeout how long it may take, null for the default
     * @return the state
     */
    public ProviderStatusResponse status(ProviderStatusRequest request, Duration timeout) {
        return Waiting.on(statusAsync(request, timeout));
    }

    /**
     * Does the same as {@link #status} without waiting.
     *
     * @param request whose, and how far statistics look back
     * @param timeout how long it may take, null for the default
     * @return the state, later
     */
    public CompletableFuture<ProviderStatusResponse> statusAsync(ProviderStatusRequest request, Duration timeout) {
        return caller.unary(RouterServiceGrpc.getProviderStatusMethod(), request, Rpc.PROVIDER_STATUS, timeout);
    }

    /**
     * The state of providers as it changes.
     *
     * @param request whose, and the last revision that was seen
     * @return the watch, to be closed
     */
    public StatusWatch watchStatus(WatchProviderStatusRequest request) {
        return watchStatus(request, null);
    }

    /**
     * The state of providers as it changes.
     *
     * @param request whose, and the last revision that was seen
     * @param timeout after which the watch ends in an error, null for none
     * @return the watch, to be closed
     */
    public StatusWatch watchStatus(WatchProviderStatusRequest request, Duration timeout) {
        return new StatusWatch(sink -> caller.stream(
                RouterServiceGrpc.getWatchProviderStatusMethod(),
                request,
                Rpc.WATCH,
                timeout,
                new WatchRules(),
                sink,
                EventQueue.WINDOW));
    }

    /**
     * Waits until the outcomes of plans are reported.
     *
     * @param timeout how long to wait at most
     * @return whether that came in time
     * @throws InterruptedException where the thread is interrupted while it waits
     */
    public boolean flush(Duration timeout) throws InterruptedException {
        return reporter.flush(timeout);
    }

    /**
     * How many outcomes of plans wait to be reported, or are on their way.
     *
     * @return the count, at most 1,100
     */
    public long pendingCount() {
        return reporter.pendingCount();
    }

    /**
     * How many outcomes of plans were given up: refused, left at the close, or the oldest of too many.
     *
     * @return the count since the client was made
     */
    public long unreportedCount() {
        return reporter.lostCount();
    }

    /** Reports what is left, within 2 s, ends running calls and closes the connection. Closing twice is harmless. */
    @Override
    public void close() {
        reporter.close(CLOSE_TIME);
        caller.close();
        timer.shutdownNow();
        transport.close();
        waits.close();
    }

    @Override
    public String toString() {
        ConnectivityState state = transport.channel().getState(false);
        return "TurnoutClient[" + connection.address() + ", " + state + "]";
    }

    private Transport opened() {
        try {
            return Transport.open(connection, timer);
        } catch (RuntimeException error) {
            timer.shutdownNow();
            throw error;
        }
    }

    private RetriedCall<ExecuteStreamRequest, ExecuteStreamResponse> streamed(
            ExecuteStreamRequest request, Duration timeout, RetriedCall.Sink<ExecuteStreamResponse> sink, int window) {
        return caller.stream(
                RouterServiceGrpc.getExecuteStreamMethod(),
                request,
                Rpc.EXECUTE_STREAM,
                timeout,
                new StreamRules(),
                sink,
                window);
    }

    /** The end of a plan's attempt. */
    private void ended(Outcome outcome) {
        // First where the next question looks, then what makes it be asked.
        reporter.add(outcome);
        planner.note(outcome);
    }

    private CompletableFuture<ReportOutcomeResponse> send(List<Outcome> batch) {
        ReportOutcomeRequest request =
                ReportOutcomeRequest.newBuilder().addAllOutcomes(batch).build();
        return caller.unary(
                RouterServiceGrpc.getReportOutcomeMethod(),
                request,
                Rpc.REPORT_OUTCOME,
                REPORT_TIME,
                false,
                CompletableFuture.completedFuture(null),
                TraceContext.current());
    }

    private static ChatInput prompt(String prompt) {
        return Chat.of(Chat.user(prompt));
    }

    private static <A, B> CompletableFuture<B> mapped(
            CompletableFuture<A> source, Function<? super A, ? extends B> function) {
        CompletableFuture<B> result = new CompletableFuture<>();
        result.whenComplete((value, error) -> source.cancel(true));
        source.whenComplete((value, error) -> {
            if (error == null) {
                result.complete(function.apply(value));
            } else {
                result.completeExceptionally(error);
            }
        });
        return result;
    }

    private static String newId() {
        return UUID.randomUUID().toString();
    }

    private static Thread daemon(Runnable work, String name) {
        Thread thread = new Thread(work, name);
        thread.setDaemon(true);
        return thread;
    }

    /** What the planner asks of the sidecar. */
    private final class OfPlanner implements Planner.Sidecar {
        @Override
        public CompletableFuture<Boolean> tell(Duration timeout) {
            return reporter.tell(timeout);
        }

        @Override
        public CompletableFuture<RouteResponse> route(
                RouteRequest request,
                Duration timeout,
                boolean retried,
                CompletableFuture<Boolean> told,
                Map<String, String> trace) {
            return caller.unary(RouterServiceGrpc.getRouteMethod(), request, Rpc.ROUTE, timeout, retried, told, trace);
        }
    }

    /** Describes a client; what is not said here is as the environment says. */
    public static final class Builder {
        private static final int MAX_RETRY_COUNT = 3;

        private String address = "";
        private String token = "";
        private Path tokenFile;
        private Tls tls;
        private int maxRetryCount = MAX_RETRY_COUNT;
        private boolean planCache = true;
        private Map<String, List<String>> fallback = Map.of();
        private Map<String, String> environment = System.getenv();

        private Builder() {}

        /**
         * Where the sidecar is.
         *
         * @param where {@code host:port} or {@code unix:/path}; else that of TURNOUT_ADDRESS, else 127.0.0.1:50151
         * @return this builder
         */
        public Builder address(String where) {
            address = where;
            return this;
        }

        /**
         * A bearer token, which goes over TLS or stays on this machine.
         *
         * @param text the token
         * @return this builder
         */
        public Builder token(String text) {
            token = text;
            return this;
        }

        /**
         * A file with a bearer token, read again when the sidecar no longer takes what was in it.
         *
         * @param file the file
         * @return this builder
         */
        public Builder tokenFile(Path file) {
            tokenFile = file;
            return this;
        }

        /**
         * Switches TLS on.
         *
         * @param setting how to trust the sidecar, and how to show who calls
         * @return this builder
         */
        public Builder tls(Tls setting) {
            tls = setting;
            return this;
        }

        /**
         * Bounds how often a call is made again by itself.
         *
         * @param count at least 0 for never; 3 without a word
         * @return this builder
         */
        public Builder maxRetryCount(int count) {
            if (count < 0) {
                throw new IllegalArgumentException("maxRetryCount is " + count + ": give 0 for none, or more");
            }
            maxRetryCount = count;
            return this;
        }

        /**
         * Whether plans are kept: to be used again while they are valid, and while the sidecar is away.
         *
         * @param kept true without a word
         * @return this builder
         */
        public Builder planCache(boolean kept) {
            planCache = kept;
            return this;
        }

        /**
         * What plans are made of while the sidecar is away and there is no earlier plan.
         *
         * @param targets such as {@code openai/gpt-4o}, best first
         * @return this builder
         */
        public Builder fallback(List<String> targets) {
            return fallback(Map.of("", targets));
        }

        /**
         * What plans are made of while the sidecar is away and there is no earlier plan, by task.
         *
         * @param targets by task, with "" for all other tasks; best first
         * @return this builder
         */
        public Builder fallback(Map<String, List<String>> targets) {
            fallback = Map.copyOf(targets);
            return this;
        }

        /** Stands in for the process's environment. */
        Builder environment(Map<String, String> variables) {
            environment = variables;
            return this;
        }

        /**
         * Makes the client; connecting happens with the first call.
         *
         * @return the client
         * @throws IllegalArgumentException for what cannot work: an address that is none, a token in plain text to another
         *     machine, half a key pair, a file that cannot be read
         */
        public TurnoutClient build() {
            return new TurnoutClient(this);
        }
    }
}
