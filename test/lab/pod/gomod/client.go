package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// Client tries connections, one every EveryMs, or Count of them.
type Client struct {
	Name string `json:"name"`
	// To is a name or an address; Targets are several of the form name:port, in turn.
	To      string   `json:"to"`
	Port    int      `json:"port"`
	Targets []string `json:"targets"`
	// Kind is http, h2c, tcp or udp.
	Kind    string            `json:"kind"`
	Method  string            `json:"method"`
	Path    string            `json:"path"`
	Headers map[string]string `json:"headers"`
	EveryMs int               `json:"everyMs"`
	Count   int               `json:"count"`
	// Expect is pass or blocked.
	Expect    string `json:"expect"`
	TimeoutMs int    `json:"timeoutMs"`
	// All asks for each address of the name in turn instead of any: who scrapes pods goes to all of them.
	All bool `json:"all"`
	// Pooled keeps connections: for figures of cost, never for proofs.
	Pooled bool `json:"pooled"`
	// When names a file of the stage; nothing is tried while it is not there.
	When string `json:"when"`
}

func (client *Client) complete() error {
	if client.Kind == "" {
		client.Kind = "http"
	}
	if client.Method == "" {
		client.Method = "GET"
	}
	if client.Path == "" {
		client.Path = "/"
	}
	if client.Expect == "" {
		client.Expect = "pass"
	}
	if client.EveryMs == 0 {
		client.EveryMs = 1000
	}
	if client.TimeoutMs == 0 {
		// A blocked packet is sent again after a second: less, and one attempt is one packet.
		client.TimeoutMs = map[string]int{"pass": 5000, "blocked": 800}[client.Expect]
	}
	if client.TimeoutMs == 0 {
		return fmt.Errorf("client %s: expect is pass or blocked, not %q", client.Name, client.Expect)
	}
	if len(client.Targets) == 0 {
		client.Targets = []string{net.JoinHostPort(client.To, strconv.Itoa(client.Port))}
	}
	if client.Name == "" {
		client.Name = client.Targets[0]
	}
	for _, target := range client.Targets {
		_, port, err := net.SplitHostPort(target)
		if number, bad := strconv.Atoi(port); err != nil || bad != nil || number < 1 || number > 65535 {
			return fmt.Errorf("client %s: %q is not name:port", client.Name, target)
		}
	}
	switch client.Kind {
	case "http", "h2c", "tcp", "udp":
		return nil
	}
	return fmt.Errorf("client %s: no kind %q", client.Name, client.Kind)
}

// run returns how many attempts did not end as expected.
func (client *Client) run(stopped context.Context, dial *dialer, wait time.Duration) int {
	every := time.Duration(client.EveryMs) * time.Millisecond
	// Pods that start together would else speak together.
	if !pause(stopped, wait+time.Duration(rand.Int64N(int64(every)))) {
		return 0
	}
	var flying sync.WaitGroup
	var bad atomic.Int64
	slots := make(chan struct{}, 8)
	for turn := 0; client.Count == 0 || turn < client.Count; {
		if client.armed() {
			target := client.Targets[turn%len(client.Targets)]
			host, port, _ := net.SplitHostPort(target)
			number, _ := strconv.Atoi(port)
			nth := turn / len(client.Targets)
			turn++
			slots <- struct{}{}
			flying.Add(1)
			go func() {
				defer flying.Done()
				defer func() { <-slots }()
				for _, attempt := range dial.attempt(client, host, number, nth) {
					if attempt.OK != (client.Expect == "pass") {
						bad.Add(1)
					}
				}
			}()
			if turn == client.Count {
				break
			}
		}
		// Even beats would make the same clients meet again and again.
		if !pause(stopped, every/2+time.Duration(rand.Int64N(int64(every)))) {
			break
		}
	}
	flying.Wait()
	return int(bad.Load())
}

func (client *Client) armed() bool {
	if client.When == "" {
		return true
	}
	_, err := os.Stat(fileOf("", client.When))
	return err == nil
}

func pause(stopped context.Context, long time.Duration) bool {
	timer := time.NewTimer(long)
	defer timer.Stop()
	select {
	case <-stopped.Done():
		return false
	case <-timer.C:
		return true
	}
}

// dialer makes attempts and writes them down.
type dialer struct {
	log    *AttemptLog
	names  *resolver
	mutex  sync.Mutex
	pooled map[string]*http.Client
}

// attempt tries one connection, or one to each address where the client asks for all of them.
func (dial *dialer) attempt(client *Client, host string, port int, nth int) []Attempt {
	addresses, err := dial.names.lookup(host)
	if err != nil {
		attempt := Attempt{T: stamp(time.Now()), Client: client.Name, Kind: client.Kind, Dst: host, Port: port, Expect: client.Expect, NewConnection: true}
		attempt.Err, attempt.Text = "resolve", err.Error()
		dial.log.write(attempt)
		return []Attempt{attempt}
	}
	if !client.All {
		addresses = addresses[rand.IntN(len(addresses)):][:1]
	}
	own := ownAddress()
	var attempts []Attempt
	for _, address := range addresses {
		if client.All && address == own {
			continue
		}
		attempt := dial.one(client, host, address, port)
		dial.log.write(attempt)
		attempts = append(attempts, attempt)
	}
	return attempts
}

func (dial *dialer) one(client *Client, host, address string, port int) Attempt {
	attempt := Attempt{Client: client.Name, Kind: client.Kind, Dst: host, IP: address, Port: port, Expect: client.Expect, NewConnection: !client.Pooled}
	if address == host {
		attempt.IP = ""
	}
	limit := time.Duration(client.TimeoutMs) * time.Millisecond
	begun := time.Now()
	attempt.T = stamp(begun)
	var err error
	switch client.Kind {
	case "tcp", "udp":
		err = dial.echo(client.Kind, address, port, begun, limit, &attempt)
	case "h2c":
		err = dial.viaTransport(client, host, address, port, limit, &attempt)
	default:
		if client.Pooled {
			err = dial.viaTransport(client, host, address, port, limit, &attempt)
		} else {
			err = dial.http(client, host, address, port, begun, limit, &attempt)
		}
	}
	attempt.LatencyUs = time.Since(begun).Microseconds()
	attempt.OK = err == nil
	if err != nil {
		attempt.Err, attempt.Text = classify(err), short(err.Error())
	}
	return attempt
}

func (dial *dialer) connect(network, address string, port int, begun time.Time, limit time.Duration, attempt *Attempt) (net.Conn, error) {
	connection, err := net.DialTimeout(network, net.JoinHostPort(address, strconv.Itoa(port)), limit)
	if err != nil {
		return nil, err
	}
	attempt.ConnectUs = time.Since(begun).Microseconds()
	attempt.Retransmits = retransmits(connection)
	_ = connection.SetDeadline(begun.Add(limit))
	return connection, nil
}

func (dial *dialer) echo(network, address string, port int, begun time.Time, limit time.Duration, attempt *Attempt) error {
	connection, err := dial.connect(network, address, port, begun, limit, attempt)
	if err != nil {
		return err
	}
	defer connection.Close()
	if _, err := fmt.Fprintln(connection, "ping"); err != nil {
		return err
	}
	line, err := bufio.NewReader(connection).ReadString('\n')
	if err != nil {
		return err
	}
	word, by, _ := strings.Cut(strings.TrimSpace(line), " ")
	if word != "pong" {
		return fmt.Errorf("it answered %q", short(line))
	}
	attempt.By = by
	return nil
}

type statusError struct {
	code int
	text string
}

func (err *statusError) Error() string { return fmt.Sprintf("HTTP %d %s", err.code, err.text) }

func (dial *dialer) http(client *Client, host, address string, port int, begun time.Time, limit time.Duration, attempt *Attempt) error {
	connection, err := dial.connect("tcp", address, port, begun, limit, attempt)
	if err != nil {
		return err
	}
	defer connection.Close()
	request, err := newRequest(client, host, port)
	if err != nil {
		return err
	}
	request.Close = true
	if err := request.Write(connection); err != nil {
		return err
	}
	response, err := http.ReadResponse(bufio.NewReader(connection), request)
	if err != nil {
		return err
	}
	return readResponse(response, attempt)
}

func newRequest(client *Client, host string, port int) (*http.Request, error) {
	var body io.Reader
	if client.Method == "POST" || client.Method == "PUT" {
		body = strings.NewReader(`{"instances":[1]}`)
	}
	request, err := http.NewRequest(client.Method, "http://"+net.JoinHostPort(host, strconv.Itoa(port))+client.Path, body)
	if err == nil {
		for name, value := range client.Headers {
			request.Header.Set(name, value)
		}
	}
	return request, err
}

func readResponse(response *http.Response, attempt *Attempt) error {
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<16))
	attempt.Status = response.StatusCode
	attempt.By = response.Header.Get("x-lab-by")
	attempt.Principal = response.Header.Get("x-lab-principal")
	if response.StatusCode >= 300 {
		return &statusError{response.StatusCode, short(strings.TrimSpace(string(text)))}
	}
	return err
}

// viaTransport is for HTTP/2 and for connections that are kept.
func (dial *dialer) viaTransport(client *Client, host, address string, port int, limit time.Duration, attempt *Attempt) error {
	make := func() *http.Client {
		var protocols http.Protocols
		protocols.SetHTTP1(client.Kind != "h2c")
		protocols.SetUnencryptedHTTP2(client.Kind == "h2c")
		return &http.Client{Transport: &http.Transport{
			Protocols: &protocols,
			DialContext: func(_ context.Context, network, _ string) (net.Conn, error) {
				begun := time.Now()
				connection, err := net.DialTimeout(network, net.JoinHostPort(address, strconv.Itoa(port)), limit)
				if err == nil && !client.Pooled {
					attempt.ConnectUs = time.Since(begun).Microseconds()
					attempt.Retransmits = retransmits(connection)
				}
				return connection, err
			},
		}}
	}
	var use *http.Client
	if client.Pooled {
		use = dial.keep(client.Name+" "+address, make)
	} else {
		use = make()
		defer use.CloseIdleConnections()
	}
	request, err := newRequest(client, host, port)
	if err != nil {
		return err
	}
	within, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	response, err := use.Do(request.WithContext(within))
	if err != nil {
		return err
	}
	return readResponse(response, attempt)
}

func (dial *dialer) keep(key string, build func() *http.Client) *http.Client {
	dial.mutex.Lock()
	defer dial.mutex.Unlock()
	if dial.pooled == nil {
		dial.pooled = map[string]*http.Client{}
	}
	if dial.pooled[key] == nil {
		dial.pooled[key] = build()
	}
	return dial.pooled[key]
}

func classify(err error) string {
	var status *statusError
	var network net.Error
	switch {
	case errors.As(err, &status):
		return "status"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "unreachable"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	case errors.As(err, &network) && network.Timeout():
		return "timeout"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "closed"
	}
	return "other"
}

func short(text string) string {
	if len(text) > 300 {
		return text[:300]
	}
	return text
}

// totalRetransmits is where the kernel's tcp_info holds tcpi_total_retrans.
const totalRetransmits = 100

func retransmits(connection net.Conn) uint32 {
	tcp, ok := connection.(*net.TCPConn)
	if !ok {
		return 0
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return 0
	}
	var count uint32
	_ = raw.Control(func(descriptor uintptr) {
		var info [256]byte
		size := uint32(len(info))
		_, _, failed := syscall.Syscall6(syscall.SYS_GETSOCKOPT, descriptor, syscall.IPPROTO_TCP, syscall.TCP_INFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		if failed == 0 && size >= totalRetransmits+4 {
			count = *(*uint32)(unsafe.Pointer(&info[totalRetransmits]))
		}
	})
	return count
}
