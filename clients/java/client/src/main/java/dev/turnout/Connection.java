package dev.turnout;

import java.nio.file.Path;
import java.util.Map;

/** A checked way to the sidecar: address, token, TLS. */
record Connection(String address, String token, Path tokenFile, Tls tls) {
    static final String DEFAULT_ADDRESS = "127.0.0.1:50151";
    private static final String UNIX = "unix:";
    private static final int MAX_PORT = 65_535;

    Connection {
        token = token == null ? "" : token;
        check(address);
        if (!token.isEmpty() && tokenFile != null) {
            throw new IllegalArgumentException("both a token and a token file are given: give one of them");
        }
        if ((!token.isEmpty() || tokenFile != null) && tls == null && !isLocal(address)) {
            throw new IllegalArgumentException("a token would go to " + address
                    + " in plain text: switch TLS on (tls(Tls.ofCa(...)) or TURNOUT_CA_FILE), or use a local address");
        }
        if (tls != null && address.startsWith(UNIX)) {
            throw new IllegalArgumentException(
                    "TLS is given for " + address + ", and a Unix socket has none: leave it out");
        }
    }

    /** The way as given, and for what is not given (null or empty) as the environment says. */
    static Connection resolve(String address, String token, Path tokenFile, Tls tls, Map<String, String> environment) {
        String where = first(address, environment.get("TURNOUT_ADDRESS"), DEFAULT_ADDRESS);
        if ((token == null || token.isEmpty()) && tokenFile == null) {
            token = first(environment.get("TURNOUT_TOKEN"), "").strip();
            String file = first(environment.get("TURNOUT_TOKEN_FILE"), "");
            if (!token.isEmpty() && !file.isEmpty()) {
                throw new IllegalArgumentException("TURNOUT_TOKEN and TURNOUT_TOKEN_FILE are both set: set one of them");
            }
            tokenFile = path(file);
        }
        if (tls == null && !where.startsWith(UNIX)) {
            tls = tlsOf(environment);
        }
        return new Connection(where, token, tokenFile, tls);
    }

    boolean isUnix() {
        return address.startsWith(UNIX);
    }

    /** The socket's path: "unix:/run/x" and "unix:///run/x" are the same. */
    String socketPath() {
        String path = address.substring(UNIX.length());
        return path.startsWith("//") ? path.substring(2) : path;
    }

    String host() {
        String host = address.substring(0, address.lastIndexOf(':'));
        return host.startsWith("[") && host.endsWith("]") ? host.substring(1, host.length() - 1) : host;
    }

    int port() {
        return Integer.parseInt(address.substring(address.lastIndexOf(':') + 1));
    }

    @Override
    public String toString() {
        return "Connection[" + address + "]";
    }

    private static Tls tlsOf(Map<String, String> environment) {
        String ca = first(environment.get("TURNOUT_CA_FILE"), "");
        String certificate = first(environment.get("TURNOUT_CERT_FILE"), "");
        String key = first(environment.get("TURNOUT_KEY_FILE"), "");
        String serverName = first(environment.get("TURNOUT_SERVER_NAME"), "");
        if (ca.isEmpty() && certificate.isEmpty() && key.isEmpty() && serverName.isEmpty()) {
            return null;
        }
        return Tls.ofFiles(path(ca), path(certificate), path(key), serverName);
    }

    private static void check(String address) {
        if (address.startsWith(UNIX)) {
            if (!address.substring(UNIX.length()).replace("/", "").isEmpty()) {
                return;
            }
        } else if (!address.contains("/")) {
            int colon = address.lastIndexOf(':');
            String host = colon < 0 ? "" : address.substring(0, colon);
            boolean bracketed = host.startsWith("[") && host.endsWith("]") && host.length() > 2;
            // "::1:50151" could be an address without a port as well.
            if (!host.isBlank() && (bracketed || !host.contains(":")) && isPort(address.substring(colon + 1))) {
                return;
            }
        }
        throw new IllegalArgumentException("'" + address + "' is not an address of a sidecar: give host:port or unix:/path,"
                + " such as " + DEFAULT_ADDRESS);
    }

    private static boolean isPort(String text) {
        return text.matches("[0-9]{1,5}") && Integer.parseInt(text) > 0 && Integer.parseInt(text) <= MAX_PORT;
    }

    /** Whether a token in plain text stays on this machine; a name other than localhost is not looked up. */
    private static boolean isLocal(String address) {
        if (address.startsWith(UNIX)) {
            return true;
        }
        String host = address.substring(0, address.lastIndexOf(':'));
        return host.equals("localhost") || host.matches("127(\\.[0-9]{1,3}){3}") || host.matches("\\[(0{0,4}:){2,7}0{0,3}1]");
    }

    private static String first(String... values) {
        for (String value : values) {
            if (value != null && !value.isEmpty()) {
                return value;
            }
        }
        return "";
    }

    private static Path path(String text) {
        return text.isEmpty() ? null : Path.of(text);
    }
}
