package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
)

// proxy keeps the node's address translation and the names file as Services and EndpointSlices say.
type proxy struct {
	services corelisters.ServiceLister
	slices   discoverylisters.EndpointSliceLister
	dnsFile  string
	changed  chan struct{}
	lastNAT  string
	lastDNS  string
	// Endpoints of each UDP port of a Service as last written: connections to removed ones must be forgotten.
	datagrams map[string]map[string]bool
	mu        sync.Mutex
	serial    int
}

func newProxy(factory informers.SharedInformerFactory, dnsFile string) (*proxy, error) {
	p := &proxy{
		services:  factory.Core().V1().Services().Lister(),
		slices:    factory.Discovery().V1().EndpointSlices().Lister(),
		dnsFile:   dnsFile,
		changed:   make(chan struct{}, 1),
		datagrams: map[string]map[string]bool{},
	}
	ask := func() {
		select {
		case p.changed <- struct{}{}:
		default:
		}
	}
	services, slices := factory.Core().V1().Services().Informer(), factory.Discovery().V1().EndpointSlices().Informer()
	if _, err := services.AddEventHandler(handlerOf(func(*v1.Service) { ask() }, func(*v1.Service) { ask() })); err != nil {
		return nil, err
	}
	if _, err := slices.AddEventHandler(
		handlerOf(func(*discovery.EndpointSlice) { ask() }, func(*discovery.EndpointSlice) { ask() })); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *proxy) run(ctx context.Context) {
	for {
		if err := p.write(); err != nil {
			fmt.Fprintln(os.Stderr, "service table:", err)
			time.Sleep(200 * time.Millisecond)
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-p.changed:
			// What comes in one burst is written once.
			time.Sleep(5 * time.Millisecond)
		}
	}
}

type endpoint struct {
	address, hostname string
	port              int32
}

// endpointsOf returns the ready endpoints of one port; without any, those that end but still serve; portName nil is any.
func (p *proxy) endpointsOf(service *v1.Service, portName *string) []endpoint {
	selector := labels.SelectorFromSet(labels.Set{discovery.LabelServiceName: service.Name})
	slices, err := p.slices.EndpointSlices(service.Namespace).List(selector)
	if err != nil {
		return nil
	}
	var ready, ending []endpoint
	for _, slice := range slices {
		ports := []discovery.EndpointPort{{}}
		if portName != nil {
			ports = slice.Ports
		}
		for _, port := range ports {
			if portName != nil && (port.Name == nil && *portName != "" || port.Name != nil && *port.Name != *portName) {
				continue
			}
			number := int32(0)
			if port.Port != nil {
				number = *port.Port
			}
			for _, item := range slice.Endpoints {
				if len(item.Addresses) == 0 {
					continue
				}
				found := endpoint{address: item.Addresses[0], port: number}
				if item.Hostname != nil {
					found.hostname = *item.Hostname
				}
				switch {
				case item.Conditions.Ready == nil || *item.Conditions.Ready:
					ready = append(ready, found)
				case item.Conditions.Serving != nil && *item.Conditions.Serving:
					ending = append(ending, found)
				case service.Spec.PublishNotReadyAddresses:
					ready = append(ready, found)
				}
			}
		}
	}
	if len(ready) == 0 && portName != nil {
		ready = ending
	}
	sort.Slice(ready, func(i, j int) bool {
		return ready[i].address < ready[j].address || ready[i].address == ready[j].address && ready[i].port < ready[j].port
	})
	return ready
}

func (p *proxy) write() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	services, err := p.services.List(labels.Everything())
	if err != nil {
		return err
	}
	sort.Slice(services, func(i, j int) bool {
		return services[i].Namespace+"/"+services[i].Name < services[j].Namespace+"/"+services[j].Name
	})
	if err := p.writeNames(services); err != nil {
		return err
	}
	if err := p.writeRules(services); err != nil {
		return err
	}
	p.serial++
	return nil
}

func (p *proxy) writeNames(services []*v1.Service) error {
	names := map[string][]string{}
	for _, service := range services {
		base := service.Name + "." + service.Namespace
		add := func(name string, addresses []string) {
			for _, suffix := range []string{"", ".svc", ".svc.cluster.local"} {
				names[name+suffix] = addresses
			}
		}
		switch {
		case service.Spec.Type == v1.ServiceTypeExternalName:
			continue
		case service.Spec.ClusterIP != "" && service.Spec.ClusterIP != v1.ClusterIPNone:
			add(base, []string{service.Spec.ClusterIP})
		default:
			all := []string{}
			for _, found := range p.endpointsOf(service, nil) {
				all = append(all, found.address)
				if found.hostname != "" {
					add(found.hostname+"."+base, []string{found.address})
				}
			}
			add(base, all)
		}
	}
	text, err := json.MarshalIndent(names, "", " ")
	if err != nil || string(text) == p.lastDNS {
		return err
	}
	unfinished := filepath.Join(filepath.Dir(p.dnsFile), ".dns.json")
	if err := os.WriteFile(unfinished, text, 0o644); err != nil {
		return err
	}
	if err := os.Rename(unfinished, p.dnsFile); err != nil {
		return err
	}
	p.lastDNS = string(text)
	return nil
}

func chainName(kind, text string) string {
	sum := sha256.Sum256([]byte(text))
	return kind + "-" + strings.ToUpper(hex.EncodeToString(sum[:8]))
}

func (p *proxy) writeRules(services []*v1.Service) error {
	var chains, jumps, bodies strings.Builder
	seen := map[string]bool{}
	chain := func(name string) bool {
		if seen[name] {
			return false
		}
		seen[name] = true
		fmt.Fprintf(&chains, ":%s - [0:0]\n", name)
		return true
	}
	datagrams := map[string]map[string]bool{}
	for _, service := range services {
		if service.Spec.ClusterIP == "" || service.Spec.ClusterIP == v1.ClusterIPNone {
			continue
		}
		for _, port := range service.Spec.Ports {
			protocol := strings.ToLower(string(port.Protocol))
			if protocol != "tcp" && protocol != "udp" {
				continue
			}
			name := port.Name
			endpoints := p.endpointsOf(service, &name)
			front := fmt.Sprintf("%s %s:%d", protocol, service.Spec.ClusterIP, port.Port)
			if protocol == "udp" {
				datagrams[front] = map[string]bool{}
				for _, end := range endpoints {
					datagrams[front][end.address] = true
				}
			}
			if len(endpoints) == 0 {
				continue
			}
			serviceChain := chainName("SVC", front)
			chain(serviceChain)
			match := fmt.Sprintf("-p %s -m %s", protocol, protocol)
			for _, hook := range []string{"PREROUTING", "OUTPUT"} {
				fmt.Fprintf(&jumps, "-A %s -d %s/32 %s --dport %d -j %s\n",
					hook, service.Spec.ClusterIP, match, port.Port, serviceChain)
				if port.NodePort != 0 {
					fmt.Fprintf(&jumps, "-A %s -d %s/32 %s --dport %d -j %s\n", hook, nodeIP, match, port.NodePort, serviceChain)
				}
			}
			for index, end := range endpoints {
				target := fmt.Sprintf("%s:%d", end.address, end.port)
				endChain := chainName("SEP", protocol+" "+target)
				if left := len(endpoints) - index; left > 1 {
					fmt.Fprintf(&bodies, "-A %s -m statistic --mode random --probability %.10f -j %s\n",
						serviceChain, 1/float64(left), endChain)
				} else {
					fmt.Fprintf(&bodies, "-A %s -j %s\n", serviceChain, endChain)
				}
				if chain(endChain) {
					// A pod that reaches itself through a Service must see another's address, or it drops the packet.
					fmt.Fprintf(&bodies, "-A %s -s %s/32 -j MARK --set-xmark 0x4000/0x4000\n", endChain, end.address)
					fmt.Fprintf(&bodies, "-A %s %s -j DNAT --to-destination %s\n", endChain, match, target)
				}
			}
		}
	}
	text := "*nat\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n" + chains.String() + jumps.String() +
		bodies.String() + "-A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE\nCOMMIT\n"
	if text == p.lastNAT {
		return nil
	}
	if err := run(text, "iptables-restore"); err != nil {
		return err
	}
	p.lastNAT = text
	p.forgetDatagrams(datagrams)
	return nil
}

// forgetDatagrams ends tracked UDP conversations with endpoints that are gone, and those that began when there were none:
// a client that keeps its port would go on talking to nobody.
func (p *proxy) forgetDatagrams(now map[string]map[string]bool) {
	for front, before := range p.datagrams {
		address, port, _ := strings.Cut(strings.TrimPrefix(front, "udp "), ":")
		base := []string{"-D", "-p", "udp", "--orig-dst", address, "--orig-port-dst", port}
		if len(before) == 0 && len(now[front]) > 0 {
			_ = exec.Command("conntrack", base...).Run()
		}
		for gone := range before {
			if !now[front][gone] {
				_ = exec.Command("conntrack", append(base, "--reply-src", gone)...).Run()
			}
		}
	}
	p.datagrams = now
}
