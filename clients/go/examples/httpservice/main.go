// Command httpservice answers prompts over HTTP: a small service as an application would have it, with a Turnout sidecar
// beside it. It listens where LISTEN says (127.0.0.1:8080) and finds its sidecar as TURNOUT_ADDRESS and its like say.
//
//	curl -N -d '{"prompt": "What is a turnout?"}' http://127.0.0.1:8080/answer
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	turnout "turnout.dev/go"
)

// drainTimeout is how long running answers may take when the service is told to stop: less than the sidecar's own 25 s,
// which begins at the same time.
const drainTimeout = 20 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	address := os.Getenv("LISTEN")
	if address == "" {
		address = "127.0.0.1:8080"
	}
	if err := run(ctx, address, func(at net.Addr) { slog.Info("listening", "address", at.String()) }); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run serves until the context ends; then it takes no more requests, and gives those that run time to end.
func run(ctx context.Context, address string, listening func(net.Addr)) error {
	client, err := turnout.New()
	if err != nil {
		return err
	}
	// After the last answer: closing reports what is left.
	defer client.Close()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	service := newService(client)
	server := &http.Server{Handler: service, ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	listening(listener.Addr())
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	service.stopping.Store(true)
	drained, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if err := server.Shutdown(drained); errors.Is(err, context.DeadlineExceeded) {
		// What still runs is cut: its requests' contexts end, and the providers' calls with them.
		return server.Close()
	} else if err != nil {
		return err
	}
	return nil
}
