package dev.turnout;

/**
 * The application's own call to one target of a plan.
 *
 * @param <T> what the call gives
 * @param <E> what it throws beside unchecked exceptions
 */
@FunctionalInterface
public interface TargetFunction<T, E extends Exception> {
    /**
     * Calls the target. Turn the SDK's own retries off: failures would reach the sidecar late or not at all.
     *
     * @param attempt whom to call, and where to note the first token and the usage
     * @return what the plan returns then
     * @throws E where the call failed: the next target is tried if that may help
     */
    T call(PlanAttempt attempt) throws E;
}
