package turnout

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func fromEnvironment(variables map[string]string) func(string) string {
	return func(name string) string { return variables[name] }
}

func TestAddressIsTheOneGivenElseTheEnvironmentsElseTheDefault(t *testing.T) {
	for _, row := range []struct {
		given       string
		environment map[string]string
		want        string
	}{
		{"127.0.0.1:1", map[string]string{addressVariable: "127.0.0.1:2"}, "127.0.0.1:1"},
		{"", map[string]string{addressVariable: "127.0.0.1:2"}, "127.0.0.1:2"},
		{"", nil, DefaultAddress},
		{"unix:/run/turnout.sock", nil, "unix:/run/turnout.sock"},
		{"[::1]:50151", nil, "[::1]:50151"},
	} {
		found, err := newSettings([]Option{WithAddress(row.given)}).resolve(fromEnvironment(row.environment))
		if err != nil || found.address != row.want {
			t.Errorf("%v: got %v, %v", row, found, err)
		}
	}
}

func TestWhatCannotWorkIsRefusedWithWhatWouldBeRight(t *testing.T) {
	folder := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, row := range map[string]struct {
		options     []Option
		environment map[string]string
		argument    string
		says        string
	}{
		"no port":        {[]Option{WithAddress("localhost")}, nil, "address", "host:port or unix:/path"},
		"port too large": {[]Option{WithAddress("localhost:70000")}, nil, "address", "host:port"},
		"a URL":          {[]Option{WithAddress("http://localhost:1")}, nil, "address", "host:port"},
		"no path":        {[]Option{WithAddress("unix:")}, nil, "address", "unix:/path"},
		"from the environment": {
			nil, map[string]string{addressVariable: "nowhere"}, "address", `"nowhere" is not an address`,
		},
		"token in the open": {
			[]Option{WithAddress("sidecar.example:1"), WithToken("secret")}, nil, "token", "in plain text",
		},
		"token file in the open": {
			[]Option{WithAddress("10.0.0.1:1"), WithTokenFile(write("token", "secret"))}, nil, "token", "in plain text",
		},
		"both": {[]Option{WithToken("a"), WithTokenFile("b")}, nil, "token", "give one of them"},
		"both in the environment": {
			nil, map[string]string{tokenVariable: "a", tokenFileVariable: "b"}, "token", "set one of them",
		},
		"no such token file":  {[]Option{WithTokenFile(folder + "/none")}, nil, "token", "cannot be read: no such file"},
		"empty token file":    {[]Option{WithTokenFile(write("empty", "\n"))}, nil, "token", "is empty"},
		"token with a space":  {[]Option{WithToken("a b")}, nil, "token", "without spaces"},
		"token of two lines":  {[]Option{WithTokenFile(write("two", "a\nb"))}, nil, "token", "holds no token"},
		"half a pair":         {[]Option{WithTLS(TLS{CertFile: "c"})}, nil, "tls", "needs both"},
		"the other half":      {nil, map[string]string{keyFileVariable: "k"}, "tls", "needs both"},
		"no such authority":   {[]Option{WithTLS(TLS{CAFile: folder + "/none"})}, nil, "tls", "cannot be read"},
		"authority not PEM":   {[]Option{WithTLS(TLS{CAFile: write("ca", "x")})}, nil, "tls", "no certificate in PEM"},
		"not a key pair":      {[]Option{WithTLS(TLS{CertFile: write("c", "x"), KeyFile: write("k", "x")})}, nil, "tls", "PEM"},
		"many fallback names": {[]Option{WithFallback(make([]string, 257)...)}, nil, "fallback", "at most 256"},
		"fallback not a name": {[]Option{WithFallback("openai")}, nil, "fallback", "provider/model"},
		"negative retries":    {[]Option{WithMaxRetryCount(-1)}, nil, "max_retry_count", "0 or more"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, variable := range []string{
				addressVariable, tokenVariable, tokenFileVariable, caFileVariable, certFileVariable, keyFileVariable,
				serverNameVariable,
			} {
				t.Setenv(variable, row.environment[variable])
			}
			_, err := New(row.options...)
			var wrong *UsageError
			if !errors.As(err, &wrong) {
				t.Fatalf("got %v", err)
			}
			if wrong.Argument != row.argument || !strings.Contains(wrong.Message, row.says) {
				t.Errorf("got %s: %s", wrong.Argument, wrong.Message)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the token is in the error: %v", err)
			}
		})
	}
}

func TestUnixSocketHasNoTLS(t *testing.T) {
	options := []Option{WithAddress("unix:/run/t.sock"), WithTLS(TLS{CAFile: "/none"}), WithToken("secret")}
	found, err := newSettings(options).resolve(fromEnvironment(map[string]string{caFileVariable: "/none"}))
	if err != nil || found.tls != nil || found.token.current() != "secret" {
		t.Errorf("got %v, %v", found, err)
	}
}

func TestTokenFileIsReadAgainAndABadOneLeavesTheTokenBefore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	write := func(content string) {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first\n")
	source, err := newTokenSource("", path)
	if err != nil {
		t.Fatal(err)
	}
	if source.renewed("first") {
		t.Error("the same token is called renewed")
	}
	write("")
	if source.renewed("first") || source.current() != "first" {
		t.Error("an empty file took the token away")
	}
	write("second")
	if !source.renewed("first") || source.current() != "second" {
		t.Errorf("got %s", source.current())
	}
}
