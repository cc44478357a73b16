package turnout

import (
	"context"
	"testing"
	"time"

	"turnout.dev/go/internal/scripted"
)

// patience bounds what must come in the end; nothing here is measured against it.
const patience = 60 * time.Second

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// served starts a scripted sidecar and a client of it.
func served(t *testing.T, sidecar *scripted.Sidecar, options ...Option) *Client {
	t.Helper()
	if err := sidecar.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sidecar.Stop)
	return connected(t, sidecar.Address, options...)
}

func connected(t *testing.T, address string, options ...Option) *Client {
	t.Helper()
	client, err := New(append([]Option{WithAddress(address)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// nobody returns an address that nobody listens on.
func nobody(t *testing.T) string {
	t.Helper()
	sidecar := &scripted.Sidecar{}
	if err := sidecar.Start(); err != nil {
		t.Fatal(err)
	}
	sidecar.Stop()
	return sidecar.Address
}
