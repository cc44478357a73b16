package dev.turnout;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * TLS to the sidecar; all values are PEM, and are never printed.
 *
 * @param ca what the sidecar's certificate is checked against, null for the roots that Java brings
 * @param certificate the client's own certificate with its chain, for mutual TLS; null for none
 * @param key the certificate's key, PKCS #8 without a pass phrase; null for none
 * @param serverName what the sidecar's certificate must say, where it is not the address's host; empty otherwise
 */
public record Tls(byte[] ca, byte[] certificate, byte[] key, String serverName) {

    /**
     * Makes one.
     *
     * @param ca what the sidecar's certificate is checked against, null for the roots that Java brings
     * @param certificate the client's own certificate with its chain, for mutual TLS; null for none
     * @param key the certificate's key, PKCS #8 without a pass phrase; null for none
     * @param serverName what the sidecar's certificate must say, where it is not the address's host; empty otherwise
     * @throws IllegalArgumentException for a certificate without its key, or a key without its certificate
     */
    public Tls {
        serverName = serverName == null ? "" : serverName;
        if ((certificate == null) != (key == null)) {
            throw new IllegalArgumentException(
                    "tls has one of certificate and key: mutual TLS needs both, else leave both out");
        }
    }

    /**
     * TLS with the roots that Java brings, and no certificate of its own.
     *
     * @return the setting
     */
    public static Tls ofPublicRoots() {
        return new Tls(null, null, null, "");
    }

    /**
     * TLS against an authority of one's own.
     *
     * @param caFile the authority's certificate, PEM
     * @return the setting
     * @throws IllegalArgumentException for a file that cannot be read
     */
    public static Tls ofCa(Path caFile) {
        return ofFiles(caFile, null, null, "");
    }

    /**
     * Reads PEM files; null for none. They are read now: with a new certificate, make a new client.
     *
     * @param caFile what the sidecar's certificate is checked against
     * @param certFile the client's own certificate
     * @param keyFile the certificate's key
     * @param serverName what the sidecar's certificate must say, empty for the address's host
     * @return the setting
     * @throws IllegalArgumentException for a file that cannot be read, and for one of certificate and key alone
     */
    public static Tls ofFiles(Path caFile, Path certFile, Path keyFile, String serverName) {
        return new Tls(content("CA", caFile), content("certificate", certFile), content("key", keyFile), serverName);
    }

    @Override
    public String toString() {
        return "Tls[serverName=" + serverName + ", mutual=" + (certificate != null) + "]";
    }

    private static byte[] content(String what, Path file) {
        if (file == null) {
            return null;
        }
        try {
            return Files.readAllBytes(file);
        } catch (IOException error) {
            throw new IllegalArgumentException(
                    what + " file " + file + " cannot be read: " + error.getClass().getSimpleName(), error);
        }
    }
}
