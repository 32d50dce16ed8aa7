package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	nfqueue "github.com/florianl/go-nfqueue"
	"github.com/mattfenwick/cyclonus/pkg/matcher"
	"github.com/mdlayher/netlink"
	"github.com/sirupsen/logrus"
	v1 "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

// A pod that a packet names and the engine does not know yet is waited for: the kernel holds the packet meanwhile.
const unknownPodPatience = 2 * time.Second

type podFacts struct {
	namespace, name string
	labels          map[string]string
	portNames       map[portKey][]string
	gone            time.Time
}

type portKey struct {
	protocol v1.Protocol
	port     int
}

type edgeEnd struct {
	Pod       string `json:"pod,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	IP        string `json:"ip,omitempty"`
	Name      string `json:"name,omitempty"`
}

type edgeLine struct {
	First    string  `json:"first"`
	Last     string  `json:"last"`
	Src      edgeEnd `json:"src"`
	Dst      edgeEnd `json:"dst"`
	Protocol string  `json:"protocol"`
	Port     int     `json:"port"`
	Count    int     `json:"count"`
	Verdict  string  `json:"verdict"`
	Source   string  `json:"source"`
}

type packet struct {
	id         uint32
	src, dst   netip.Addr
	sport      int
	dport      int
	protocol   v1.Protocol
	sequence   uint32
	received   time.Time
	unreadable bool
}

type engine struct {
	mu         sync.RWMutex
	pods       map[netip.Addr]*podFacts
	namespaces map[string]map[string]string
	policy     atomic.Pointer[matcher.Policy]
	frozen     atomic.Bool
	rebuild    chan struct{}

	queue *nfqueue.Nfqueue

	logMu  sync.Mutex
	log    *bufio.Writer
	logged map[string]time.Time
}

// runVerdict decides on every new connection that the node's packet filter queues: accepts what the NetworkPolicies of the
// cluster allow, drops the rest. SIGUSR1 freezes the policies as they are now, SIGUSR2 thaws them.
func runVerdict(args []string) error {
	flags := flag.NewFlagSet("verdict", flag.ContinueOnError)
	kubeconfig := flags.String("kubeconfig", "", "file")
	logFile := flags.String("log", "", "file, JSON Lines")
	queueNumber := flags.Uint("queue", 0, "NFQUEUE number")
	if err := flags.Parse(args); err != nil {
		return err
	}
	logrus.SetLevel(logrus.ErrorLevel)
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(*logFile, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	e := &engine{
		pods:       map[netip.Addr]*podFacts{},
		namespaces: map[string]map[string]string{},
		rebuild:    make(chan struct{}, 1),
		log:        bufio.NewWriterSize(file, 1<<16),
		logged:     map[string]time.Time{},
	}
	e.policy.Store(matcher.NewPolicy())
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGUSR1, syscall.SIGUSR2)
	go func() {
		for received := range signals {
			e.frozen.Store(received == syscall.SIGUSR1)
			fmt.Printf("frozen %v\n", received == syscall.SIGUSR1)
			e.askRebuild()
		}
	}()
	ctx := context.Background()
	if err := e.watch(ctx, client); err != nil {
		return err
	}
	if err := e.openQueue(ctx, uint16(*queueNumber)); err != nil {
		return err
	}
	fmt.Println("ready")
	for range time.Tick(100 * time.Millisecond) {
		e.tidy()
	}
	return nil
}

func (e *engine) watch(ctx context.Context, client kubernetes.Interface) error {
	factory := informers.NewSharedInformerFactory(client, 0)
	policies := factory.Networking().V1().NetworkPolicies()
	for _, watched := range []struct {
		informer cache.SharedIndexInformer
		handler  cache.ResourceEventHandlerFuncs
	}{
		{factory.Core().V1().Pods().Informer(), handlerOf(e.setPod, e.dropPod)},
		{factory.Core().V1().Namespaces().Informer(), handlerOf(e.setNamespace, func(*v1.Namespace) {})},
		{policies.Informer(), handlerOf(
			func(*networking.NetworkPolicy) { e.askRebuild() },
			func(*networking.NetworkPolicy) { e.askRebuild() })},
	} {
		if _, err := watched.informer.AddEventHandler(watched.handler); err != nil {
			return err
		}
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	build := func() {
		if e.frozen.Load() {
			return
		}
		all, err := policies.Lister().List(labels.Everything())
		if err != nil {
			fmt.Fprintln(os.Stderr, "listing policies:", err)
			return
		}
		defer func() {
			if fault := recover(); fault != nil {
				fmt.Fprintln(os.Stderr, "the matcher does not take these policies, the last ones stay:", fault)
			}
		}()
		e.policy.Store(matcher.BuildNetworkPolicies(true, all))
	}
	build()
	go func() {
		for range e.rebuild {
			build()
		}
	}()
	return nil
}

func handlerOf[T any](set, drop func(T)) cache.ResourceEventHandlerFuncs {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { set(object.(T)) },
		UpdateFunc: func(_, object any) { set(object.(T)) },
		DeleteFunc: func(object any) {
			if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = unknown.Obj
			}
			drop(object.(T))
		},
	}
}

func (e *engine) askRebuild() {
	select {
	case e.rebuild <- struct{}{}:
	default:
	}
}

func (e *engine) setPod(pod *v1.Pod) {
	address, err := netip.ParseAddr(pod.Status.PodIP)
	if err != nil || pod.Spec.HostNetwork {
		return
	}
	facts := &podFacts{
		namespace: pod.Namespace,
		name:      pod.Name,
		labels:    pod.Labels,
		portNames: map[portKey][]string{},
	}
	for _, container := range append(append([]v1.Container{}, pod.Spec.InitContainers...), pod.Spec.Containers...) {
		for _, port := range container.Ports {
			if port.Name == "" {
				continue
			}
			protocol := port.Protocol
			if protocol == "" {
				protocol = v1.ProtocolTCP
			}
			key := portKey{protocol, int(port.ContainerPort)}
			facts.portNames[key] = append(facts.portNames[key], port.Name)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pods[address] = facts
}

// dropPod remembers the pod for a while: its last packets may still be on their way. Addresses are not used twice.
func (e *engine) dropPod(pod *v1.Pod) {
	address, err := netip.ParseAddr(pod.Status.PodIP)
	if err != nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if facts, ok := e.pods[address]; ok && facts.name == pod.Name {
		facts.gone = time.Now()
	}
}

func (e *engine) setNamespace(namespace *v1.Namespace) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.namespaces[namespace.Name] = namespace.Labels
}

func (e *engine) openQueue(ctx context.Context, number uint16) error {
	queue, err := nfqueue.Open(&nfqueue.Config{
		NfQueue:      number,
		MaxPacketLen: 128,
		MaxQueueLen:  8192,
		Copymode:     nfqueue.NfQnlCopyPacket,
		WriteTimeout: time.Second,
	})
	if err != nil {
		return err
	}
	e.queue = queue
	if err := queue.SetOption(netlink.NoENOBUFS, true); err != nil {
		return err
	}
	if err := queue.Con.SetReadBuffer(16 << 20); err != nil {
		return err
	}
	return queue.RegisterWithErrorFunc(ctx, func(attribute nfqueue.Attribute) int {
		if attribute.PacketID == nil || attribute.Payload == nil {
			return 0
		}
		p := parsePacket(*attribute.Payload)
		p.id = *attribute.PacketID
		p.received = time.Now()
		e.decide(p)
		return 0
	}, func(err error) int {
		fmt.Fprintln(os.Stderr, "queue:", err)
		return 0
	})
}

func parsePacket(payload []byte) packet {
	if len(payload) < 20 || payload[0]>>4 != 4 {
		return packet{unreadable: true}
	}
	headerLength := int(payload[0]&0x0f) * 4
	p := packet{src: netip.AddrFrom4([4]byte(payload[12:16])), dst: netip.AddrFrom4([4]byte(payload[16:20]))}
	if len(payload) < headerLength+8 {
		return packet{unreadable: true}
	}
	transport := payload[headerLength:]
	p.sport, p.dport = int(binary.BigEndian.Uint16(transport)), int(binary.BigEndian.Uint16(transport[2:]))
	switch payload[9] {
	case 6:
		p.protocol = v1.ProtocolTCP
		p.sequence = binary.BigEndian.Uint32(transport[4:])
	case 17:
		p.protocol = v1.ProtocolUDP
	default:
		p.unreadable = true
	}
	return p
}

var podNetwork = netip.MustParsePrefix(podCIDR)

func (e *engine) isPodAddress(address netip.Addr) bool {
	return podNetwork.Contains(address) && address.String() != nodeIP
}

func (e *engine) decide(p packet) {
	if p.unreadable {
		e.answer(p, false)
		return
	}
	e.mu.RLock()
	src, dst := e.pods[p.src], e.pods[p.dst]
	e.mu.RUnlock()
	unknown := (src == nil && e.isPodAddress(p.src)) || (dst == nil && e.isPodAddress(p.dst))
	if unknown && time.Since(p.received) < unknownPodPatience {
		time.AfterFunc(5*time.Millisecond, func() { e.decide(p) })
		return
	}
	allowed := !unknown && (p.src == p.dst || e.allows(p, src, dst))
	e.answer(p, allowed)
	if p.src != p.dst {
		e.write(p, src, dst, allowed)
	}
}

func (e *engine) allows(p packet, src, dst *podFacts) bool {
	traffic := &matcher.Traffic{
		Source:       e.peer(p.src, src),
		Destination:  e.peer(p.dst, dst),
		ResolvedPort: p.dport,
		Protocol:     p.protocol,
	}
	policy := e.policy.Load()
	if policy.IsTrafficAllowed(traffic).IsAllowed() {
		return true
	}
	if dst == nil {
		return false
	}
	for _, name := range dst.portNames[portKey{p.protocol, p.dport}] {
		traffic.ResolvedPortName = name
		if policy.IsTrafficAllowed(traffic).IsAllowed() {
			return true
		}
	}
	return false
}

func (e *engine) peer(address netip.Addr, pod *podFacts) *matcher.TrafficPeer {
	peer := &matcher.TrafficPeer{IP: address.String()}
	if pod == nil {
		return peer
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	peer.Internal = &matcher.InternalPeer{
		PodLabels:       pod.labels,
		NamespaceLabels: e.namespaces[pod.namespace],
		Namespace:       pod.namespace,
	}
	return peer
}

func (e *engine) answer(p packet, allowed bool) {
	verdict := nfqueue.NfDrop
	if allowed {
		verdict = nfqueue.NfAccept
	}
	if err := e.queue.SetVerdict(p.id, verdict); err != nil {
		fmt.Fprintln(os.Stderr, "verdict:", err)
	}
}

func endOf(address netip.Addr, pod *podFacts) edgeEnd {
	switch {
	case pod != nil:
		return edgeEnd{Pod: pod.name, Namespace: pod.namespace}
	case address.String() == nodeIP:
		return edgeEnd{Name: "node"}
	default:
		return edgeEnd{IP: address.String()}
	}
}

// write logs a decision once: a datagram before the first answer, or a repeated allowed SYN, is no new connection.
func (e *engine) write(p packet, src, dst *podFacts, allowed bool) {
	verdict := "denied"
	if allowed {
		verdict = "allowed"
	}
	e.logMu.Lock()
	defer e.logMu.Unlock()
	if allowed || p.protocol == v1.ProtocolUDP {
		key := fmt.Sprintf("%s %v:%d %v:%d %d %s", p.protocol, p.src, p.sport, p.dst, p.dport, p.sequence, verdict)
		if last, seen := e.logged[key]; seen && p.received.Sub(last) < 30*time.Second {
			return
		}
		e.logged[key] = p.received
	}
	at := p.received.UTC().Format("2006-01-02T15:04:05.000000Z")
	line, err := json.Marshal(edgeLine{
		First: at, Last: at, Src: endOf(p.src, src), Dst: endOf(p.dst, dst),
		Protocol: string(p.protocol), Port: p.dport, Count: 1, Verdict: verdict, Source: "lab-verdict",
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	_, _ = e.log.Write(append(line, '\n'))
}

func (e *engine) tidy() {
	now := time.Now()
	e.logMu.Lock()
	if err := e.log.Flush(); err != nil {
		fmt.Fprintln(os.Stderr, "log:", err)
	}
	if len(e.logged) > 50_000 {
		for key, at := range e.logged {
			if now.Sub(at) > 30*time.Second {
				delete(e.logged, key)
			}
		}
	}
	e.logMu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	for address, pod := range e.pods {
		if !pod.gone.IsZero() && now.Sub(pod.gone) > 30*time.Second {
			delete(e.pods, address)
		}
	}
}
