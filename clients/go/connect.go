package turnout

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// DefaultAddress is where a sidecar listens out of the box.
const DefaultAddress = "127.0.0.1:50151"

// MaxMessageBytes is the longest message either side takes, in bytes: the sidecar's own limit.
const MaxMessageBytes = 32 * 1024 * 1024

// What is not given as an option is taken from these variables of the environment.
const (
	addressVariable    = "TURNOUT_ADDRESS"
	tokenVariable      = "TURNOUT_TOKEN"
	tokenFileVariable  = "TURNOUT_TOKEN_FILE"
	caFileVariable     = "TURNOUT_CA_FILE"
	certFileVariable   = "TURNOUT_CERT_FILE"
	keyFileVariable    = "TURNOUT_KEY_FILE"
	serverNameVariable = "TURNOUT_SERVER_NAME"
)

const (
	reconnectFirst  = 100 * time.Millisecond
	reconnectLast   = 2 * time.Second
	connectDeadline = 5 * time.Second
	aliveAfter      = 20 * time.Second
	aliveWithin     = 10 * time.Second
)

// TLS says how the sidecar and the client prove who they are. The zero value uses the system's roots and no certificate
// of one's own. A Unix socket has no TLS in any case.
type TLS struct {
	// CAFile is a PEM file with the authorities that the sidecar's certificate is checked against. Empty: the system's.
	CAFile string
	// CertFile is a PEM file with the client's own certificate, for mutual TLS. Empty: none. Needs KeyFile.
	CertFile string
	// KeyFile is a PEM file with the key of CertFile.
	KeyFile string
	// ServerName is what the sidecar's certificate must say. Empty: the host of the address.
	ServerName string
}

// connection is a checked way to the sidecar.
type connection struct {
	address string
	token   *tokenSource
	tls     *tls.Config
}

// resolve returns the way to the sidecar: as the options say, and for what they do not say as the environment does.
func (s *settings) resolve(environment func(string) string) (*connection, error) {
	address := firstOf(s.address, environment(addressVariable), DefaultAddress)
	if err := checkAddress(address); err != nil {
		return nil, err
	}
	token, tokenFile := s.token, s.tokenFile
	if token != "" && tokenFile != "" {
		return nil, usage("token", "both a token and a token file are given: give one of them")
	}
	if token == "" && tokenFile == "" {
		token, tokenFile = strings.TrimSpace(environment(tokenVariable)), environment(tokenFileVariable)
		if token != "" && tokenFile != "" {
			return nil, usage("token", "%s and %s are both set: set one of them", tokenVariable, tokenFileVariable)
		}
	}
	overTLS := s.tls
	if isSocket(address) {
		overTLS = nil
	} else if overTLS == nil {
		overTLS = tlsOf(environment)
	}
	if (token != "" || tokenFile != "") && overTLS == nil && !isLocal(address) {
		return nil, usage("token",
			"a token would go to %s in plain text: switch TLS on (WithTLS or %s), or use a local address",
			address, caFileVariable)
	}
	source, err := newTokenSource(token, tokenFile)
	if err != nil {
		return nil, err
	}
	found := &connection{address: address, token: source}
	if overTLS != nil {
		if found.tls, err = overTLS.config(); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// dial returns the channel; connecting happens with the first call.
func (c *connection) dial(extra []grpc.DialOption) (*grpc.ClientConn, error) {
	transport := insecure.NewCredentials()
	if c.tls != nil {
		transport = credentials.NewTLS(c.tls)
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(MaxMessageBytes), grpc.MaxCallSendMsgSize(MaxMessageBytes)),
		// A sidecar is next door: an egress proxy of the environment must not come between.
		grpc.WithNoProxy(),
		// Which calls are made again is decided in retry.go alone.
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
		// A restarted sidecar is back within seconds; gRPC's default would wait up to two minutes.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay: reconnectFirst, Multiplier: 1.6, Jitter: 0.2, MaxDelay: reconnectLast,
			},
			MinConnectTimeout: connectDeadline,
		}),
		// A connection that died without a word would take every call into its deadline for a quarter of an hour. The
		// sidecar allows a ping every 5 s, also without calls.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: aliveAfter, Timeout: aliveWithin, PermitWithoutStream: true,
		}),
		grpc.WithUserAgent("turnout-go/" + Version),
	}
	conn, err := grpc.NewClient(c.address, append(options, extra...)...)
	if err != nil {
		return nil, usage("address", "%q is not an address that gRPC can use: %v", c.address, err)
	}
	return conn, nil
}

func (t *TLS) config() (*tls.Config, error) {
	if (t.CertFile == "") != (t.KeyFile == "") {
		return nil, usage("tls", "TLS has one of certificate and key: mutual TLS needs both")
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CAFile != "" {
		pem, err := readFile("CA", t.CAFile)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, usage("tls", "CA file %s holds no certificate in PEM", t.CAFile)
		}
	}
	if t.CertFile != "" {
		cert, err := readFile("certificate", t.CertFile)
		if err != nil {
			return nil, err
		}
		key, err := readFile("key", t.KeyFile)
		if err != nil {
			return nil, err
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, usage("tls", "%s and %s are not a certificate and its key in PEM: %v", t.CertFile, t.KeyFile, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

func tlsOf(environment func(string) string) *TLS {
	found := TLS{
		CAFile:     environment(caFileVariable),
		CertFile:   environment(certFileVariable),
		KeyFile:    environment(keyFileVariable),
		ServerName: environment(serverNameVariable),
	}
	if found == (TLS{}) {
		return nil
	}
	return &found
}

func checkAddress(address string) error {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		if strings.Trim(path, "/") != "" {
			return nil
		}
	} else if !strings.Contains(address, "/") {
		host, port, err := net.SplitHostPort(address)
		number, portErr := strconv.ParseUint(port, 10, 16)
		if err == nil && portErr == nil && host != "" && number > 0 {
			return nil
		}
	}
	return usage("address", "%q is not an address of a sidecar: give host:port or unix:/path, such as %s",
		address, DefaultAddress)
}

func isSocket(address string) bool { return strings.HasPrefix(address, "unix:") }

func isLocal(address string) bool {
	if isSocket(address) {
		return true
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func readFile(what, path string) ([]byte, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, usage("tls", "%s file %s cannot be read: %v", what, path, reasonOf(err))
	}
	return content, nil
}

// reasonOf leaves out what an *os.PathError repeats of the path.
func reasonOf(err error) error {
	if path, ok := err.(*os.PathError); ok { //nolint:errorlint // only the outermost error repeats the path
		return path.Err
	}
	return err
}

func firstOf(values ...string) string {
	for _, value := range values {
		if value != "" {
			return value
		}
	}
	return ""
}

func usage(argument, format string, values ...any) error {
	return &UsageError{Argument: argument, Message: fmt.Sprintf(format, values...)}
}
