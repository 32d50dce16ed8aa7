package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	nodeName   = "lab-node"
	nodeIP     = "10.244.0.1"
	podCIDR    = "10.244.0.0/16"
	serviceNet = "10.96.0.0/16"
	gatewayIP  = "169.254.1.1"
	clusterDNS = "10.96.0.10"
)

// runPause holds a network namespace: sets what a pod's namespace has set, says so, and waits for its end.
func runPause(args []string) error {
	flags := flag.NewFlagSet("pause", flag.ContinueOnError)
	router := flags.Bool("router", false, "the node's: forwards packets, hands new connections to the policy engine")
	if err := flags.Parse(args); err != nil {
		return err
	}
	settings := map[string]string{
		"/proc/sys/net/ipv4/ip_unprivileged_port_start":  "0",
		"/proc/sys/net/ipv6/conf/all/disable_ipv6":       "1",
		"/proc/sys/net/ipv4/conf/all/rp_filter":          "0",
		"/proc/sys/net/ipv4/conf/default/rp_filter":      "0",
		"/proc/sys/net/ipv4/conf/all/accept_redirects":   "0",
		"/proc/sys/net/ipv4/ip_local_port_range":         "32768 60999",
		"/proc/sys/net/netfilter/nf_conntrack_timestamp": "1",
		// What has ended is forgotten before its port is used again: a new connection on an old entry gets out of step with it.
		"/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_time_wait": "5",
		"/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_last_ack":  "5",
		"/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close":     "2",
	}
	if *router {
		settings["/proc/sys/net/ipv4/ip_forward"] = "1"
		// Late packets of a busy machine are outside the window that tracking remembers, and nothing is wrong with them.
		settings["/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal"] = "1"
		// Else the kernel says "unreachable" a few times and then keeps silent, which looks like a policy.
		settings["/proc/sys/net/ipv4/icmp_ratelimit"] = "0"
		settings["/proc/sys/net/ipv4/conf/all/send_redirects"] = "0"
		settings["/proc/sys/net/ipv4/conf/default/send_redirects"] = "0"
	}
	for file, value := range settings {
		// Some kernels lack some of them; what matters shows when packets flow.
		if err := os.WriteFile(file, []byte(value), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	if *router {
		if err := setUpNode(); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	for {
		_ = unix.Pause()
	}
}

// runInit is the first process of a PID namespace: starts the rest, reaps orphans, ends with its child.
func runInit(args []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	child, err := os.StartProcess(self, append([]string{self}, args...), &os.ProcAttr{
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
		Env:   os.Environ(),
	})
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		for received := range signals {
			_ = child.Signal(received)
		}
	}()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if pid == child.Pid && (status.Exited() || status.Signaled()) {
			os.Exit(status.ExitStatus() & 0xff)
		}
	}
}

// runForward listens on the loopback of the namespace it runs in and dials inside another.
func runForward(args []string) error {
	flags := flag.NewFlagSet("forward", flag.ContinueOnError)
	target := flags.String("netns", "", "path of the network namespace to dial in")
	address := flags.String("dial", nodeIP+":6443", "address to dial")
	if err := flags.Parse(args); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	dials := make(chan chan net.Conn)
	go dialInside(*target, *address, dials)
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	for {
		near, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer near.Close()
			answer := make(chan net.Conn)
			dials <- answer
			far := <-answer
			if far == nil {
				return
			}
			defer far.Close()
			go func() {
				_, _ = io.Copy(far, near)
				_ = far.(*net.TCPConn).CloseWrite()
			}()
			_, _ = io.Copy(near, far)
			_ = near.(*net.TCPConn).CloseWrite()
		}()
	}
}

func dialInside(target, address string, dials <-chan chan net.Conn) {
	// Sockets belong to the namespace of the thread that makes them; this one never leaves.
	runtime.LockOSThread()
	handle, err := netns.GetFromPath(target)
	if err == nil {
		err = netns.Set(handle)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab-node forward:", err)
		os.Exit(1)
	}
	for answer := range dials {
		answer <- dialTCP(address)
	}
}

// dialTCP makes the socket on the calling thread; net.Dial might use another.
func dialTCP(address string) net.Conn {
	to, err := net.ResolveTCPAddr("tcp4", address)
	if err != nil {
		return nil
	}
	descriptor, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	peer := &unix.SockaddrInet4{Port: to.Port}
	copy(peer.Addr[:], to.IP.To4())
	if err := unix.Connect(descriptor, peer); err != nil {
		_ = unix.Close(descriptor)
		return nil
	}
	file := os.NewFile(uintptr(descriptor), "forward")
	defer file.Close()
	connection, err := net.FileConn(file)
	if err != nil {
		return nil
	}
	return connection
}

// runPKI writes what an API server needs into a folder: ca.crt, ca.key, apiserver.crt, apiserver.key, sa.key.
func runPKI(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: lab-node pki FOLDER")
	}
	dir := args[0]
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	now := time.Now()
	authority := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "lab"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.AddDate(1, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	authorityDER, err := x509.CreateCertificate(rand.Reader, authority, authority, &authorityKey.PublicKey, authorityKey)
	if err != nil {
		return err
	}
	serverKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      pkix.Name{CommonName: "kube-apiserver"},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(1, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{
			"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
		},
		IPAddresses: []net.IP{net.ParseIP("127.0.0.1"), net.ParseIP(nodeIP), net.ParseIP("10.96.0.1")},
	}
	serverDER, err := x509.CreateCertificate(rand.Reader, server, authority, &serverKey.PublicKey, authorityKey)
	if err != nil {
		return err
	}
	accountsKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	authorityKeyDER, err := x509.MarshalECPrivateKey(authorityKey)
	if err != nil {
		return err
	}
	serverKeyDER, err := x509.MarshalECPrivateKey(serverKey)
	if err != nil {
		return err
	}
	for name, block := range map[string]*pem.Block{
		"ca.crt":        {Type: "CERTIFICATE", Bytes: authorityDER},
		"ca.key":        {Type: "EC PRIVATE KEY", Bytes: authorityKeyDER},
		"apiserver.crt": {Type: "CERTIFICATE", Bytes: serverDER},
		"apiserver.key": {Type: "EC PRIVATE KEY", Bytes: serverKeyDER},
		"sa.key":        {Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(accountsKey)},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func run(input string, name string, args ...string) error {
	command := exec.Command(name, args...)
	if input != "" {
		command.Stdin = newReader(input)
	}
	output, err := command.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %v: %w: %s", name, args, err, output)
	}
	return nil
}
