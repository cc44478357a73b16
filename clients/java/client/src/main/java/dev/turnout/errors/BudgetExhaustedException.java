package dev.turnout.errors;

/** Budgets alone block every target that fits. */
public class BudgetExhaustedException extends TurnoutException {
    private static final long serialVersionUID = 1L;

    /**
     * Makes one.
     *
     * @param message what happened
     * @param details what the answer said beside it
     */
    public BudgetExhaustedException(String message, ErrorDetails details) {
        super(message, details);
    }
}
