/**
 * Turnout's Java client: talks to the sidecar that routes LLM requests.
 *
 * <pre>{@code
 * try (TurnoutClient client = TurnoutClient.create()) {
 *     System.out.println(client.ask("Why is the sky blue?").text());
 * }
 * }</pre>
 *
 * <p>The messages and enums of the contract are in {@code dev.turnout.v1}; the errors are in {@link dev.turnout.errors}.
 */
package dev.turnout;
