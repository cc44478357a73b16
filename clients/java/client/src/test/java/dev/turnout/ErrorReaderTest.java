package dev.turnout;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.Any;
import com.google.protobuf.Message;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import dev.turnout.errors.CallException;
import dev.turnout.errors.DrainCutException;
import dev.turnout.errors.DrainingException;
import dev.turnout.errors.FieldViolation;
import dev.turnout.errors.InvalidRequestException;
import dev.turnout.errors.SidecarFaultException;
import dev.turnout.errors.TransportException;
import dev.turnout.errors.TurnoutException;
import dev.turnout.errors.UnreachableException;
import dev.turnout.v1.Attempt;
import dev.turnout.v1.CallFailure;
import dev.turnout.v1.ErrorReason;
import io.grpc.Metadata;
import io.grpc.Status;
import java.net.ConnectException;
import java.nio.channels.ClosedChannelException;
import java.security.cert.CertPathBuilderException;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;
import java.util.TreeSet;
import javax.net.ssl.SSLHandshakeException;
import org.junit.jupiter.api.Test;

class ErrorReaderTest {
    private static ErrorInfo reason(String reason) {
        return ErrorInfo.newBuilder().setDomain("turnout.dev").setReason(reason).putMetadata("policy", "nightly").build();
    }

    private static Metadata trailers(Message... details) {
        com.google.rpc.Status.Builder status = com.google.rpc.Status.newBuilder();
        for (Message detail : details) {
            status.addDetails(Any.pack(detail));
        }
        Metadata trailers = new Metadata();
        trailers.put(ErrorReader.DETAILS, status.build().toByteArray());
        return trailers;
    }

    private static TurnoutException read(Status status, Metadata trailers) {
        return ErrorReader.read(status.withDescription("what happened"), trailers, null);
    }

    @Test
    void everyReasonOfTheContractHasItsError() {
        Set<String> contract = new TreeSet<>();
        for (ErrorReason reason : ErrorReason.values()) {
            if (reason != ErrorReason.UNRECOGNIZED && reason != ErrorReason.ERROR_REASON_UNSPECIFIED) {
                contract.add(reason.name().substring("ERROR_REASON_".length()));
            }
        }

        assertEquals(contract, new TreeSet<>(ErrorTable.BY_REASON.keySet()));
    }

    @Test
    void allDetailsAreRead() {
        Metadata trailers = trailers(
                reason("INVALID_REQUEST"),
                BadRequest.newBuilder()
                        .addFieldViolations(BadRequest.FieldViolation.newBuilder()
                                .setField("options.min_quality")
                                .setDescription("is 120: give 0 to 100"))
                        .build(),
                RetryInfo.newBuilder()
                        .setRetryDelay(com.google.protobuf.Duration.newBuilder().setSeconds(1).setNanos(500_000_000))
                        .build());
        trailers.put(ErrorReader.DECISION, "d-7");
        TurnoutException error = read(Status.INVALID_ARGUMENT, trailers);

        assertInstanceOf(InvalidRequestException.class, error);
        assertEquals("INVALID_REQUEST", error.reason());
        assertEquals(Optional.of(Status.Code.INVALID_ARGUMENT), error.code());
        assertEquals("INVALID_REQUEST: what happened", error.getMessage());
        assertEquals(List.of(new FieldViolation("options.min_quality", "is 120: give 0 to 100")), error.fieldViolations());
        assertEquals(Optional.of(Duration.ofMillis(1500)), error.retryAfter());
        assertEquals("d-7", error.decisionId());
        assertEquals("nightly", error.details().metadata().get("policy"));
    }

    @Test
    void theLongerOfPushbackAndRetryDelayCounts() {
        Metadata trailers = trailers(
                reason("SIDECAR_OVERLOADED"),
                RetryInfo.newBuilder()
                        .setRetryDelay(com.google.protobuf.Duration.newBuilder().setSeconds(1))
                        .build());
        trailers.put(ErrorReader.PUSHBACK, "2500");

        assertEquals(
                Optional.of(Duration.ofMillis(2500)), read(Status.RESOURCE_EXHAUSTED, trailers).retryAfter());
    }

    @Test
    void drainingHasTwoEnds() {
        Metadata cut = trailers(reason("DRAINING"));
        cut.put(ErrorReader.PUSHBACK, "-1");

        assertInstanceOf(DrainingException.class, read(Status.UNAVAILABLE, trailers(reason("DRAINING"))));
        assertInstanceOf(DrainCutException.class, read(Status.UNAVAILABLE, cut));
        assertTrue(read(Status.UNAVAILABLE, cut).retryForbidden());
    }

    @Test
    void anUnreadablePushbackForbidsARetry() {
        Metadata trailers = trailers(reason("SIDECAR_OVERLOADED"));
        trailers.put(ErrorReader.PUSHBACK, "soon");

        assertTrue(read(Status.RESOURCE_EXHAUSTED, trailers).retryForbidden());
    }

    @Test
    void anotherDomainsReasonIsNotTheSidecars() {
        ErrorInfo foreign =
                ErrorInfo.newBuilder().setDomain("example.com").setReason("ALL_TARGETS_UNAVAILABLE").build();
        TurnoutException error = read(Status.UNAVAILABLE, trailers(foreign));

        assertInstanceOf(UnreachableException.class, error);
        assertEquals("", error.reason());
        assertInstanceOf(TransportException.class, read(Status.RESOURCE_EXHAUSTED, new Metadata()));
    }

    @Test
    void aConnectionThatBreaksInMidCallIsUnreachableHoweverGrpcCallsIt() {
        Status closed = Status.UNKNOWN
                .withDescription("channel closed")
                .withCause(new RuntimeException(new ClosedChannelException()));
        TurnoutException error = ErrorReader.read(closed, new Metadata(), null);

        assertInstanceOf(UnreachableException.class, error);
        assertEquals(Optional.of(Status.Code.UNAVAILABLE), error.code());
        assertInstanceOf(TransportException.class, read(Status.UNKNOWN, new Metadata()));
        assertFalse(read(Status.UNKNOWN, new Metadata()) instanceof UnreachableException);
        Status refused = Status.UNAVAILABLE.withDescription("io exception").withCause(new ConnectException("refused by x"));
        assertTrue(ErrorReader.read(refused, new Metadata(), null).getMessage().contains("io exception: refused by x"));
    }

    @Test
    void aCertificateThatIsNotTrustedIsNamedAndNoPipelineOfTheTransport() {
        SSLHandshakeException handshake = new SSLHandshakeException("General engine problem");
        handshake.initCause(new CertPathBuilderException("unable to find valid certification path"));
        Status refused = Status.UNAVAILABLE
                .withDescription("io exception\nChannel Pipeline: [SslHandler#0, DefaultChannelPipeline$TailContext#0]")
                .withCause(handshake);

        assertEquals(
                "the sidecar cannot be reached: io exception: General engine problem: "
                        + "unable to find valid certification path; is it running there?",
                ErrorReader.read(refused, new Metadata(), null).getMessage());
    }

    @Test
    void aReasonOfANewerSidecarKeepsItsCode() {
        assertInstanceOf(SidecarFaultException.class, read(Status.INTERNAL, trailers(reason("NEWS"))));
        assertInstanceOf(InvalidRequestException.class, read(Status.INVALID_ARGUMENT, trailers(reason("NEWS"))));
    }

    @Test
    void theStreamsOwnFailureIsFullerThanTheSummary() {
        CallFailure summary = CallFailure.newBuilder().setTruncated(true).build();
        CallFailure whole =
                CallFailure.newBuilder().addAttempts(Attempt.getDefaultInstance()).setDeliveredBytes(12).build();
        TurnoutException error =
                ErrorReader.read(Status.DATA_LOSS, trailers(reason("STREAM_INTERRUPTED"), summary), whole);

        assertEquals(1, error.attempts().size());
        assertEquals(OptionalLong.of(12), ((CallException) error).deliveredBytes());
    }

    @Test
    void detailsThatCannotBeReadLeaveCodeAndMessage() {
        Metadata trailers = new Metadata();
        trailers.put(ErrorReader.DETAILS, new byte[] {(byte) 0xff, 0x01, 0x02});

        assertEquals("what happened", read(Status.INTERNAL, trailers).getMessage());
    }
}
