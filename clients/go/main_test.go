package turnout_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	turnout "turnout.dev/go"
	"turnout.dev/go/internal/scripted"
	pb "turnout.dev/go/turnoutv1"
)

// proxied counts the connections to the proxy that the environment names.
var proxied atomic.Int32

// TestMain starts the sidecar that the examples find by TURNOUT_ADDRESS, and a proxy that nobody should ask: Go reads the
// variables of proxies once in a process.
func TestMain(m *testing.M) {
	target := &pb.Target{Provider: "north", Model: "m"}
	sidecar := &scripted.Sidecar{
		OnExecute: func(_ context.Context, request *pb.ExecuteRequest) (*pb.ExecuteResponse, error) {
			if request.GetInput() == nil {
				return nil, scripted.Refusal(codes.InvalidArgument, "INVALID_REQUEST")
			}
			return &pb.ExecuteResponse{Target: target, Output: &pb.ChatOutput{Parts: []*pb.Part{
				{Content: &pb.Part_Text{Text: "Track that sends a train one way or the other."}},
			}}}, nil
		},
		OnStream: func(_ *pb.ExecuteStreamRequest, stream grpc.ServerStreamingServer[pb.ExecuteStreamResponse]) error {
			for _, event := range []*pb.ExecuteStreamResponse{
				scripted.Text("a", "Once upon"), scripted.Text("a", " a time."), scripted.Completion(),
			} {
				if err := stream.Send(event); err != nil {
					return err
				}
			}
			return nil
		},
		OnRoute: func(context.Context, *pb.RouteRequest) (*pb.RouteResponse, error) {
			return scripted.Plan("d", "north", "south"), nil
		},
	}
	if err := sidecar.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Setenv("TURNOUT_ADDRESS", sidecar.Address)
	proxy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Setenv("HTTPS_PROXY", "http://"+proxy.Addr().String())
	os.Setenv("NO_PROXY", "")
	go func() {
		for connection, err := proxy.Accept(); err == nil; connection, err = proxy.Accept() {
			proxied.Add(1)
			_ = connection.Close()
		}
	}()
	code := m.Run()
	sidecar.Stop()
	os.Exit(code)
}

func TestProxyOfTheEnvironmentIsNotAsked(t *testing.T) {
	client := connect(t, "sidecar.invalid:50151", turnout.WithMaxRetryCount(0))
	_, err := client.Route(within(t), nil)
	var failed *turnout.TransportError
	if !errors.As(err, &failed) || proxied.Load() != 0 {
		t.Errorf("the proxy was asked %d times: %v", proxied.Load(), err)
	}
}
