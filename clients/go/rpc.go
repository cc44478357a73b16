package turnout

import (
	"context"
	"time"
)

// rpc says how one RPC is called: its deadline where the caller names none, and when it may be called again.
type rpc struct {
	// timeout is the default deadline of a call with its retries; 0 for none.
	timeout time.Duration
	rule    retryRule
}

var (
	rpcRoute          = rpc{timeout: 2 * time.Second, rule: retryIdempotent}
	rpcReportOutcome  = rpc{timeout: 5 * time.Second, rule: retryIdempotent}
	rpcProviderStatus = rpc{timeout: 5 * time.Second, rule: retryIdempotent}
	// The sidecar's own default for a call without a deadline.
	rpcExecute = rpc{timeout: 600 * time.Second, rule: retryExecute}
	// The sidecar's own default for the longest stream; how long silence may last is the sidecar's to watch.
	rpcExecuteStream = rpc{timeout: 1800 * time.Second, rule: retryExecute}
	// Watching has no end of its own.
	rpcWatch = rpc{rule: retryNever}
)

// patience returns how much time a caller has for a call: as given, else the RPC's own, and no more than the context has.
func (r rpc) patience(ctx context.Context, call callSettings) (time.Duration, error) {
	timeout, err := r.given(call)
	if deadline, has := ctx.Deadline(); has {
		timeout = min(timeout, time.Until(deadline))
	}
	return timeout, err
}

func (r rpc) given(call callSettings) (time.Duration, error) {
	if !call.hasTimeout {
		return r.timeout, nil
	}
	if call.timeout <= 0 {
		return 0, usage("timeout", "the timeout is %v: give a positive duration, or leave it out", call.timeout)
	}
	return call.timeout, nil
}

// bound returns a context that ends when the call must have ended: after the timeout given, else the RPC's own, and
// never later than the context given.
func (r rpc) bound(ctx context.Context, call callSettings) (context.Context, context.CancelFunc, error) {
	timeout, err := r.given(call)
	if err != nil {
		return nil, nil, err
	}
	if timeout == 0 {
		bounded, cancel := context.WithCancel(ctx)
		return bounded, cancel, nil
	}
	bounded, cancel := context.WithTimeout(ctx, timeout)
	return bounded, cancel, nil
}

// pause waits, and returns false where the context ended before that.
func pause(ctx context.Context, wait time.Duration) bool {
	if wait <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
