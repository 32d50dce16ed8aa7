package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	typeA     = 1
	typeAAAA  = 28
	nameError = 3
)

// resolver asks the name server of the pod: $DNS_SERVER, else the first of /etc/resolv.conf. Each question is one datagram from a
// new port and is never repeated. Answers are kept for as long as the server says.
type resolver struct {
	log    *AttemptLog
	server string
	mutex  sync.Mutex
	known  map[string]answer
}

type answer struct {
	addresses []string
	until     time.Time
}

func newResolver(log *AttemptLog) *resolver {
	server := os.Getenv("DNS_SERVER")
	if server == "" {
		text, _ := os.ReadFile("/etc/resolv.conf")
		for _, line := range strings.Split(string(text), "\n") {
			fields := strings.Fields(line)
			if len(fields) == 2 && fields[0] == "nameserver" {
				server = fields[1]
				break
			}
		}
	}
	if server != "" && !strings.Contains(server, ":") {
		server = net.JoinHostPort(server, "53")
	}
	return &resolver{log: log, server: server, known: map[string]answer{}}
}

func (names *resolver) lookup(name string) ([]string, error) {
	if net.ParseIP(name) != nil {
		return []string{name}, nil
	}
	names.mutex.Lock()
	defer names.mutex.Unlock()
	if held, ok := names.known[name]; ok && time.Now().Before(held.until) {
		return held.addresses, nil
	}
	if names.server == "" {
		return nil, errors.New("no name server")
	}
	begun := time.Now()
	addresses, ttl, err := ask(names.server, name)
	attempt := Attempt{T: stamp(begun), Client: "dns", Kind: "dns", Dst: name, Expect: "pass", OK: err == nil, LatencyUs: time.Since(begun).Microseconds(), NewConnection: true}
	host, port, _ := net.SplitHostPort(names.server)
	attempt.IP = host
	_, _ = fmt.Sscan(port, &attempt.Port)
	var unknown *unknownName
	if errors.As(err, &unknown) {
		// The connection did what it should; the name is the matter of whoever asked for it.
		attempt.OK = true
	}
	if !attempt.OK {
		attempt.Err, attempt.Text = classify(err), err.Error()
	}
	names.log.write(attempt)
	if err != nil {
		return nil, err
	}
	names.known[name] = answer{addresses, time.Now().Add(ttl)}
	return addresses, nil
}

type unknownName struct{ name string }

func (err *unknownName) Error() string { return "no address of " + err.name }

func ask(server, name string) ([]string, time.Duration, error) {
	connection, err := net.Dial("udp", server)
	if err != nil {
		return nil, 0, err
	}
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(2 * time.Second))
	id := uint16(rand.Uint32())
	query := binary.BigEndian.AppendUint16(nil, id)
	query = append(query, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0)
	query = append(appendName(query, name), 0, typeA, 0, 1)
	if _, err := connection.Write(query); err != nil {
		return nil, 0, err
	}
	buffer := make([]byte, 4096)
	for {
		size, err := connection.Read(buffer)
		if err != nil {
			return nil, 0, err
		}
		message := buffer[:size]
		if size < 12 || binary.BigEndian.Uint16(message) != id {
			continue
		}
		addresses, ttl, err := parseAnswers(message)
		if err != nil {
			return nil, 0, err
		}
		if len(addresses) == 0 {
			return nil, 0, &unknownName{name}
		}
		return addresses, ttl, nil
	}
}

func appendName(to []byte, name string) []byte {
	for _, label := range strings.Split(strings.TrimSuffix(name, "."), ".") {
		to = append(append(to, byte(len(label))), label...)
	}
	return append(to, 0)
}

var errShort = errors.New("a name server's answer ends too soon")

func skipName(message []byte, at int) (int, error) {
	for at < len(message) {
		length := int(message[at])
		switch {
		case length == 0:
			return at + 1, nil
		case length&0xc0 == 0xc0:
			return at + 2, nil
		default:
			at += 1 + length
		}
	}
	return 0, errShort
}

func parseAnswers(message []byte) ([]string, time.Duration, error) {
	questions, count := int(binary.BigEndian.Uint16(message[4:])), int(binary.BigEndian.Uint16(message[6:]))
	at := 12
	var err error
	for range questions {
		if at, err = skipName(message, at); err != nil {
			return nil, 0, err
		}
		at += 4
	}
	var addresses []string
	ttl := time.Second
	for range count {
		if at, err = skipName(message, at); err != nil {
			return nil, 0, err
		}
		if at+10 > len(message) {
			return nil, 0, errShort
		}
		kind := binary.BigEndian.Uint16(message[at:])
		ttl = time.Duration(binary.BigEndian.Uint32(message[at+4:])) * time.Second
		size := int(binary.BigEndian.Uint16(message[at+8:]))
		at += 10
		if at+size > len(message) {
			return nil, 0, errShort
		}
		if kind == typeA && size == 4 {
			addresses = append(addresses, net.IP(message[at:at+4]).String())
		}
		at += size
	}
	return addresses, ttl, nil
}

// zone is the file of names: {"name": ["address", ...]}, read again when it changes.
type zone struct {
	file   string
	mutex  sync.Mutex
	read   time.Time
	stamp  time.Time
	names  map[string][]string
	broken error
}

func (zone *zone) addresses(name string) ([]string, bool) {
	zone.mutex.Lock()
	defer zone.mutex.Unlock()
	if time.Since(zone.read) > 50*time.Millisecond {
		zone.reload()
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	for _, known := range []string{name, strings.TrimSuffix(name, ".svc.cluster.local"), name + ".svc.cluster.local"} {
		if addresses, ok := zone.names[known]; ok {
			return addresses, true
		}
	}
	return nil, false
}

func (zone *zone) reload() {
	zone.read = time.Now()
	info, err := os.Stat(zone.file)
	if err != nil || (info.ModTime().Equal(zone.stamp) && zone.names != nil) {
		return
	}
	text, err := os.ReadFile(zone.file)
	if err != nil {
		return
	}
	names := map[string][]string{}
	// Half a file is a file that is being written: the names that are known stay until it is whole.
	if json.Unmarshal(text, &names) != nil {
		return
	}
	lower := make(map[string][]string, len(names))
	for name, addresses := range names {
		lower[strings.ToLower(strings.TrimSuffix(name, "."))] = addresses
	}
	zone.names, zone.stamp = lower, info.ModTime()
}

func serveDNS(port int, file string) (func(context.Context), error) {
	socket, err := net.ListenPacket("udp4", fmt.Sprintf(":%d", port))
	if err != nil {
		return nil, err
	}
	names := &zone{file: file}
	go func() {
		buffer := make([]byte, 4096)
		for {
			size, from, err := socket.ReadFrom(buffer)
			if err != nil {
				return
			}
			if reply := answerQuery(buffer[:size], names); reply != nil {
				_, _ = socket.WriteTo(reply, from)
			}
		}
	}()
	return func(context.Context) { _ = socket.Close() }, nil
}

func answerQuery(query []byte, names *zone) []byte {
	if len(query) < 17 || binary.BigEndian.Uint16(query[4:]) != 1 {
		return nil
	}
	end, err := skipName(query, 12)
	if err != nil || end+4 > len(query) {
		return nil
	}
	var labels []string
	for at := 12; query[at] != 0; at += 1 + int(query[at]) {
		// Questions are never compressed.
		if query[at]&0xc0 != 0 {
			return nil
		}
		labels = append(labels, string(query[at+1:at+1+int(query[at])]))
	}
	kind := binary.BigEndian.Uint16(query[end:])
	addresses, known := names.addresses(strings.Join(labels, "."))
	var records []net.IP
	if kind == typeA {
		for _, text := range addresses {
			if ip := net.ParseIP(text).To4(); ip != nil {
				records = append(records, ip)
			}
		}
	}
	reply := append([]byte{}, query[:end+4]...)
	reply[2], reply[3] = 0x85, 0x80
	if !known {
		reply[3] |= nameError
	}
	binary.BigEndian.PutUint16(reply[6:], uint16(len(records)))
	binary.BigEndian.PutUint32(reply[8:], 0)
	for _, ip := range records {
		reply = append(reply, 0xc0, 12, 0, typeA, 0, 1, 0, 0, 0, 2, 0, 4)
		reply = append(reply, ip...)
	}
	return reply
}
