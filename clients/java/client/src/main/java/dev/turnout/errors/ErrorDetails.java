package dev.turnout.errors;

import dev.turnout.v1.CallFailure;
import io.grpc.Status;
import java.io.Serializable;
import java.time.Duration;
import java.util.List;
import java.util.Map;

/**
 * What an error answer said beside its message; nothing here holds a prompt, a completion or a credential.
 *
 * @param code the gRPC status code, null where no call was made
 * @param reason the sidecar's reason as the contract lists it, without prefix; empty where the sidecar did not speak
 * @param decisionId the decision it belongs to; empty for none
 * @param metadata the dynamic values of the reason
 * @param retryAfter how long to wait before the same call may work, null where nothing was said
 * @param retryForbidden whether a retry must not happen by itself
 * @param fieldViolations what is wrong with which field of the request
 * @param callFailure what was tried, delivered and spent; null where nothing was told
 */
public record ErrorDetails(
        Status.Code code,
        String reason,
        String decisionId,
        Map<String, String> metadata,
        Duration retryAfter,
        boolean retryForbidden,
        List<FieldViolation> fieldViolations,
        CallFailure callFailure)
        implements Serializable {

    /** Nothing beside the message. */
    public static final ErrorDetails NONE = new ErrorDetails(null, "", "", Map.of(), null, false, List.of(), null);

    /**
     * Makes one; maps and lists are copied.
     *
     * @param code the gRPC status code, null where no call was made
     * @param reason the sidecar's reason as the contract lists it, without prefix; empty where the sidecar did
     *     not speak
     * @param decisionId the decision it belongs to; empty for none
     * @param metadata the dynamic values of the reason
     * @param retryAfter how long to wait before the same call may work, null where nothing was said
     * @param retryForbidden whether a retry must not happen by itself
     * @param fieldViolations what is wrong with which field of the request
     * @param callFailure what was tried, delivered and spent; null where nothing was told
     * @throws NullPointerException for a null that is not documented
     */
    public ErrorDetails {
        metadata = Map.copyOf(metadata);
        fieldViolations = List.copyOf(fieldViolations);
    }

    /**
     * Details that are a code alone: the sidecar did not speak.
     *
     * @param code the gRPC status code
     * @return the details
     */
    public static ErrorDetails of(Status.Code code) {
        return new ErrorDetails(code, "", "", Map.of(), null, false, List.of(), null);
    }

    /**
     * Details that are a decision's id alone: no call failed.
     *
     * @param decisionId the decision's id, empty for none
     * @return the details
     */
    public static ErrorDetails ofDecision(String decisionId) {
        return new ErrorDetails(null, "", decisionId, Map.of(), null, false, List.of(), null);
    }
}
