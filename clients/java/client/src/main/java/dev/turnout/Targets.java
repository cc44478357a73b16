package dev.turnout;

import dev.turnout.v1.Target;

/** Targets as they are written everywhere: {@code provider/model} or {@code provider/model@endpoint}. */
public final class Targets {
    private Targets() {}

    /**
     * Writes a target.
     *
     * @param target the target
     * @return its name
     */
    public static String name(Target target) {
        String name = target.getProvider() + "/" + target.getModel();
        return target.getEndpoint().isEmpty() ? name : name + "@" + target.getEndpoint();
    }

    /**
     * Reads a target: split at the first "/", and at the last "@" where there is one. A model with "@" in its own name is
     * given with its endpoint, or as a {@link Target}.
     *
     * @param name a name such as {@code openai/gpt-4o@eu}
     * @return the target
     * @throws IllegalArgumentException for a name without provider or model
     */
    public static Target parse(String name) {
        int slash = name.indexOf('/');
        String rest = name.substring(slash + 1);
        int at = rest.lastIndexOf('@');
        String model = at < 0 ? rest : rest.substring(0, at);
        String endpoint = at < 0 ? "" : rest.substring(at + 1);
        if (slash < 1 || model.isBlank() || (at >= 0 && endpoint.isBlank())) {
            throw new IllegalArgumentException("'" + name
                    + "' is not a target: give provider/model or provider/model@endpoint, such as openai/gpt-4o");
        }
        return Target.newBuilder()
                .setProvider(name.substring(0, slash))
                .setModel(model)
                .setEndpoint(endpoint)
                .build();
    }
}
