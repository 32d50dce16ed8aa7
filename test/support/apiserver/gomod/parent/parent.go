// Package parent ends a test server together with the process that started it.
package parent

import (
	"io"
	"os"
)

// EndWithStdin exits the process once standard input is closed, if EXIT_WITH_STDIN=1. The operating system closes that
// pipe even when the starting process is killed outright, so no server outlives its test run.
func EndWithStdin() {
	if os.Getenv("EXIT_WITH_STDIN") != "1" {
		return
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
}
