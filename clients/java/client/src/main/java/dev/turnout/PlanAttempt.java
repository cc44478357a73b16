package dev.turnout;

import dev.turnout.v1.Candidate;
import dev.turnout.v1.FailureKind;
import dev.turnout.v1.Outcome;
import dev.turnout.v1.Usage;
import dev.turnout.v1.UsageSource;
import java.time.Duration;
import java.time.Instant;
import java.time.InstantSource;
import java.util.Optional;
import java.util.function.LongSupplier;

/** One target of a plan to call: what the call needs, and what it is worth telling of it. Any thread may use it. */
public final class PlanAttempt {
    /** The longest duration that a report may state. */
    private static final Duration LONGEST = Duration.ofDays(1);

    private final Candidate candidate;
    private final Outcome.Builder outcome;
    private final LongSupplier clock;
    private final long startedAt;
    private Failure failure;

    PlanAttempt(Candidate candidate, Outcome about, String attemptId, LongSupplier clock, InstantSource wall) {
        this.candidate = candidate;
        this.clock = clock;
        this.startedAt = clock.getAsLong();
        Instant now = wall.instant();
        this.outcome = about.toBuilder()
                .setAttemptId(attemptId)
                .setTarget(candidate.getTarget())
                .setProbeId(candidate.getProbe().getProbeId());
        outcome.getStartTimeBuilder().setSeconds(now.getEpochSecond()).setNanos(now.getNano());
    }

    /**
     * The target as it is written: {@code provider/model} or {@code provider/model@endpoint}.
     *
     * @return its name
     */
    public String target() {
        return Targets.name(candidate.getTarget());
    }

    /**
     * The provider to call.
     *
     * @return its name
     */
    public String provider() {
        return candidate.getTarget().getProvider();
    }

    /**
     * The model to ask for.
     *
     * @return its name at the provider
     */
    public String model() {
        return candidate.getTarget().getModel();
    }

    /**
     * Where the provider is called.
     *
     * @return the base URL, empty where it is not known, as in a static order
     */
    public String baseUrl() {
        return candidate.getBaseUrl();
    }

    /**
     * The wire format to speak.
     *
     * @return such as {@code openai} or {@code anthropic}; empty where it is not known
     */
    public String wire() {
        return candidate.getWire();
    }

    /**
     * How long to wait for the first content before turning to the next target.
     *
     * @return the time, empty where it is not known
     */
    public Optional<Duration> timeout() {
        return candidate.hasAttemptTimeout()
                ? Optional.of(Duration.ofSeconds(
                        candidate.getAttemptTimeout().getSeconds(), candidate.getAttemptTimeout().getNanos()))
                : Optional.empty();
    }

    /**
     * All that the plan says of the target.
     *
     * @return the candidate
     */
    public Candidate candidate() {
        return candidate;
    }

    /**
     * The id under which the outcome, and feedback later, is reported.
     *
     * @return the id
     */
    public synchronized String attemptId() {
        return outcome.getAttemptId();
    }

    /** Notes that the first token of a stream is there; later calls change nothing. */
    public synchronized void firstToken() {
        if (!outcome.getStreamed()) {
            outcome.setStreamed(true).setTimeToFirstToken(duration(sinceStart()));
        }
    }

    /**
     * Notes the tokens that the provider reported.
     *
     * @param inputTokens all input, with what came from and went into the provider's cache: Anthropic's
     *     {@code input_tokens} leaves both out, add them
     * @param outputTokens all output, with reasoning
     */
    public void usage(long inputTokens, long outputTokens) {
        usage(Usage.newBuilder()
                .setInputTokens(inputTokens)
                .setOutputTokens(outputTokens)
                .setSource(UsageSource.USAGE_SOURCE_REPORTED)
                .build());
    }

    /**
     * Notes the tokens that the provider reported.
     *
     * @param usage the counts; absent ones are unknown
     */
    public synchronized void usage(Usage usage) {
        outcome.setUsage(usage);
    }

    /**
     * Notes what the call cost, where the application knows better than the catalog's prices.
     *
     * @param usd the cost in USD, 0 to 1,000,000
     */
    public synchronized void costUsd(double usd) {
        outcome.setCostUsd(usd);
    }

    /**
     * Notes which of the application's own keys was used.
     *
     * @param label a label of the key, never the key
     */
    public synchronized void credential(String label) {
        outcome.setCredential(label);
    }

    /**
     * Notes a failure that no exception tells of, such as a stream that ended without its end; it goes before one.
     *
     * @param kind how the call failed
     */
    public void failed(FailureKind kind) {
        failed(Failure.of(kind));
    }

    /**
     * Notes a failure that no exception tells of; it goes before one.
     *
     * @param failed how the call failed
     */
    public synchronized void failed(Failure failed) {
        failure = failed;
    }

    /** Ends the attempt, with what it threw or null; returns the failure, null for a success. */
    synchronized Failure end(Throwable error, Instant now) {
        if (failure == null && error != null) {
            failure = FailureClassifier.classify(error, now);
            failure = outcome.getStreamed() ? failure.inMidStream() : failure;
        }
        outcome.setLatency(duration(sinceStart())).setOk(failure == null);
        if (failure != null) {
            outcome.setFailure(failure.kind());
            failure.httpStatus().ifPresent(outcome::setHttpStatus);
            failure.retryAfter().ifPresent(wait -> outcome.setRetryAfter(duration(wait)));
        }
        return failure;
    }

    synchronized boolean isStreamed() {
        return outcome.getStreamed();
    }

    synchronized Outcome outcome() {
        return outcome.build();
    }

    private Duration sinceStart() {
        return Duration.ofNanos(Math.max(0, clock.getAsLong() - startedAt));
    }

    private static com.google.protobuf.Duration duration(Duration value) {
        Duration bounded = value.compareTo(LONGEST) > 0 ? LONGEST : value;
        return com.google.protobuf.Duration.newBuilder()
                .setSeconds(bounded.getSeconds())
                .setNanos(bounded.getNano())
                .build();
    }
}
