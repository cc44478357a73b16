/**
 * What can go wrong with a call, as one tree, read from the {@code google.rpc} details of the sidecar's answer.
 *
 * <pre>
 * TurnoutException
 *  ├ InvalidRequestException · RequestIdReusedException · NotFoundException · UnauthenticatedException ·
 *  │  PermissionDeniedException · NoEligibleTargetException · BudgetExhaustedException · SessionLimitException
 *  ├ NothingSentException (safe to send again): AllTargetsUnavailableException · SidecarOverloadedException ·
 *  │  DrainingException
 *  ├ CallException (attempts were made): ContentFilteredException · ProviderRejectedRequestException ·
 *  │  AllAttemptsRefusedException · AttemptsExhaustedException · StreamInterruptedException · DeadlineException ·
 *  │  DrainCutException
 *  ├ ConflictException · ResumeTooOldException · UnsupportedException · SidecarFaultException
 *  ├ TransportException (no answer of the sidecar's): UnreachableException
 *  ├ ContractException (an answer that the contract does not allow)
 *  └ PlanExhaustedException · RestartedException (thrown by this client alone)
 * </pre>
 *
 * <p>A call that the caller itself stopped ends with {@link java.util.concurrent.CancellationException}; a wrong argument
 * is an {@link IllegalArgumentException} before anything is sent.
 */
package dev.turnout.errors;
