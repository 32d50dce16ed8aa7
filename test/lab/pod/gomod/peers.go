package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Peers are training workers. Each listens on ports that the kernel chose and tells the others through the first of them, on
// the rendezvous port, as PyTorch's process groups and NCCL do. Every ReopenMs they choose other ports, as a new run does.
type Peers struct {
	Rendezvous string `json:"rendezvous"`
	Port       int    `json:"port"`
	Listeners  int    `json:"listeners"`
	EveryMs    int    `json:"everyMs"`
	ReopenMs   int    `json:"reopenMs"`
	// First is this worker's own address in tests on one machine; else it is found out.
	Own string `json:"own"`
}

type membership struct {
	Address string `json:"address"`
	Ports   []int  `json:"ports"`
	seen    time.Time
}

// run returns how many attempts failed.
func (peers *Peers) run(stopped context.Context, dial *dialer, wait time.Duration) int {
	own := peers.Own
	if own == "" {
		own = ownAddress()
	}
	members := map[string]membership{}
	var mutex sync.Mutex
	meeting := &http.Server{Handler: http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		var from membership
		if json.NewDecoder(io.LimitReader(request.Body, 1<<16)).Decode(&from) != nil {
			http.Error(response, "not a member", http.StatusBadRequest)
			return
		}
		mutex.Lock()
		from.seen = time.Now()
		members[from.Address] = from
		var all []membership
		for _, member := range members {
			if time.Since(member.seen) < 2*time.Second {
				all = append(all, member)
			}
		}
		mutex.Unlock()
		_ = json.NewEncoder(response).Encode(all)
	})}
	listener, err := net.Listen("tcp4", fmt.Sprintf("%s:%d", peers.Own, peers.Port))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	go func() { _ = meeting.Serve(listener) }()
	defer meeting.Close()

	bad := 0
	client := &Client{Name: "rendezvous", Kind: "tcp", Expect: "pass", TimeoutMs: 5000}
	ring := &Client{Name: "ring", Kind: "tcp", Expect: "pass", TimeoutMs: 5000}
	var closers []func(context.Context)
	var ports []int
	reopen := func() {
		old := closers
		closers, ports = nil, nil
		for range peers.Listeners {
			listener, err := net.Listen("tcp4", peers.Own+":0")
			if err != nil {
				continue
			}
			ports = append(ports, listener.Addr().(*net.TCPAddr).Port)
			closers = append(closers, serveEcho(listener))
		}
		// Peers that have not heard yet go on for a moment on the old ones.
		time.AfterFunc(3*time.Second, func() {
			done, cancel := context.WithCancel(context.Background())
			cancel()
			for _, closer := range old {
				closer(done)
			}
		})
	}
	reopen()
	opened := time.Now()
	every := time.Duration(peers.EveryMs) * time.Millisecond
	if !pause(stopped, wait+time.Duration(rand.Int64N(int64(every)))) {
		return 0
	}
	for {
		if peers.ReopenMs > 0 && time.Since(opened) > time.Duration(peers.ReopenMs)*time.Millisecond {
			reopen()
			opened = time.Now()
		}
		if addresses, err := dial.names.lookup(peers.Rendezvous); err == nil {
			slices.Sort(addresses)
			attempt, known := meet(client, addresses[0], peers, membership{Address: own, Ports: ports})
			// To itself it speaks inside its own pod, where no policy is.
			if addresses[0] != own {
				dial.log.write(attempt)
			}
			if !attempt.OK {
				bad++
			}
			for _, member := range known {
				if member.Address == own || len(member.Ports) == 0 {
					continue
				}
				port := member.Ports[rand.IntN(len(member.Ports))]
				attempt := dial.one(ring, member.Address, member.Address, port)
				dial.log.write(attempt)
				if !attempt.OK {
					bad++
				}
			}
		}
		if !pause(stopped, every) {
			return bad
		}
	}
}

// meet tells the first worker where this one listens, and hears of the others.
func meet(client *Client, address string, peers *Peers, own membership) (Attempt, []membership) {
	begun := time.Now()
	attempt := Attempt{T: stamp(begun), Client: client.Name, Kind: client.Kind, Dst: peers.Rendezvous, IP: address, Port: peers.Port, Expect: client.Expect, NewConnection: true}
	text, _ := json.Marshal(own)
	connection, err := net.DialTimeout("tcp", net.JoinHostPort(address, fmt.Sprint(peers.Port)), 5*time.Second)
	var known []membership
	if err == nil {
		attempt.Retransmits = retransmits(connection)
		known, err = exchange(connection, begun, text)
	}
	attempt.LatencyUs = time.Since(begun).Microseconds()
	attempt.OK = err == nil
	if err != nil {
		attempt.Err, attempt.Text = classify(err), short(err.Error())
	}
	return attempt, known
}

func exchange(connection net.Conn, begun time.Time, text []byte) ([]membership, error) {
	defer connection.Close()
	_ = connection.SetDeadline(begun.Add(5 * time.Second))
	request, err := http.NewRequest("POST", "http://rendezvous/", bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	request.Close = true
	if err := request.Write(connection); err != nil {
		return nil, err
	}
	response, err := http.ReadResponse(bufio.NewReader(connection), request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var known []membership
	err = json.NewDecoder(response.Body).Decode(&known)
	return known, err
}
