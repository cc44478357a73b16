// Command conformance lets the conformance suite drive the Go client: it reads operations from stdin and writes their
// results to stdout, one JSON object a line. tests/conformance/README.md describes the protocol.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// operation is one request of the suite; it holds the fields of all operations.
type operation struct {
	ID     int64  `json:"id"`
	Op     string `json:"op"`
	Client string `json:"client"`

	Address       string          `json:"address"`
	Token         string          `json:"token"`
	TokenFile     string          `json:"token_file"`
	TLS           *tlsFiles       `json:"tls"`
	MaxRetryCount *int            `json:"max_retry_count"`
	PlanCache     *bool           `json:"plan_cache"`
	Fallback      json.RawMessage `json:"fallback"`

	Request         json.RawMessage    `json:"request"`
	TimeoutSeconds  *float64           `json:"timeout_seconds"`
	Traceparent     string             `json:"traceparent"`
	Tracestate      string             `json:"tracestate"`
	StopAfterDeltas int                `json:"stop_after_deltas"`
	Count           int                `json:"count"`
	Targets         map[string]conduct `json:"targets"`
	Target          int64              `json:"target"`
}

type tlsFiles struct {
	CAFile     string `json:"ca_file"`
	CertFile   string `json:"cert_file"`
	KeyFile    string `json:"key_file"`
	ServerName string `json:"server_name"`
}

type reply struct {
	ID     int64 `json:"id"`
	Result any   `json:"result,omitempty"`
	Error  any   `json:"error,omitempty"`
}

// driver runs operations side by side.
type driver struct {
	clients clients

	mu      sync.Mutex
	running map[int64]context.CancelFunc
	out     *json.Encoder
	flush   func() error
}

func main() {
	if err := drive(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func drive(in io.Reader, out io.Writer) error {
	buffered := bufio.NewWriter(out)
	d := &driver{running: map[int64]context.CancelFunc{}, out: json.NewEncoder(buffered), flush: buffered.Flush}
	d.out.SetEscapeHTML(false)
	var working sync.WaitGroup
	defer working.Wait()
	defer d.cancelAll()
	lines := json.NewDecoder(in)
	for {
		var op operation
		if err := lines.Decode(&op); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("what came on stdin is not an operation: %w", err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		d.mu.Lock()
		d.running[op.ID] = cancel
		d.mu.Unlock()
		working.Go(func() {
			defer cancel()
			result, err := d.run(ctx, &op)
			d.mu.Lock()
			defer d.mu.Unlock()
			delete(d.running, op.ID)
			answer := reply{ID: op.ID, Result: result}
			if err != nil {
				answer = reply{ID: op.ID, Error: describe(err)}
			}
			if err := errors.Join(d.out.Encode(answer), d.flush()); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		})
	}
}

// cancel ends a running operation, which then replies for itself.
func (d *driver) cancel(id int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if cancel, running := d.running[id]; running {
		cancel()
	}
}

func (d *driver) cancelAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, cancel := range d.running {
		cancel()
	}
}
