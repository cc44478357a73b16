package example;

import dev.turnout.TurnoutClient;
import dev.turnout.errors.UnreachableException;

/** Uses the published client alone: no OpenTelemetry is there. */
final class Consumer {
    private Consumer() {}

    public static void main(String[] arguments) {
        if (arguments.length > 0) {
            try (TurnoutClient client = TurnoutClient.create(arguments[0])) {
                System.out.println(client.ask("Why is the sky blue?").text());
            }
            return;
        }
        try (TurnoutClient client = TurnoutClient.create("127.0.0.1:1")) {
            client.ask("Is anybody there?");
            throw new AssertionError("nobody listens there");
        } catch (UnreachableException error) {
            System.out.println("as it should be: " + error.getMessage());
        }
    }
}
