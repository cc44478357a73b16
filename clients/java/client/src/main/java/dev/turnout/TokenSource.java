package dev.turnout;

import java.io.IOException;
import java.nio.charset.CharacterCodingException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.regex.Pattern;

/** The bearer token that goes with every call: given as text, or read from a file that somebody renews. */
final class TokenSource {
    /** What can stand in the metadata: gRPC itself refuses anything else with each call, and not in words that help. */
    private static final Pattern WRITTEN = Pattern.compile("[\\x21-\\x7e]+");

    private static final String FORM = "a token is one line of ASCII characters without spaces";

    private final Path file;
    private volatile String text;

    /** Reads the file, if there is one. Throws IllegalArgumentException where it, or the text, holds no token. */
    TokenSource(String text, Path file) {
        this.file = file;
        this.text = file == null ? text : read(file);
        if (!this.text.isEmpty() && !WRITTEN.matcher(this.text).matches()) {
            throw new IllegalArgumentException("what is given as token is none: " + FORM);
        }
    }

    /** The token for the next try, empty for none. */
    String text() {
        return text;
    }

    /** Whether there is another token than the one that was used, after another look at the file. */
    boolean renewed(String used) {
        if (file != null) {
            try {
                text = read(file);
            } catch (IllegalArgumentException error) {
                // The one before may still be good for other calls: the sidecar has said what is wrong with it.
                return false;
            }
        }
        return !text.equals(used);
    }

    private static String read(Path file) {
        String text;
        try {
            text = Files.readString(file).strip();
        } catch (CharacterCodingException error) {
            throw new IllegalArgumentException("token file " + file + " is not UTF-8 text", error);
        } catch (IOException error) {
            throw new IllegalArgumentException(
                    "token file " + file + " cannot be read: " + error.getClass().getSimpleName(), error);
        }
        if (text.isEmpty()) {
            throw new IllegalArgumentException("token file " + file + " is empty");
        }
        if (!WRITTEN.matcher(text).matches()) {
            throw new IllegalArgumentException("token file " + file + " holds no token: " + FORM);
        }
        return text;
    }
}
