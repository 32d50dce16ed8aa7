// A Hubble server with Cilium's own messages and Go's own gRPC, for the tests: what it hands over is said on standard input.
//
//	event JSON            a GetFlowsResponse, kept and streamed
//	forget                what is kept is gone, as when a ring buffer was written over
//	drop                  every stream under way breaks
//
// Flags: --cert, --key, --client-ca: mutual TLS. Prints its port, and a line for each command done.
package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"strings"
	"sync"

	"github.com/cilium/cilium/api/v1/observer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
)

type server struct {
	observer.UnimplementedObserverServer
	mutex  sync.Mutex
	change *sync.Cond
	kept   []*observer.GetFlowsResponse
	// Of the first that is kept.
	first int
	// Streams of an earlier epoch are over.
	epoch int
}

func (s *server) GetFlows(request *observer.GetFlowsRequest, stream observer.Observer_GetFlowsServer) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	epoch := s.epoch
	next := s.first
	go func() {
		<-stream.Context().Done()
		s.mutex.Lock()
		s.change.Broadcast()
		s.mutex.Unlock()
	}()
	for {
		if s.epoch != epoch {
			return status.Error(codes.Unavailable, "the relay is shutting down")
		}
		if stream.Context().Err() != nil {
			return stream.Context().Err()
		}
		if next < s.first {
			next = s.first
		}
		if next == s.first+len(s.kept) {
			if !request.GetFollow() {
				return nil
			}
			s.change.Wait()
			continue
		}
		one := s.kept[next-s.first]
		next++
		at := one.GetTime()
		if request.GetSince() != nil && at != nil && at.AsTime().Before(request.GetSince().AsTime()) {
			continue
		}
		if request.GetUntil() != nil && at != nil && at.AsTime().After(request.GetUntil().AsTime()) {
			continue
		}
		s.mutex.Unlock()
		err := stream.Send(one)
		s.mutex.Lock()
		if err != nil {
			return err
		}
	}
}

func main() {
	cert := flag.String("cert", "", "")
	key := flag.String("key", "", "")
	clientCA := flag.String("client-ca", "", "")
	flag.Parse()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	var options []grpc.ServerOption
	if *cert != "" {
		pair, err := tls.LoadX509KeyPair(*cert, *key)
		if err != nil {
			log.Fatal(err)
		}
		pool := x509.NewCertPool()
		pem, err := os.ReadFile(*clientCA)
		if err != nil || !pool.AppendCertsFromPEM(pem) {
			log.Fatal("no authority for clients: ", err)
		}
		options = append(options, grpc.Creds(credentials.NewTLS(&tls.Config{
			Certificates: []tls.Certificate{pair},
			ClientAuth:   tls.RequireAndVerifyClientCert,
			ClientCAs:    pool,
			MinVersion:   tls.VersionTLS13,
		})))
	}
	s := &server{}
	s.change = sync.NewCond(&s.mutex)
	engine := grpc.NewServer(options...)
	observer.RegisterObserverServer(engine, s)
	go func() { log.Fatal(engine.Serve(listener)) }()
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)

	scanner := bufio.NewScanner(os.Stdin)
	scanner.Buffer(nil, 64<<20)
	for scanner.Scan() {
		command, rest, _ := strings.Cut(scanner.Text(), " ")
		s.mutex.Lock()
		switch command {
		case "event":
			one := &observer.GetFlowsResponse{}
			if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal([]byte(rest), one); err != nil {
				fmt.Println("error", err)
				s.mutex.Unlock()
				continue
			}
			s.kept = append(s.kept, one)
		case "forget":
			s.first += len(s.kept)
			s.kept = nil
		case "drop":
			s.epoch++
		}
		s.change.Broadcast()
		s.mutex.Unlock()
		fmt.Println("ok")
	}
}
