package turnout

import (
	"context"
	"fmt"
	"io"
	"iter"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "turnout.dev/go/turnoutv1"
)

// reportCloseTimeout is how long closing a client waits for the last reports.
const reportCloseTimeout = 2 * time.Second

// Client calls one sidecar. It may be used by any number of goroutines; one for a whole process is enough.
type Client struct {
	address       string
	conn          *grpc.ClientConn
	stub          pb.RouterServiceClient
	token         *tokenSource
	maxRetryCount int
	now           func() time.Time
	planner       *planner
	reporter      *reporter
}

// New returns a client. Nothing is sent before the first call. A [UsageError] says which option cannot be as it is.
func New(options ...Option) (*Client, error) {
	given := newSettings(options)
	if given.maxRetryCount < 0 {
		return nil, usage("max_retry_count", "the retry count is %d: give 0 or more", given.maxRetryCount)
	}
	static, err := newStaticOrder(given.fallback)
	if err != nil {
		return nil, err
	}
	found, err := given.resolve(os.Getenv)
	if err != nil {
		return nil, err
	}
	conn, err := found.dial(given.dial)
	if err != nil {
		return nil, err
	}
	client := &Client{
		address:       found.address,
		conn:          conn,
		stub:          pb.NewRouterServiceClient(conn),
		token:         found.token,
		maxRetryCount: given.maxRetryCount,
		now:           time.Now,
	}
	client.reporter = newReporter(client.sendOutcomes)
	client.planner = newPlanner(client, static, given.planCache)
	return client, nil
}

// Address returns where the sidecar is, as given or found in the environment.
func (c *Client) Address() string { return c.address }

// Execute has the sidecar choose, call, retry and fail over, and returns one complete answer. Without another timeout it
// is given 600 s. It is made again by itself only where the sidecar says that nothing can have been billed.
func (c *Client) Execute(
	ctx context.Context, request *pb.ExecuteRequest, options ...CallOption,
) (*pb.ExecuteResponse, error) {
	return unary(ctx, c, rpcExecute, options, request, c.stub.Execute)
}

// Route returns the decision for a request that the application sends itself; nothing goes to a provider, and no plan is
// reused. Without another timeout it is given 2 s.
func (c *Client) Route(
	ctx context.Context, request *pb.RouteRequest, options ...CallOption,
) (*pb.RouteResponse, error) {
	return unary(ctx, c, rpcRoute, options, request, c.stub.Route)
}

// ReportOutcome reports outcomes and feedback now; each has its own result in the answer. Outcomes of a [Plan] are
// reported without it. Without another timeout it is given 5 s.
func (c *Client) ReportOutcome(
	ctx context.Context, request *pb.ReportOutcomeRequest, options ...CallOption,
) (*pb.ReportOutcomeResponse, error) {
	c.planner.noteReported(request.GetOutcomes())
	// Once more, for a plan that was made meanwhile: the sidecar knew nothing of it.
	defer c.planner.noteReported(request.GetOutcomes())
	return unary(ctx, c, rpcReportOutcome, options, request, c.stub.ReportOutcome)
}

// ProviderStatus returns the state of providers, endpoints and targets. Without another timeout it is given 5 s.
func (c *Client) ProviderStatus(
	ctx context.Context, request *pb.ProviderStatusRequest, options ...CallOption,
) (*pb.ProviderStatusResponse, error) {
	return unary(ctx, c, rpcProviderStatus, options, request, c.stub.ProviderStatus)
}

// WatchProviderStatus yields the state of providers: first all of it, then what changed, until the loop is left, the
// context ends, or an error is yielded, which is the last. It has no timeout of its own and is never begun again by
// itself; resume with the last revision.
func (c *Client) WatchProviderStatus(
	ctx context.Context, request *pb.WatchProviderStatusRequest, options ...CallOption,
) iter.Seq2[*pb.WatchProviderStatusResponse, error] {
	return func(yield func(*pb.WatchProviderStatusResponse, error) bool) {
		call, err := c.begin(ctx, rpcWatch, options)
		if err != nil {
			yield(nil, err)
			return
		}
		defer call.cancel()
		for {
			stream, err := c.stub.WatchProviderStatus(call.next(), request)
			for err == nil {
				var response *pb.WatchProviderStatusResponse
				if response, err = stream.Recv(); err == nil && !yield(response, nil) {
					return
				}
			}
			if err == io.EOF { //nolint:errorlint // gRPC returns it as it is
				return
			}
			// Only a token that was replaced is a reason to begin again.
			if failed := call.again(errorFrom(err, trailerOf(stream), nil)); failed != nil {
				yield(nil, failed)
				return
			}
		}
	}
}

// Unreported returns how many outcomes of plans were not reported: those that were given up, since more than 1,000 were
// waiting or the sidecar would not take them, and those that wait.
func (c *Client) Unreported() int { return c.reporter.unreported() }

// Flush waits until the outcomes of plans are reported or given up. It returns the context's error where that did not
// come in time.
func (c *Client) Flush(ctx context.Context) error { return c.reporter.flush(ctx) }

// Close reports what is left, within 2 s, and closes the connection; running calls end. Nothing may be called after it.
func (c *Client) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), reportCloseTimeout)
	defer cancel()
	c.reporter.close(ctx)
	return c.conn.Close()
}

// sendOutcomes sends one batch for the reporter, which does its own waiting between tries.
func (c *Client) sendOutcomes(ctx context.Context, batch []*pb.Outcome) (*pb.ReportOutcomeResponse, error) {
	request := &pb.ReportOutcomeRequest{Outcomes: batch}
	return unary(ctx, c, rpc{timeout: rpcReportOutcome.timeout, rule: retryNever}, nil, request, c.stub.ReportOutcome)
}

// call is one call over its tries.
type call struct {
	client *Client
	ctx    context.Context //nolint:containedctx // of one call, and no longer kept than that
	cancel context.CancelFunc
	tries  *tries
	trace  []string
	token  string
	// sentAt is when the last try began.
	sentAt time.Time
}

func (c *Client) begin(ctx context.Context, how rpc, options []CallOption) (*call, error) {
	bounded, cancel, err := how.bound(ctx, newCallSettings(options))
	if err != nil {
		return nil, err
	}
	deadline, _ := bounded.Deadline()
	made := &call{client: c, ctx: bounded, cancel: cancel, trace: traceMetadata(ctx)}
	made.tries = newTries(how.rule, c.maxRetryCount, deadline, func() bool { return c.token.renewed(made.token) })
	return made, nil
}

// next returns the context of the next try, with the token and the trace beside it.
func (c *call) next() context.Context {
	c.token, c.sentAt = c.client.token.current(), c.client.now()
	pairs := c.trace
	if c.token != "" {
		pairs = append(pairs[:len(pairs):len(pairs)], "authorization", "Bearer "+c.token)
	}
	if len(pairs) == 0 {
		return c.ctx
	}
	return metadata.AppendToOutgoingContext(c.ctx, pairs...)
}

// again waits for the next try. It returns the error to give up with where there must not be one, or the call was
// cancelled before it.
func (c *call) again(err Error) Error {
	wait, may := c.tries.after(err, time.Now())
	if !may {
		return err
	}
	if !pause(c.ctx, wait) {
		ended := status.FromContextError(c.ctx.Err())
		return &TransportError{
			ErrorDetails: &ErrorDetails{Code: ended.Code(), DecisionID: err.Details().DecisionID},
			Message:      fmt.Sprintf("%s, before another try; before that: %v", ended.Message(), err),
		}
	}
	return nil
}

// unary makes a unary call with all its tries.
func unary[Request, Response any](
	ctx context.Context, client *Client, how rpc, options []CallOption, request Request, method method[Request, Response],
) (Response, error) {
	made, err := client.begin(ctx, how, options)
	if err != nil {
		var none Response
		return none, err
	}
	defer made.cancel()
	return try(made, request, method)
}

type method[Request, Response any] func(context.Context, Request, ...grpc.CallOption) (Response, error)

func try[Request, Response any](made *call, request Request, method method[Request, Response]) (Response, error) {
	for {
		var trailer metadata.MD
		response, err := method(made.next(), request, grpc.Trailer(&trailer))
		if err == nil {
			return response, nil
		}
		if failed := made.again(errorFrom(err, trailer, nil)); failed != nil {
			return response, failed
		}
	}
}

func trailerOf(stream interface{ Trailer() metadata.MD }) metadata.MD {
	if stream == nil {
		return nil
	}
	return stream.Trailer()
}
