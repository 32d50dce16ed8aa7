package main

import (
	"fmt"
	"net"
	"os/exec"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Packets that connection tracking cannot place are not translated back: delivered, they would come from the pod instead of its Service, and the
// client would reset. kube-proxy drops them for the same reason (kubernetes/kubernetes#74839).
const nodeRules = `*mangle
:POSTROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:ENGINE - [0:0]
-A POSTROUTING -o v+ -j ENGINE
-A INPUT -i v+ -j ENGINE
-A ENGINE -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
-A ENGINE -m conntrack --ctstate INVALID -j DROP
-A ENGINE -m addrtype --src-type LOCAL -j ACCEPT
-A ENGINE -p icmp -j ACCEPT
-A ENGINE -j NFQUEUE --queue-num 0
COMMIT
*filter
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A FORWARD -d ` + serviceNet + ` -p tcp -j REJECT --reject-with tcp-reset
-A FORWARD -d ` + serviceNet + ` -j REJECT
-A OUTPUT -d ` + serviceNet + ` -p tcp -j REJECT --reject-with tcp-reset
-A OUTPUT -d ` + serviceNet + ` -j REJECT
COMMIT
`

// setUpNode gives the node's namespace its address, a route for Services (their packets are redirected before they would
// take it) and the packet filter that hands every new connection of a pod to the policy engine.
func setUpNode() error {
	loopback, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(loopback); err != nil {
		return err
	}
	if err := netlink.AddrReplace(loopback, &netlink.Addr{IPNet: hostNet(nodeIP)}); err != nil {
		return err
	}
	_, services, err := net.ParseCIDR(serviceNet)
	if err != nil {
		return err
	}
	if err := netlink.RouteReplace(&netlink.Route{
		LinkIndex: loopback.Attrs().Index, Dst: services, Src: net.ParseIP(nodeIP), Scope: netlink.SCOPE_LINK,
	}); err != nil {
		return fmt.Errorf("route of the Services: %w", err)
	}
	return run(nodeRules, "iptables-restore")
}

func hostNet(address string) *net.IPNet {
	return &net.IPNet{IP: net.ParseIP(address).To4(), Mask: net.CIDRMask(32, 32)}
}

// podNetwork is a pod's network namespace with its cable to the node.
type sandbox struct {
	holder *exec.Cmd
	path   string
	ip     string
	link   string
}

// addresses hands out every address once, with its number: what a packet of the past was is never in doubt.
type addresses struct {
	mu   sync.Mutex
	next int
}

func (a *addresses) take() (string, uint32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.next++
	n := a.next + 1
	for n%256 == 0 || n%256 == 255 {
		a.next++
		n = a.next + 1
	}
	return fmt.Sprintf("10.244.%d.%d", n/256, n%256), uint32(n)
}

func setUpSandbox(s *spawner, ip string) (*sandbox, error) {
	holder, err := s.pause()
	if err != nil {
		return nil, err
	}
	box := &sandbox{holder: holder, path: fmt.Sprintf("/proc/%d/ns/net", holder.Process.Pid), ip: ip}
	if err := box.connect(); err != nil {
		box.remove()
		return nil, err
	}
	return box, nil
}

func (b *sandbox) connect() error {
	address := net.ParseIP(b.ip).To4()
	b.link = fmt.Sprintf("v%d-%d", address[2], address[3])
	handle, err := netns.GetFromPath(b.path)
	if err != nil {
		return err
	}
	defer handle.Close()
	if err := netlink.LinkAdd(&netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: b.link, MTU: 1500},
		PeerName:      "eth0",
		PeerNamespace: netlink.NsFd(int(handle)),
	}); err != nil {
		return fmt.Errorf("veth %s: %w", b.link, err)
	}
	inside, err := netlink.NewHandleAt(handle)
	if err != nil {
		return err
	}
	defer inside.Close()
	loopback, err := inside.LinkByName("lo")
	if err != nil {
		return err
	}
	eth0, err := inside.LinkByName("eth0")
	if err != nil {
		return err
	}
	outside, err := netlink.LinkByName(b.link)
	if err != nil {
		return err
	}
	gateway := net.ParseIP(gatewayIP).To4()
	for _, step := range []func() error{
		func() error { return inside.LinkSetUp(loopback) },
		func() error { return inside.AddrAdd(eth0, &netlink.Addr{IPNet: hostNet(b.ip)}) },
		func() error { return inside.LinkSetUp(eth0) },
		func() error {
			return netlink.AddrAdd(outside, &netlink.Addr{IPNet: hostNet(gatewayIP), Scope: unix.RT_SCOPE_LINK})
		},
		func() error { return netlink.LinkSetUp(outside) },
		// Fixed neighbours: no first packet waits for an answer of ARP.
		func() error { return neighbour(inside.NeighSet, eth0, gateway, outside) },
		func() error { return neighbour(netlink.NeighSet, outside, address, eth0) },
		func() error {
			return inside.RouteAdd(&netlink.Route{
				LinkIndex: eth0.Attrs().Index, Dst: hostNet(gatewayIP), Scope: netlink.SCOPE_LINK,
			})
		},
		func() error { return inside.RouteAdd(&netlink.Route{LinkIndex: eth0.Attrs().Index, Gw: gateway}) },
		func() error {
			return netlink.RouteAdd(&netlink.Route{
				LinkIndex: outside.Attrs().Index, Dst: hostNet(b.ip), Src: net.ParseIP(nodeIP), Scope: netlink.SCOPE_LINK,
			})
		},
	} {
		if err := step(); err != nil {
			return fmt.Errorf("network of %s: %w", b.ip, err)
		}
	}
	return nil
}

func neighbour(set func(*netlink.Neigh) error, via netlink.Link, address net.IP, to netlink.Link) error {
	return set(&netlink.Neigh{
		LinkIndex: via.Attrs().Index, IP: address, HardwareAddr: to.Attrs().HardwareAddr,
		State: netlink.NUD_PERMANENT, Family: netlink.FAMILY_V4,
	})
}

// remove ends the holder; the namespace and the cable go with it once the pod's processes are gone.
func (b *sandbox) remove() {
	if link, err := netlink.LinkByName(b.link); err == nil && b.link != "" {
		_ = netlink.LinkDel(link)
	}
	_ = b.holder.Process.Kill()
}
