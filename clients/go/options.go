package turnout

import (
	"time"

	"google.golang.org/grpc"
)

// Version is that of this package.
const Version = "0.1.0"

const defaultMaxRetryCount = 3

// Option says how a [Client] finds the sidecar and behaves.
type Option func(*settings)

// settings are what the options said, not checked yet.
type settings struct {
	address       string
	token         string
	tokenFile     string
	tls           *TLS
	maxRetryCount int
	planCache     bool
	fallback      map[string][]string
	dial          []grpc.DialOption
}

func newSettings(options []Option) *settings {
	s := &settings{maxRetryCount: defaultMaxRetryCount, planCache: true, fallback: map[string][]string{}}
	for _, option := range options {
		option(s)
	}
	return s
}

// WithAddress says where the sidecar is: host:port, or unix:/path. Empty or left out: TURNOUT_ADDRESS, else
// [DefaultAddress].
func WithAddress(address string) Option { return func(s *settings) { s.address = address } }

// WithToken sends a bearer token with every call. It goes over TLS or stays on this machine; [New] refuses anything
// else. Left out, with no token file either: TURNOUT_TOKEN, or the file that TURNOUT_TOKEN_FILE names.
func WithToken(token string) Option { return func(s *settings) { s.token = token } }

// WithTokenFile sends the bearer token that a file holds. When the sidecar no longer takes it, the file is read again,
// and with another token in it the call is made once more.
func WithTokenFile(path string) Option { return func(s *settings) { s.tokenFile = path } }

// WithTLS speaks TLS. Left out: as TURNOUT_CA_FILE, TURNOUT_CERT_FILE, TURNOUT_KEY_FILE and TURNOUT_SERVER_NAME say;
// with none of them there is no TLS. The files are read by [New]: with a new certificate of your own, make a new client.
func WithTLS(how TLS) Option { return func(s *settings) { s.tls = &how } }

// WithMaxRetryCount bounds how often a call is made again by itself, 0 for never. Left out: 3.
func WithMaxRetryCount(count int) Option { return func(s *settings) { s.maxRetryCount = count } }

// WithoutPlanCache asks the sidecar for every plan, even while an earlier one may be reused, and keeps no plan for the
// time when the sidecar is away. Targets of [WithFallback] are used all the same.
func WithoutPlanCache() Option { return func(s *settings) { s.planCache = false } }

// WithFallback says which targets to call, in this order, when the sidecar is away and no earlier plan fits. A target is
// written "provider/model" or "provider/model@endpoint". Those that a request's own options rule out are not called.
func WithFallback(targets ...string) Option { return WithTaskFallback("", targets...) }

// WithTaskFallback does the same for the requests of one task; those of other tasks use what [WithFallback] says.
func WithTaskFallback(task string, targets ...string) Option {
	return func(s *settings) { s.fallback[task] = targets }
}

// WithDialOptions hands further options to gRPC, such as interceptors or a stats handler for metrics of one's own.
func WithDialOptions(options ...grpc.DialOption) Option {
	return func(s *settings) { s.dial = append(s.dial, options...) }
}

// CallOption says how one call is made.
type CallOption func(*callSettings)

type callSettings struct {
	timeout    time.Duration
	hasTimeout bool
}

// WithTimeout bounds a call with all its tries, in place of the default of its RPC. The context's own deadline holds
// too, where it is sooner.
func WithTimeout(timeout time.Duration) CallOption {
	return func(s *callSettings) { s.timeout, s.hasTimeout = timeout, true }
}

func newCallSettings(options []CallOption) callSettings {
	var s callSettings
	for _, option := range options {
		option(&s)
	}
	return s
}
