package dev.turnout;

import dev.turnout.v1.ChatInput;
import dev.turnout.v1.Message;
import dev.turnout.v1.Part;
import dev.turnout.v1.Role;
import java.util.List;

/** Chat requests of text alone, in few words; what else there is, the builders of {@code dev.turnout.v1} have. */
public final class Chat {
    private Chat() {}

    /**
     * A chat request of these turns.
     *
     * @param turns what was said so far
     * @return the request, to be added to with {@code toBuilder()}
     */
    public static ChatInput of(Message... turns) {
        return ChatInput.newBuilder().addAllMessages(List.of(turns)).build();
    }

    /**
     * Instructions of the application.
     *
     * @param text the instructions
     * @return the turn
     */
    public static Message system(String text) {
        return turn(Role.ROLE_SYSTEM, text);
    }

    /**
     * What the user says.
     *
     * @param text the words
     * @return the turn
     */
    public static Message user(String text) {
        return turn(Role.ROLE_USER, text);
    }

    /**
     * What the model said; for an answer of this client use {@link Answer#message}, which loses nothing.
     *
     * @param text the words
     * @return the turn
     */
    public static Message assistant(String text) {
        return turn(Role.ROLE_ASSISTANT, text);
    }

    private static Message turn(Role role, String text) {
        return Message.newBuilder().setRole(role).addParts(Part.newBuilder().setText(text)).build();
    }
}
