package dev.turnout;

import com.google.protobuf.ByteString;
import com.google.protobuf.CodedOutputStream;
import dev.turnout.v1.RequestProfile;
import dev.turnout.v1.RouteRequest;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;

/**
 * What requests have in common that one plan can serve: everything but the request's id and its token counts. It is a
 * digest: a text hint may have a megabyte.
 */
record PlanKey(ByteString digest) {
    static PlanKey of(RouteRequest request) {
        RouteRequest.Builder alike = request.toBuilder().clearRequestId();
        if (request.hasProfile()) {
            RequestProfile profile =
                    request.getProfile().toBuilder().clearInputTokens().clearMaxOutputTokens().build();
            if (profile.getSerializedSize() == 0) {
                // A profile of token counts alone says no more than none.
                alike.clearProfile();
            } else {
                alike.setProfile(profile);
            }
        }
        return new PlanKey(ByteString.copyFrom(sha256(bytes(alike.build()))));
    }

    private static byte[] bytes(RouteRequest request) {
        byte[] bytes = new byte[request.getSerializedSize()];
        CodedOutputStream output = CodedOutputStream.newInstance(bytes);
        output.useDeterministicSerialization();
        try {
            request.writeTo(output);
        } catch (IOException error) {
            throw new UncheckedIOException("writing to memory cannot fail", error);
        }
        return bytes;
    }

    private static byte[] sha256(byte[] bytes) {
        try {
            return MessageDigest.getInstance("SHA-256").digest(bytes);
        } catch (NoSuchAlgorithmException error) {
            throw new IllegalStateException("every Java has SHA-256", error);
        }
    }
}
