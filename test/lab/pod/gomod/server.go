package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
)

// Server answers. Kinds: http (HTTP/1.1 and, in plain text, HTTP/2), tcp and udp (ping, pong), dns.
type Server struct {
	Kind string `json:"kind"`
	Port int    `json:"port"`
	// Forward is whom an HTTP server asks before it answers, one after the other; one that fails makes the answer 502.
	Forward []Client `json:"forward"`
}

// /healthz is there from the moment the port is.
func (server Server) start(dial *dialer) (func(context.Context), error) {
	switch server.Kind {
	case "http", "h2c":
		return server.http(dial)
	case "tcp":
		return server.tcp()
	case "udp":
		return server.udp()
	case "dns":
		return serveDNS(server.Port, fileOf("LAB_DNS_FILE", "dns.json"))
	}
	return nil, fmt.Errorf("no kind %q", server.Kind)
}

// In X-Forwarded-Client-Cert a proxy names the caller that it authenticated.
var spiffe = regexp.MustCompile(`URI=(spiffe://[^;,]+)`)

func (server Server) http(dial *dialer) (func(context.Context), error) {
	for i := range server.Forward {
		if err := server.Forward[i].complete(); err != nil {
			return nil, err
		}
	}
	listener, err := net.Listen("tcp4", fmt.Sprintf(":%d", server.Port))
	if err != nil {
		return nil, err
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	handler := http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		response.Header().Set("x-lab-by", podName())
		if found := spiffe.FindStringSubmatch(request.Header.Get("x-forwarded-client-cert")); found != nil {
			response.Header().Set("x-lab-principal", found[1])
		}
		if request.URL.Path != "/healthz" {
			for i := range server.Forward {
				next := &server.Forward[i]
				host, port, _ := net.SplitHostPort(next.Targets[0])
				var number int
				_, _ = fmt.Sscan(port, &number)
				for _, attempt := range dial.attempt(next, host, number, 0) {
					if !attempt.OK {
						http.Error(response, fmt.Sprintf("%s:%d %s %s", attempt.Dst, attempt.Port, attempt.Err, attempt.Text), http.StatusBadGateway)
						return
					}
				}
			}
		}
		_, _ = response.Write([]byte("ok\n"))
	})
	serving := &http.Server{Handler: handler, Protocols: &protocols}
	go func() {
		if err := serving.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			fmt.Fprintln(os.Stderr, "labpod: serving:", err)
		}
	}()
	return func(within context.Context) { _ = serving.Shutdown(within) }, nil
}

func (server Server) tcp() (func(context.Context), error) {
	listener, err := net.Listen("tcp4", fmt.Sprintf(":%d", server.Port))
	if err != nil {
		return nil, err
	}
	return serveEcho(listener), nil
}

func serveEcho(listener net.Listener) func(context.Context) {
	var open sync.WaitGroup
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			open.Add(1)
			go func() {
				defer open.Done()
				defer connection.Close()
				lines := bufio.NewScanner(connection)
				for lines.Scan() {
					if strings.TrimSpace(lines.Text()) != "ping" {
						return
					}
					if _, err := fmt.Fprintf(connection, "pong %s\n", podName()); err != nil {
						return
					}
				}
			}()
		}
	}()
	return func(within context.Context) {
		_ = listener.Close()
		ended := make(chan struct{})
		go func() { open.Wait(); close(ended) }()
		select {
		case <-ended:
		case <-within.Done():
		}
	}
}

func (server Server) udp() (func(context.Context), error) {
	socket, err := net.ListenPacket("udp4", fmt.Sprintf(":%d", server.Port))
	if err != nil {
		return nil, err
	}
	go func() {
		buffer := make([]byte, 2048)
		for {
			size, from, err := socket.ReadFrom(buffer)
			if err != nil {
				return
			}
			if strings.TrimSpace(string(buffer[:size])) == "ping" {
				_, _ = socket.WriteTo([]byte("pong "+podName()+"\n"), from)
			}
		}
	}()
	return func(context.Context) { _ = socket.Close() }, nil
}
