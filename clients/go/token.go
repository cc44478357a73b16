package turnout

import (
	"os"
	"strings"
	"sync"
	"unicode/utf8"
)

const tokenForm = "a token is one line of ASCII characters without spaces"

// tokenSource holds the one token of a client. What comes from a file is read again when the sidecar no longer takes it.
type tokenSource struct {
	file string

	mu   sync.Mutex
	text string
}

func newTokenSource(text, file string) (*tokenSource, error) {
	if file != "" {
		read, err := readToken(file)
		if err != nil {
			return nil, err
		}
		text = read
	}
	if text != "" && !isToken(text) {
		return nil, usage("token", "what is given as token is none: %s", tokenForm)
	}
	return &tokenSource{file: file, text: text}, nil
}

// current returns the token to send, "" for none.
func (t *tokenSource) current() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text
}

// renewed tells whether there is another token than the one that was used, after another look at the file.
func (t *tokenSource) renewed(used string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file != "" {
		text, err := readToken(t.file)
		if err != nil {
			// The one before may still be good for other calls: the sidecar has said what is wrong with it.
			return false
		}
		t.text = text
	}
	return t.text != used
}

func readToken(file string) (string, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return "", usage("token", "token file %s cannot be read: %v", file, reasonOf(err))
	}
	if !utf8.Valid(content) {
		return "", usage("token", "token file %s is not UTF-8 text", file)
	}
	text := strings.TrimSpace(string(content))
	if text == "" {
		return "", usage("token", "token file %s is empty", file)
	}
	if !isToken(text) {
		return "", usage("token", "token file %s holds no token: %s", file, tokenForm)
	}
	return text, nil
}

func isToken(text string) bool {
	for _, char := range []byte(text) {
		if char < 0x21 || char > 0x7e {
			return false
		}
	}
	return true
}
