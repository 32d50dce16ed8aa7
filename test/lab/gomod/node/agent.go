package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/clientcmd"
)

// image is what the node runs for images whose name contains Match.
type image struct {
	Match   string `json:"match"`
	Program string `json:"program"`
	User    uint32 `json:"user"`
	// Files that the image holds besides: path inside the pod -> file of the machine.
	Files map[string]string `json:"files"`
	// Folders that must be writable for the image's user.
	Folders []string `json:"folders"`
}

type settings struct {
	Kubeconfig string `json:"kubeconfig"`
	// Dir is the stage's folder.
	Dir    string  `json:"dir"`
	Images []image `json:"images"`
	// Programs by name, mounted at /usr/local/bin of every pod.
	Programs map[string]string `json:"programs"`
}

type agent struct {
	settings
	client  kubernetes.Interface
	spawner *spawner
	pool    addresses
	proxy   *proxy
	pods    corelisters.PodLister

	mu      sync.Mutex
	workers map[types.UID]*worker
	// Pods that have ended, as long as their objects are there: news of their past may come late, and would start them anew.
	ended map[types.UID]bool
	held  map[string]bool
}

// runAgent is the node: scheduler, kubelet and service proxy. It runs as the child of `init` in a PID and mount namespace of
// its own, so that nothing it started or mounted outlives it, and in the node's network namespace.
func runAgent(args []string) error {
	flags := flag.NewFlagSet("agent", flag.ContinueOnError)
	file := flags.String("settings", "", "JSON file")
	if err := flags.Parse(args); err != nil {
		return err
	}
	text, err := os.ReadFile(*file)
	if err != nil {
		return err
	}
	a := &agent{workers: map[types.UID]*worker{}, ended: map[types.UID]bool{}, held: map[string]bool{}}
	if err := json.Unmarshal(text, &a.settings); err != nil {
		return err
	}
	if err := a.mountPrograms(); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", a.Kubeconfig)
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 500, 1000
	if a.client, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	a.spawner = newSpawner()
	ctx := context.Background()
	if err := a.register(ctx); err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(a.client, 0)
	a.pods = factory.Core().V1().Pods().Lister()
	if a.proxy, err = newProxy(factory, filepath.Join(a.Dir, "lab", "dns.json")); err != nil {
		return err
	}
	if _, err := factory.Core().V1().Pods().Informer().AddEventHandler(handlerOf(a.see, a.lose)); err != nil {
		return err
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	go a.proxy.run(ctx)
	return a.serve()
}

// mountPrograms makes one folder with every program, which each pod then mounts; programs stay where they are.
func (a *agent) mountPrograms() error {
	dir := a.path("bin")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, program := range a.Programs {
		target := filepath.Join(dir, name)
		if err := os.WriteFile(target, nil, 0o755); err != nil {
			return err
		}
		if err := syscall.Mount(program, target, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("mounting %s: %w", program, err)
		}
	}
	return nil
}

func (a *agent) path(parts ...string) string {
	return filepath.Join(append([]string{a.Dir}, parts...)...)
}

func (a *agent) register(ctx context.Context) error {
	capacity := v1.ResourceList{
		v1.ResourceCPU: resource.MustParse("64"), v1.ResourceMemory: resource.MustParse("256Gi"), v1.ResourcePods: resource.MustParse("1000"),
	}
	now := metav1.Now()
	node := &v1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: nodeName, Labels: map[string]string{
			"kubernetes.io/hostname": nodeName, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
		}},
		Spec: v1.NodeSpec{PodCIDR: podCIDR, PodCIDRs: []string{podCIDR}},
	}
	created, err := a.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		created, err = a.client.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
	}
	if err != nil {
		return err
	}
	created.Status = v1.NodeStatus{
		Capacity: capacity, Allocatable: capacity,
		Addresses: []v1.NodeAddress{{Type: v1.NodeInternalIP, Address: nodeIP}, {Type: v1.NodeHostName, Address: nodeName}},
		Conditions: []v1.NodeCondition{{
			Type: v1.NodeReady, Status: v1.ConditionTrue, Reason: "KubeletReady", LastHeartbeatTime: now, LastTransitionTime: now,
		}},
		NodeInfo: v1.NodeSystemInfo{
			OperatingSystem: "linux", Architecture: "amd64", KubeletVersion: "v1.34.0", ContainerRuntimeVersion: "lab://1",
		},
	}
	_, err = a.client.CoreV1().Nodes().UpdateStatus(ctx, created, metav1.UpdateOptions{})
	return err
}

// see schedules a new pod and hands every other one to its worker.
func (a *agent) see(pod *v1.Pod) {
	if pod.Spec.NodeName == "" {
		if pod.DeletionTimestamp == nil && len(pod.Spec.SchedulingGates) == 0 {
			go a.bind(pod)
		}
		return
	}
	if pod.Spec.NodeName != nodeName {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	known := a.workers[pod.UID]
	if known == nil {
		if a.ended[pod.UID] || pod.Status.Phase == v1.PodSucceeded || pod.Status.Phase == v1.PodFailed {
			if pod.DeletionTimestamp != nil {
				go a.removeObject(pod)
			}
			return
		}
		known = newWorker(a, pod)
		a.workers[pod.UID] = known
		go known.run()
	}
	known.update(pod)
}

func (a *agent) lose(pod *v1.Pod) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.ended, pod.UID)
	if known := a.workers[pod.UID]; known != nil {
		known.vanish()
	}
}

func (a *agent) forget(uid types.UID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.workers, uid)
	a.ended[uid] = true
}

func (a *agent) bind(pod *v1.Pod) {
	binding := &v1.Binding{
		ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace, UID: pod.UID},
		Target:     v1.ObjectReference{Kind: "Node", Name: nodeName},
	}
	untilDone(func() error {
		err := a.client.CoreV1().Pods(pod.Namespace).Bind(context.Background(), binding, metav1.CreateOptions{})
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			return nil
		}
		return err
	}, fmt.Sprintf("binding %s/%s", pod.Namespace, pod.Name))
}

func (a *agent) removeObject(pod *v1.Pod) {
	zero := int64(0)
	untilDone(func() error {
		err := a.client.CoreV1().Pods(pod.Namespace).Delete(context.Background(), pod.Name, metav1.DeleteOptions{
			GracePeriodSeconds: &zero, Preconditions: &metav1.Preconditions{UID: &pod.UID},
		})
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			return nil
		}
		return err
	}, fmt.Sprintf("removing %s/%s", pod.Namespace, pod.Name))
}

// untilDone repeats what an API server that is away for a while would make fail.
func untilDone(do func() error, what string) {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := do()
		if err == nil {
			return
		}
		fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
		time.Sleep(wait)
	}
}

type podReport struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	IP        string `json:"ip"`
	// Of the process that holds the network namespace, as this PID namespace counts.
	Holder int    `json:"holder"`
	Root   string `json:"root"`
	// What is added to the number of a user other than root.
	Users uint32 `json:"users"`
}

// serve answers the stage on a socket in its folder.
func (a *agent) serve() error {
	listener, err := net.Listen("unix", a.path("node.sock"))
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /pods", func(response http.ResponseWriter, _ *http.Request) {
		a.mu.Lock()
		defer a.mu.Unlock()
		reports := []podReport{}
		for _, known := range a.workers {
			if report, ok := known.report(); ok {
				reports = append(reports, report)
			}
		}
		sort.Slice(reports, func(i, j int) bool {
			return reports[i].Namespace+"/"+reports[i].Name < reports[j].Namespace+"/"+reports[j].Name
		})
		_ = json.NewEncoder(response).Encode(reports)
	})
	mux.HandleFunc("POST /hold", func(response http.ResponseWriter, request *http.Request) {
		a.hold(request.FormValue("prefix"), true)
		response.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /release", func(response http.ResponseWriter, request *http.Request) {
		a.hold(request.FormValue("prefix"), false)
		response.WriteHeader(http.StatusNoContent)
	})
	fmt.Println("ready")
	return http.Serve(listener, mux)
}

// hold kills the containers of every pod whose namespace/name begins with prefix, and keeps them from starting again.
func (a *agent) hold(prefix string, on bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !on {
		delete(a.held, prefix)
		return
	}
	a.held[prefix] = true
	for _, known := range a.workers {
		if strings.HasPrefix(known.key(), prefix) {
			known.killContainers()
		}
	}
}

func (a *agent) isHeld(key string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for prefix := range a.held {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}

func (a *agent) imageOf(name string) (image, error) {
	for _, known := range a.Images {
		if strings.Contains(name, known.Match) {
			return known, nil
		}
	}
	return image{}, fmt.Errorf("no program is known for image %q", name)
}

func killGroup(command *exec.Cmd, signal syscall.Signal) {
	if command.Process == nil {
		return
	}
	if err := syscall.Kill(-command.Process.Pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
		fmt.Fprintln(os.Stderr, "kill:", err)
	}
}
