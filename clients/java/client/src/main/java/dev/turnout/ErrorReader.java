package dev.turnout;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import dev.turnout.errors.DrainCutException;
import dev.turnout.errors.ErrorDetails;
import dev.turnout.errors.FieldViolation;
import dev.turnout.errors.SidecarFaultException;
import dev.turnout.errors.TransportException;
import dev.turnout.errors.TurnoutException;
import dev.turnout.v1.CallFailure;
import io.grpc.Metadata;
import io.grpc.Status;
import java.io.IOException;
import java.time.Duration;
import java.util.List;
import java.util.Map;

/** Reads a failed gRPC call into the error tree: code, trailing metadata, and the {@code google.rpc} details in it. */
final class ErrorReader {
    static final String DOMAIN = "turnout.dev";
    static final Metadata.Key<byte[]> DETAILS =
            Metadata.Key.of("grpc-status-details-bin", Metadata.BINARY_BYTE_MARSHALLER);
    static final Metadata.Key<String> PUSHBACK =
            Metadata.Key.of("grpc-retry-pushback-ms", Metadata.ASCII_STRING_MARSHALLER);
    static final Metadata.Key<String> DECISION =
            Metadata.Key.of("turnout-decision-id", Metadata.ASCII_STRING_MARSHALLER);

    private static final int MAX_DEPTH = 8;

    private String reason = "";
    private Map<String, String> metadata = Map.of();
    private Duration retryDelay;
    private List<FieldViolation> violations = List.of();
    private CallFailure callFailure;

    private ErrorReader() {}

    /**
     * The typed error of a status. {@code ofStream} is the stream's own last event, which is fuller than the summary in
     * the trailing metadata; null for none. Details that cannot be read are left out.
     */
    static TurnoutException read(Status told, Metadata trailers, CallFailure ofStream) {
        Status status = lostConnection(told);
        ErrorReader details = new ErrorReader();
        details.read(trailers.get(DETAILS));
        String pushback = trailers.get(PUSHBACK);
        Duration pushbackWait = pushback == null ? null : pushbackWait(pushback);
        boolean forbidden = pushback != null && pushbackWait == null;
        String decisionId = trailers.get(DECISION);
        TurnoutException error = kind(details.reason, status.getCode(), forbidden)
                .apply(message(status), new ErrorDetails(
                        status.getCode(),
                        details.reason,
                        decisionId == null ? "" : decisionId,
                        details.metadata,
                        longer(pushbackWait, details.retryDelay),
                        forbidden,
                        details.violations,
                        ofStream != null ? ofStream : details.callFailure));
        if (status.getCause() != null) {
            error.initCause(status.getCause());
        }
        return error;
    }

    /** A connection that breaks while a call is being written is UNKNOWN to grpc-java, and UNAVAILABLE to gRPC. */
    private static Status lostConnection(Status status) {
        return status.getCode() == Status.Code.UNKNOWN && root(status.getCause()) instanceof IOException
                ? Status.UNAVAILABLE.withDescription(status.getDescription()).withCause(status.getCause())
                : status;
    }

    /**
     * What was said; of an error of the connection also why, to the bottom of it: "io exception" alone helps nobody, nor
     * does the handshake's word without the certificate's. The lines that the transport writes below are its own parts.
     */
    private static String message(Status status) {
        String message = status.getDescription() == null ? status.getCode().name() : status.getDescription();
        if (status.getCause() == null) {
            return message;
        }
        String told = message.lines().findFirst().orElse(message);
        for (Throwable cause : List.of(status.getCause(), root(status.getCause()))) {
            String why = cause.getMessage();
            told = why == null || told.contains(why) ? told : told + ": " + why;
        }
        return told;
    }

    private static Throwable root(Throwable cause) {
        Throwable root = cause;
        for (int depth = 0; depth < MAX_DEPTH && root != null && root.getCause() != null; depth++) {
            root = root.getCause();
        }
        return root;
    }

    private static ErrorTable.Kind kind(String reason, Status.Code code, boolean forbidden) {
        if (reason.equals("DRAINING") && forbidden) {
            // The one reason with two ends: refused at the door, or cut off inside.
            return DrainCutException::new;
        }
        ErrorTable.Kind byReason = ErrorTable.BY_REASON.get(reason);
        if (byReason != null) {
            return byReason;
        }
        if (!reason.isEmpty() && code == Status.Code.INTERNAL) {
            return SidecarFaultException::new;
        }
        return ErrorTable.BY_CODE.getOrDefault(code, TransportException::new);
    }

    private void read(byte[] raw) {
        if (raw == null) {
            return;
        }
        try {
            for (Any detail : com.google.rpc.Status.parseFrom(raw).getDetailsList()) {
                read(detail);
            }
        } catch (InvalidProtocolBufferException error) {
            // What could be read so far is kept: the code and the message still tell the essential.
            return;
        }
    }

    private void read(Any detail) throws InvalidProtocolBufferException {
        if (detail.is(ErrorInfo.class)) {
            ErrorInfo info = detail.unpack(ErrorInfo.class);
            // A reason counts only when it is of our own domain.
            if (info.getDomain().equals(DOMAIN)) {
                reason = info.getReason();
                metadata = info.getMetadataMap();
            }
        } else if (detail.is(RetryInfo.class)) {
            com.google.protobuf.Duration delay = detail.unpack(RetryInfo.class).getRetryDelay();
            Duration wait = Duration.ofSeconds(delay.getSeconds(), delay.getNanos());
            retryDelay = wait.isNegative() ? Duration.ZERO : wait;
        } else if (detail.is(BadRequest.class)) {
            violations = detail.unpack(BadRequest.class).getFieldViolationsList().stream()
                    .map(violation -> new FieldViolation(violation.getField(), violation.getDescription()))
                    .toList();
        } else if (detail.is(CallFailure.class)) {
            callFailure = detail.unpack(CallFailure.class);
        }
    }

    /** The wait; null forbids a retry: gRPC's rule for negative or unreadable values. */
    private static Duration pushbackWait(String value) {
        return value.matches("[0-9]{1,12}") ? Duration.ofMillis(Long.parseLong(value)) : null;
    }

    private static Duration longer(Duration one, Duration other) {
        if (one == null || other == null) {
            return one == null ? other : one;
        }
        return one.compareTo(other) >= 0 ? one : other;
    }
}
