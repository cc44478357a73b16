// Package realsidecar starts the real thing for tests: simulated providers, and a sidecar in front of them, as two
// processes. The binary is the one that TURNOUT_BIN names; without it the test is skipped.
package realsidecar

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	pb "turnout.dev/go/turnoutv1"
)

// patience is how long a process may take to start or to stop: generous, since the machine may be busy.
const patience = 60 * time.Second

const model = `{name: m, context_window_tokens: 128000, max_output_tokens: 4096, quality: 80, ` +
	`latency_prior_seconds: 0.05, price: {input_per_million_usd: 1, output_per_million_usd: 2}, ` +
	`capabilities: [STREAMING, TOOLS]}`

// A first token may take long on a busy machine, and is no reason to fail over in these tests.
const configuration = `
listen: {address: "%s"}
health: {address: ""}
metrics: {address: ""}
providers:
  north: {first_token_timeout_seconds: 300, wire: openai, base_url: "%s", allow_insecure: true, allow_private: true, models: [%s]}
  south: {first_token_timeout_seconds: 300, wire: anthropic, base_url: "%s", allow_insecure: true, allow_private: true, models: [%s]}
routing:
  provider_order: [north, south]
  policies: {default: {strategy: PRIORITY}}
  plan_valid_seconds: 300
failover: {connect_timeout_seconds: 60}
drain_seconds: 1
`

// World is simulated providers "north" (wire openai) and "south" (wire anthropic), each with the model "m", and a
// sidecar that prefers north.
type World struct {
	// Address is where the sidecar listens.
	Address string

	test    testing.TB
	control string
	urls    map[string]string
	folder  string
	sidecar *process
}

// Start starts both and stops them when the test ends.
func Start(test testing.TB) *World {
	test.Helper()
	if os.Getenv("TURNOUT_BIN") == "" {
		test.Skip("TURNOUT_BIN is not set: give it the path of the turnout command to run this with a real sidecar")
	}
	world := &World{test: test, folder: test.TempDir(), urls: map[string]string{}}
	var said struct {
		Control   string `json:"control"`
		Providers map[string]struct {
			BaseURL string `json:"base_url"`
		} `json:"providers"`
	}
	sim := world.run(&said, "sim", "--port", "0", "--provider", "north=openai", "--provider", "south=anthropic")
	test.Cleanup(sim.stop)
	world.control = said.Control
	for name, provider := range said.Providers {
		world.urls[name] = provider.BaseURL
	}
	world.serve("127.0.0.1:0")
	test.Cleanup(world.StopSidecar)
	return world
}

// Fault makes a provider go wrong as `turnout sim --help` tells, such as {"kind": "error", "status": 503}; nil mends it.
func (w *World) Fault(provider string, fault map[string]any) {
	w.set(provider, map[string]any{"fault": fault})
}

// Latency sets how slow a provider is, such as {"seconds_per_output_token": 0.05}.
func (w *World) Latency(provider string, latency map[string]any) {
	w.set(provider, map[string]any{"latency": latency})
}

// StopSidecar stops the sidecar as a supervisor would; harmless when it is stopped.
func (w *World) StopSidecar() {
	if w.sidecar != nil {
		w.sidecar.stop()
		w.sidecar = nil
	}
}

// RestartSidecar starts the sidecar again where it was.
func (w *World) RestartSidecar() { w.serve(w.Address) }

// InFlight returns how many calls to a provider the sidecar has under way.
func (w *World) InFlight(ctx context.Context, provider string) int64 {
	w.test.Helper()
	conn, err := grpc.NewClient(w.Address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		w.test.Fatal(err)
	}
	defer conn.Close()
	request := &pb.ProviderStatusRequest{Providers: []string{provider}}
	status, err := pb.NewRouterServiceClient(conn).ProviderStatus(ctx, request)
	if err != nil {
		w.test.Fatal(err)
	}
	return status.GetProviders()[0].GetInFlight()
}

func (w *World) serve(address string) {
	w.test.Helper()
	file := filepath.Join(w.folder, "turnout.yaml")
	written := fmt.Sprintf(configuration, address, w.urls["north"], model, w.urls["south"], model)
	if err := os.WriteFile(file, []byte(written), 0o600); err != nil {
		w.test.Fatal(err)
	}
	var said struct {
		GRPC []string `json:"grpc"`
	}
	w.sidecar = w.run(&said, "serve", "-c", file)
	w.Address = said.GRPC[0]
}

func (w *World) set(provider string, settings map[string]any) {
	w.test.Helper()
	body, err := json.Marshal(settings)
	if err != nil {
		w.test.Fatal(err)
	}
	request, err := http.NewRequest(http.MethodPatch, w.control+"/"+provider, bytes.NewReader(body))
	if err != nil {
		w.test.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		w.test.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		w.test.Fatalf("the simulated providers answered with %s", answer.Status)
	}
}

type process struct {
	test    testing.TB
	command *exec.Cmd
	log     string
}

// run starts a command of the product and reads the line of JSON in which it says where it listens.
func (w *World) run(said any, arguments ...string) *process {
	w.test.Helper()
	started := &process{test: w.test, command: exec.Command(os.Getenv("TURNOUT_BIN"), arguments...)}
	log, err := os.CreateTemp(w.folder, arguments[0]+"-*.log")
	if err != nil {
		w.test.Fatal(err)
	}
	defer log.Close()
	started.log = log.Name()
	started.command.Stderr = log
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		if !strings.HasSuffix(name, "_API_KEY") && !strings.HasSuffix(name, "_HOST") {
			started.command.Env = append(started.command.Env, variable)
		}
	}
	stdout, err := started.command.StdoutPipe()
	if err != nil {
		w.test.Fatal(err)
	}
	if err := started.command.Start(); err != nil {
		w.test.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, said)
	}
	if err != nil {
		_ = started.command.Process.Kill()
		_ = started.command.Wait()
		w.test.Fatalf("turnout %s did not start: %v\n%s", arguments[0], err, started.told())
	}
	return started
}

func (p *process) stop() {
	_ = p.command.Process.Signal(syscall.SIGTERM)
	late := time.AfterFunc(patience, func() { _ = p.command.Process.Kill() })
	defer late.Stop()
	if err := p.command.Wait(); err != nil {
		p.test.Errorf("%s ended with %v\n%s", p.command, err, p.told())
	}
}

func (p *process) told() string {
	content, _ := os.ReadFile(p.log)
	return string(content)
}
