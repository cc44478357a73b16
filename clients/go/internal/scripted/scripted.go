// Package scripted is a sidecar for tests that says what a test has it say, over a real socket: for answers that a real
// one gives only by accident or never.
package scripted

import (
	"context"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "turnout.dev/go/turnoutv1"
)

// Sidecar says what its functions say; a call without one is UNIMPLEMENTED. Set them before the first call.
type Sidecar struct {
	pb.UnimplementedRouterServiceServer

	// Address is where it listens, once Start has returned.
	Address string

	OnRoute   func(context.Context, *pb.RouteRequest) (*pb.RouteResponse, error)
	OnExecute func(context.Context, *pb.ExecuteRequest) (*pb.ExecuteResponse, error)
	OnStream  func(*pb.ExecuteStreamRequest, grpc.ServerStreamingServer[pb.ExecuteStreamResponse]) error
	OnReport  func(context.Context, *pb.ReportOutcomeRequest) (*pb.ReportOutcomeResponse, error)
	OnStatus  func(context.Context, *pb.ProviderStatusRequest) (*pb.ProviderStatusResponse, error)
	OnWatch   func(*pb.WatchProviderStatusRequest, grpc.ServerStreamingServer[pb.WatchProviderStatusResponse]) error

	server *grpc.Server
	mu     sync.Mutex
	calls  []string
}

// Start listens on a free port of this machine.
func (s *Sidecar) Start() error { return s.StartAt("127.0.0.1:0") }

// StartAt listens on an address.
func (s *Sidecar) StartAt(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	s.Address = listener.Addr().String()
	// As often as the sidecar allows clients to look whether it is still there.
	alive := keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}
	s.server = grpc.NewServer(grpc.MaxRecvMsgSize(64<<20), grpc.KeepaliveEnforcementPolicy(alive))
	pb.RegisterRouterServiceServer(s.server, s)
	go func() { _ = s.server.Serve(listener) }()
	return nil
}

// Stop cuts every call and stops listening.
func (s *Sidecar) Stop() { s.server.Stop() }

// Calls returns the RPCs that came so far, in order.
func (s *Sidecar) Calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

func (s *Sidecar) came(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, name)
}

// Route answers.
func (s *Sidecar) Route(ctx context.Context, request *pb.RouteRequest) (*pb.RouteResponse, error) {
	s.came("Route")
	if s.OnRoute == nil {
		return s.UnimplementedRouterServiceServer.Route(ctx, request)
	}
	return s.OnRoute(ctx, request)
}

// Execute answers.
func (s *Sidecar) Execute(ctx context.Context, request *pb.ExecuteRequest) (*pb.ExecuteResponse, error) {
	s.came("Execute")
	if s.OnExecute == nil {
		return s.UnimplementedRouterServiceServer.Execute(ctx, request)
	}
	return s.OnExecute(ctx, request)
}

// ExecuteStream answers.
func (s *Sidecar) ExecuteStream(
	request *pb.ExecuteStreamRequest, stream grpc.ServerStreamingServer[pb.ExecuteStreamResponse],
) error {
	s.came("ExecuteStream")
	if s.OnStream == nil {
		return s.UnimplementedRouterServiceServer.ExecuteStream(request, stream)
	}
	return s.OnStream(request, stream)
}

// ReportOutcome answers; without a function of the test's it accepts all.
func (s *Sidecar) ReportOutcome(
	ctx context.Context, request *pb.ReportOutcomeRequest,
) (*pb.ReportOutcomeResponse, error) {
	s.came("ReportOutcome")
	if s.OnReport != nil {
		return s.OnReport(ctx, request)
	}
	response := &pb.ReportOutcomeResponse{}
	for range request.GetOutcomes() {
		response.Results = append(response.Results,
			&pb.OutcomeResult{Status: pb.OutcomeStatus_OUTCOME_STATUS_ACCEPTED})
	}
	return response, nil
}

// ProviderStatus answers.
func (s *Sidecar) ProviderStatus(
	ctx context.Context, request *pb.ProviderStatusRequest,
) (*pb.ProviderStatusResponse, error) {
	s.came("ProviderStatus")
	if s.OnStatus == nil {
		return s.UnimplementedRouterServiceServer.ProviderStatus(ctx, request)
	}
	return s.OnStatus(ctx, request)
}

// WatchProviderStatus answers.
func (s *Sidecar) WatchProviderStatus(
	request *pb.WatchProviderStatusRequest, stream grpc.ServerStreamingServer[pb.WatchProviderStatusResponse],
) error {
	s.came("WatchProviderStatus")
	if s.OnWatch == nil {
		return s.UnimplementedRouterServiceServer.WatchProviderStatus(request, stream)
	}
	return s.OnWatch(request, stream)
}

// Refusal returns an error of the sidecar's with a reason and further details.
func Refusal(code codes.Code, reason string, details ...protoadapt.MessageV1) error {
	info := &errdetails.ErrorInfo{Reason: reason, Domain: "turnout.dev"}
	said, err := status.New(code, "because of "+reason).WithDetails(append([]protoadapt.MessageV1{info}, details...)...)
	if err != nil {
		panic(err)
	}
	return said.Err()
}

// RetryIn is the detail that asks to wait.
func RetryIn(wait time.Duration) protoadapt.MessageV1 {
	return &errdetails.RetryInfo{RetryDelay: durationpb.New(wait)}
}

// Pushback sets the trailer that asks to wait, or with a negative number forbids a retry.
func Pushback(ctx context.Context, milliseconds int) {
	_ = grpc.SetTrailer(ctx, metadata.Pairs("grpc-retry-pushback-ms", strconv.Itoa(milliseconds)))
}

// Plan returns an answer to Route: its targets with equal shares, reusable for a minute.
func Plan(decisionID string, targets ...string) *pb.RouteResponse {
	decision := &pb.Decision{DecisionId: decisionID, Reusable: true, ValidFor: durationpb.New(time.Minute)}
	for _, provider := range targets {
		decision.Candidates = append(decision.Candidates, &pb.Candidate{
			Target: &pb.Target{Provider: provider, Model: "m"}, Share: 1 / float64(len(targets)),
		})
	}
	return &pb.RouteResponse{Decision: decision}
}

// Text returns the event of a piece of text.
func Text(attempt, text string) *pb.ExecuteStreamResponse {
	return &pb.ExecuteStreamResponse{Event: &pb.ExecuteStreamResponse_Delta{Delta: &pb.Delta{
		AttemptId: attempt, Content: &pb.Delta_Text{Text: text},
	}}}
}

// Completion returns the event that ends a complete answer.
func Completion() *pb.ExecuteStreamResponse {
	return &pb.ExecuteStreamResponse{Event: &pb.ExecuteStreamResponse_Completion{Completion: &pb.Completion{
		Target: &pb.Target{Provider: "north", Model: "m"}, FinishReason: pb.FinishReason_FINISH_REASON_STOP,
	}}}
}

// Restart returns the event after which the pieces of an attempt are void.
func Restart(discarded string) *pb.ExecuteStreamResponse {
	return &pb.ExecuteStreamResponse{Event: &pb.ExecuteStreamResponse_Restart{
		Restart: &pb.Restart{DiscardedAttemptId: discarded},
	}}
}
