package dev.turnout;

import com.google.protobuf.ByteString;
import dev.turnout.errors.ContractException;
import dev.turnout.errors.ErrorDetails;
import dev.turnout.v1.Delta;
import dev.turnout.v1.Delta.ContentCase;
import dev.turnout.v1.Part;
import dev.turnout.v1.Reasoning;
import dev.turnout.v1.ToolCall;

/** One part of an answer as it grows; its kind is that of its first piece of content. */
final class PartGatherer {
    private ContentCase kind = ContentCase.CONTENT_NOT_SET;
    private final StringBuilder body = new StringBuilder();
    private final StringBuilder signature = new StringBuilder();
    private ByteString redacted = ByteString.EMPTY;
    private String callId = "";
    private String callName = "";

    /** Adds a piece. Throws ContractException where it is of another kind than the pieces before it. */
    void add(Delta delta) {
        ContentCase piece = delta.getContentCase();
        if (piece == ContentCase.CONTENT_NOT_SET) {
            // A kind of a newer contract: receivers skip what they do not know.
            return;
        }
        if (piece == ContentCase.SIGNATURE) {
            signature.append(delta.getSignature());
            return;
        }
        if (kind != ContentCase.CONTENT_NOT_SET && kind != piece) {
            throw new ContractException(
                    "part " + delta.getPartIndex() + " of the answer began as " + kind + " and went on as " + piece,
                    ErrorDetails.NONE);
        }
        kind = piece;
        if (piece == ContentCase.TEXT) {
            body.append(delta.getText());
        } else if (piece == ContentCase.REASONING) {
            body.append(delta.getReasoning().getText());
            redacted = redacted.concat(delta.getReasoning().getRedactedData());
        } else {
            callId = callId.isEmpty() ? delta.getToolCall().getId() : callId;
            callName = callName.isEmpty() ? delta.getToolCall().getName() : callName;
            body.append(delta.getToolCall().getArgumentsFragment());
        }
    }

    /** The text so far, empty for a part that is not text. */
    String text() {
        return kind == ContentCase.TEXT ? body.toString() : "";
    }

    /** The part; opaque state is marked with the provider that it must go back to. */
    Part part(String provider) {
        Part.Builder part = Part.newBuilder().setSignature(signature.toString());
        if (kind == ContentCase.TOOL_CALL) {
            part.setToolCall(ToolCall.newBuilder().setId(callId).setName(callName).setArgumentsJson(body.toString()));
        } else if (kind == ContentCase.TEXT) {
            part.setText(body.toString());
        } else {
            // A signature alone is thinking that the provider does not show.
            part.setReasoning(Reasoning.newBuilder().setText(body.toString()).setRedactedData(redacted));
        }
        if (signature.length() > 0 || !redacted.isEmpty()) {
            part.setOriginProvider(provider);
        }
        return part.build();
    }
}
