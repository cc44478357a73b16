package dev.turnout;

import dev.turnout.errors.AllAttemptsRefusedException;
import dev.turnout.errors.AllTargetsUnavailableException;
import dev.turnout.errors.AttemptsExhaustedException;
import dev.turnout.errors.BudgetExhaustedException;
import dev.turnout.errors.ConflictException;
import dev.turnout.errors.ContentFilteredException;
import dev.turnout.errors.DeadlineException;
import dev.turnout.errors.DrainingException;
import dev.turnout.errors.ErrorDetails;
import dev.turnout.errors.InvalidRequestException;
import dev.turnout.errors.NoEligibleTargetException;
import dev.turnout.errors.NotFoundException;
import dev.turnout.errors.PermissionDeniedException;
import dev.turnout.errors.ProviderRejectedRequestException;
import dev.turnout.errors.RequestIdReusedException;
import dev.turnout.errors.ResumeTooOldException;
import dev.turnout.errors.SessionLimitException;
import dev.turnout.errors.SidecarFaultException;
import dev.turnout.errors.SidecarOverloadedException;
import dev.turnout.errors.StreamInterruptedException;
import dev.turnout.errors.TurnoutException;
import dev.turnout.errors.UnauthenticatedException;
import dev.turnout.errors.UnreachableException;
import dev.turnout.errors.UnsupportedException;
import io.grpc.Status;
import java.util.Map;
import java.util.function.BiFunction;

/** Which error a reason of the contract becomes, and which a code without one. */
final class ErrorTable {
    /** Makes the error of a kind. */
    interface Kind extends BiFunction<String, ErrorDetails, TurnoutException> {}

    /** One row for each reason of the contract; a test walks the enum. */
    static final Map<String, Kind> BY_REASON = Map.ofEntries(
            row("INVALID_REQUEST", InvalidRequestException::new),
            row("REQUEST_ID_REUSED", RequestIdReusedException::new),
            row("UNKNOWN_POLICY", NotFoundException::new),
            row("UNKNOWN_TARGET", NotFoundException::new),
            row("UNKNOWN_PROVIDER", NotFoundException::new),
            row("UNKNOWN_DECISION", NotFoundException::new),
            row("UNKNOWN_BUDGET", NotFoundException::new),
            row("UNKNOWN_SESSION", NotFoundException::new),
            row("UNAUTHENTICATED", UnauthenticatedException::new),
            row("PERMISSION_DENIED", PermissionDeniedException::new),
            row("REGISTRATION_DISABLED", PermissionDeniedException::new),
            row("NO_ELIGIBLE_TARGET", NoEligibleTargetException::new),
            row("BUDGET_EXHAUSTED", BudgetExhaustedException::new),
            row("SESSION_LIMIT", SessionLimitException::new),
            row("ALL_TARGETS_UNAVAILABLE", AllTargetsUnavailableException::new),
            row("SIDECAR_OVERLOADED", SidecarOverloadedException::new),
            row("DRAINING", DrainingException::new),
            row("CONTENT_FILTERED", ContentFilteredException::new),
            row("PROVIDER_REJECTED_REQUEST", ProviderRejectedRequestException::new),
            row("ALL_ATTEMPTS_REFUSED", AllAttemptsRefusedException::new),
            row("ATTEMPTS_EXHAUSTED", AttemptsExhaustedException::new),
            row("STREAM_INTERRUPTED", StreamInterruptedException::new),
            row("DEADLINE", DeadlineException::new),
            row("SESSION_CLOSED", ConflictException::new),
            row("STALE_CHECKPOINT", ConflictException::new),
            row("STALE_ETAG", ConflictException::new),
            row("ALREADY_EXISTS", ConflictException::new),
            row("RESUME_TOO_OLD", ResumeTooOldException::new),
            row("NOT_IMPLEMENTED", UnsupportedException::new),
            row("BUG", SidecarFaultException::new));

    /** For errors without a reason that this version knows: a transport's, a proxy's, or a newer sidecar's. */
    static final Map<Status.Code, Kind> BY_CODE = Map.of(
            Status.Code.DEADLINE_EXCEEDED, DeadlineException::new,
            Status.Code.INVALID_ARGUMENT, InvalidRequestException::new,
            Status.Code.NOT_FOUND, NotFoundException::new,
            Status.Code.PERMISSION_DENIED, PermissionDeniedException::new,
            Status.Code.UNAUTHENTICATED, UnauthenticatedException::new,
            Status.Code.UNAVAILABLE, UnreachableException::new,
            Status.Code.UNIMPLEMENTED, UnsupportedException::new);

    private ErrorTable() {}

    private static Map.Entry<String, Kind> row(String reason, Kind kind) {
        return Map.entry(reason, kind);
    }
}
