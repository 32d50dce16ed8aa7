// Command labpod is every container of the lab: small real servers and clients that speak as the parts of an ML pipeline do. What it
// plays is one JSON text, in --config or in $LABPOD. Each attempt of a client is a new connection, is never retried, and is one line of
// JSON on standard output.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Config is what one container plays.
type Config struct {
	Servers []Server `json:"servers"`
	Clients []Client `json:"clients"`
	Peers   *Peers   `json:"peers"`
	// DrainMs is how long servers go on after SIGTERM, while endpoints are withdrawn.
	DrainMs *int `json:"drainMs"`
	// StartAfterMs is how long clients wait: a network plugin may learn of a new address a moment after the pod has started.
	StartAfterMs *int `json:"startAfterMs"`
	// Exit ends the program once every client has made its count of attempts: 0 if all ended as expected, else 1.
	Exit bool `json:"exit"`
}

func main() {
	text := flag.String("config", os.Getenv("LABPOD"), "what to play, as JSON")
	flag.Parse()
	config, err := parseConfig(*text)
	if err != nil {
		fmt.Fprintln(os.Stderr, "labpod:", err)
		os.Exit(2)
	}
	code, err := run(config)
	if err != nil {
		fmt.Fprintln(os.Stderr, "labpod:", err)
	}
	os.Exit(code)
}

func parseConfig(text string) (Config, error) {
	var config Config
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&config); err != nil {
		return config, fmt.Errorf("the configuration does not read: %w", err)
	}
	for i := range config.Clients {
		if err := config.Clients[i].complete(); err != nil {
			return config, err
		}
	}
	return config, nil
}

func orDefault(value *int, otherwise int) time.Duration {
	if value == nil {
		return time.Duration(otherwise) * time.Millisecond
	}
	return time.Duration(*value) * time.Millisecond
}

func run(config Config) (int, error) {
	out := newLog(os.Stdout)
	defer out.close()
	names := newResolver(out)

	stopped, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()

	dial := &dialer{log: out, names: names}
	var closers []func(context.Context)
	for _, server := range config.Servers {
		closer, err := server.start(dial)
		if err != nil {
			return 1, fmt.Errorf("serving %s on port %d: %w", server.Kind, server.Port, err)
		}
		closers = append(closers, closer)
	}

	var clients sync.WaitGroup
	failed := make(chan int, len(config.Clients)+1)
	wait := orDefault(config.StartAfterMs, 1500)
	for _, client := range config.Clients {
		clients.Add(1)
		go func() {
			defer clients.Done()
			failed <- client.run(stopped, dial, wait)
		}()
	}
	if config.Peers != nil {
		clients.Add(1)
		go func() {
			defer clients.Done()
			failed <- config.Peers.run(stopped, dial, wait)
		}()
	}

	if config.Exit {
		clients.Wait()
		close(failed)
		for count := range failed {
			if count > 0 {
				return 1, errors.New("attempts ended as they should not")
			}
		}
		return 0, nil
	}
	<-stopped.Done()
	clients.Wait()
	if len(closers) == 0 {
		return 0, nil
	}
	time.Sleep(orDefault(config.DrainMs, 2500))
	ending, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	var all sync.WaitGroup
	for _, closer := range closers {
		all.Add(1)
		go func() { defer all.Done(); closer(ending) }()
	}
	all.Wait()
	return 0, nil
}

func podName() string {
	if name := os.Getenv("POD_NAME"); name != "" {
		return name
	}
	name, _ := os.Hostname()
	return name
}

// ownAddress is the address that this network namespace speaks from.
func ownAddress() string {
	connection, err := net.Dial("udp", "192.0.2.1:9")
	if err != nil {
		return "127.0.0.1"
	}
	defer connection.Close()
	host, _, _ := net.SplitHostPort(connection.LocalAddr().String())
	return host
}

// fileOf is a file that the stage and its pods share: where a variable says, else in $LABPOD_DIR, else in /lab.
func fileOf(variable, name string) string {
	if variable != "" && os.Getenv(variable) != "" {
		return os.Getenv(variable)
	}
	dir := os.Getenv("LABPOD_DIR")
	if dir == "" {
		dir = "/lab"
	}
	return filepath.Join(dir, name)
}
