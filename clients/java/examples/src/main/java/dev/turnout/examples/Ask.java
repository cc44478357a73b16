package dev.turnout.examples;

import dev.turnout.Answer;
import dev.turnout.AnswerStream;
import dev.turnout.Plan;
import dev.turnout.Targets;
import dev.turnout.TurnoutClient;
import dev.turnout.errors.FieldViolation;
import dev.turnout.errors.TurnoutException;
import dev.turnout.v1.RouteRequest;
import java.io.PrintStream;
import java.util.List;
import java.util.Map;

/**
 * Asks a question three ways: has it answered, has it streamed, and asks for a plan alone and calls the provider itself.
 *
 * <p>{@code Ask [whole|stream|plan] QUESTION}; without a way all three. Where the sidecar is: TURNOUT_ADDRESS and its like.
 */
public final class Ask {
    private static final List<String> WAYS = List.of("whole", "stream", "plan");

    private final PrintStream out;
    private final PrintStream err;
    private final Map<String, String> environment;

    Ask(PrintStream out, PrintStream err, Map<String, String> environment) {
        this.out = out;
        this.err = err;
        this.environment = environment;
    }

    /**
     * Runs from the command line; the exit codes are those of {@link ExitCode}.
     *
     * @param arguments the way and the question
     */
    public static void main(String[] arguments) {
        Ask ask = new Ask(System.out, System.err, System.getenv());
        ExitCode code;
        try (TurnoutClient client = TurnoutClient.create()) {
            code = ask.run(client, arguments);
        } catch (IllegalArgumentException error) {
            System.err.println(error.getMessage());
            code = ExitCode.USAGE;
        }
        System.exit(code.number());
    }

    ExitCode run(TurnoutClient client, String... arguments) {
        boolean hasWay = arguments.length > 1 && WAYS.contains(arguments[0]);
        String question = String.join(" ", List.of(arguments).subList(hasWay ? 1 : 0, arguments.length));
        if (question.isBlank()) {
            err.println("usage: Ask [whole|stream|plan] QUESTION");
            return ExitCode.USAGE;
        }
        try {
            for (String way : hasWay ? List.of(arguments[0]) : WAYS) {
                ask(client, way, question);
            }
            return ExitCode.WELL;
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
            return ExitCode.FAILED;
        } catch (Exception error) {
            tell(error);
            return ExitCode.of(error);
        }
    }

    private void ask(TurnoutClient client, String way, String question) throws Exception {
        switch (way) {
            case "whole" -> whole(client, question);
            case "stream" -> stream(client, question);
            default -> plan(client, question);
        }
    }

    private void whole(TurnoutClient client, String question) {
        Answer answer = client.ask(question);
        out.println(answer.text());
        err.println("answered by " + Targets.name(answer.target()) + ": " + answer.decision().getReason());
    }

    private void stream(TurnoutClient client, String question) {
        try (AnswerStream stream = client.stream(question)) {
            for (String piece : stream.text()) {
                out.print(piece);
                out.flush();
            }
            out.println();
            err.println("streamed by " + Targets.name(stream.answer().target()));
        }
    }

    private void plan(TurnoutClient client, String question) throws Exception {
        ProviderCall provider = new ProviderCall(environment);
        RouteRequest.Builder request = RouteRequest.newBuilder();
        request.getProfileBuilder().setTask("chat").setTextHint(question);
        Plan plan = client.plan(request.build());
        String text = plan.run(attempt -> {
            err.println("calling " + attempt.target());
            return provider.ask(attempt, question);
        });
        out.println(text);
    }

    private void tell(Exception error) {
        err.println(error.getMessage() == null ? error.toString() : error.getMessage());
        if (error instanceof TurnoutException known) {
            for (FieldViolation violation : known.fieldViolations()) {
                err.println("  " + violation.field() + ": " + violation.description());
            }
            known.attempts().forEach(attempt -> err.println("  " + Targets.name(attempt.getTarget()) + ": " + attempt.getFailure()));
            known.retryAfter().ifPresent(wait -> err.println("  try again after " + wait.toMillis() + " ms"));
        }
    }
}
