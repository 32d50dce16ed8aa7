package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// worker lives as long as its pod: sandbox, init containers, containers, end.
type worker struct {
	agent           *agent
	namespace, name string
	// The pod as first seen, but for its metadata, which `update` keeps current.
	pod *v1.Pod
	ip  string
	box *sandbox
	// Counts pods; its users are its own.
	number uint32

	root   string
	mounts []string

	mu         sync.Mutex
	containers []*container
	phase      v1.PodPhase
	reason     string
	message    string
	started    metav1.Time
	since      map[v1.PodConditionType]v1.PodCondition
	gone       bool

	// Closed when the pod is to end.
	stop     chan struct{}
	stopOnce sync.Once
	// Closed when every process of the pod has ended.
	ended chan struct{}
	dirty chan struct{}
	quiet chan struct{}
}

func newWorker(a *agent, pod *v1.Pod) *worker {
	w := &worker{
		agent: a, namespace: pod.Namespace, name: pod.Name, pod: pod, phase: v1.PodPending, started: metav1.Now(),
		since: map[v1.PodConditionType]v1.PodCondition{},
		stop:  make(chan struct{}), ended: make(chan struct{}), dirty: make(chan struct{}, 1), quiet: make(chan struct{}),
	}
	w.root = a.path("roots", string(pod.UID))
	for index := range pod.Spec.InitContainers {
		w.containers = append(w.containers, newContainer(w, &pod.Spec.InitContainers[index], true))
	}
	for index := range pod.Spec.Containers {
		w.containers = append(w.containers, newContainer(w, &pod.Spec.Containers[index], false))
	}
	return w
}

func (w *worker) key() string { return w.namespace + "/" + w.name }

func (w *worker) everyContainer() []v1.Container {
	return append(append([]v1.Container{}, w.pod.Spec.InitContainers...), w.pod.Spec.Containers...)
}

// update takes what may change in a running pod: that it is to end.
func (w *worker) update(pod *v1.Pod) {
	if pod.DeletionTimestamp == nil {
		return
	}
	w.mu.Lock()
	w.pod = pod
	w.mu.Unlock()
	w.stopOnce.Do(func() { close(w.stop) })
}

// vanish is for a pod whose object was removed without waiting for its end.
func (w *worker) vanish() {
	w.mu.Lock()
	w.gone = true
	w.mu.Unlock()
	w.stopOnce.Do(func() { close(w.stop) })
	w.killContainers()
}

// mapUser is who a user of the pod is on the machine: as with user namespaces, no two pods share one, and so not its limits
// either (a user may have 128 inotify instances, of which every sidecar takes three). Root stays root.
func (w *worker) mapUser(user uint32) uint32 {
	if user == 0 {
		return 0
	}
	return 100_000 + w.number*2000 + user%2000
}

// mapUsersOf does in Istio's own arguments what a network namespace owned by the pod's user namespace would do: the packet
// filter that the sidecar's user escapes counts users as the machine does.
func (w *worker) mapUsersOf(argv []string) {
	if !slices.Contains(argv, "istio-iptables") {
		return
	}
	for index, argument := range argv[:len(argv)-1] {
		if user, err := strconv.ParseUint(argv[index+1], 10, 31); err == nil && (argument == "-u" || argument == "-g") {
			argv[index+1] = fmt.Sprint(w.mapUser(uint32(user)))
		}
	}
}

func (w *worker) killContainers() {
	for _, one := range w.containers {
		one.signal(syscall.SIGKILL)
	}
}

func (w *worker) report() (podReport, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.box == nil && !w.pod.Spec.HostNetwork || w.phase == v1.PodSucceeded || w.phase == v1.PodFailed {
		return podReport{}, false
	}
	holder := os.Getpid()
	if w.box != nil {
		holder = w.box.holder.Process.Pid
	}
	return podReport{Namespace: w.namespace, Name: w.name, IP: w.ip, Holder: holder, Root: w.root, Users: w.mapUser(1) - 1}, true
}

func (w *worker) run() {
	go w.writeStatus()
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-w.stop
		cancel()
	}()
	err := w.begin(ctx)
	if err == nil {
		w.await()
	} else if !errors.Is(err, context.Canceled) {
		fmt.Fprintf(os.Stderr, "%s: %v\n", w.key(), err)
		w.fail("StartError", err.Error())
	}
	w.end()
	cancel()
}

func (w *worker) begin(ctx context.Context) error {
	w.ip = nodeIP
	address, number := w.agent.pool.take()
	w.number = number
	if !w.pod.Spec.HostNetwork {
		box, err := setUpSandbox(w.agent.spawner, address)
		if err != nil {
			return err
		}
		w.mu.Lock()
		w.box, w.ip = box, box.ip
		w.mu.Unlock()
	}
	w.touch()
	if err := w.makeRoot(ctx); err != nil {
		return err
	}
	for _, one := range w.containers {
		if !one.init {
			continue
		}
		if err := one.runInit(ctx); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	w.mu.Lock()
	w.phase = v1.PodRunning
	w.reason, w.message = "", ""
	w.mu.Unlock()
	for _, one := range w.containers {
		if !one.init {
			go one.keepRunning()
		}
	}
	w.touch()
	return nil
}

// await returns when the pod is to end, or every container of a pod that does not restart has ended.
func (w *worker) await() {
	finished := make(chan struct{})
	go func() {
		for _, one := range w.containers {
			if !one.init {
				<-one.finished
			}
		}
		close(finished)
	}()
	select {
	case <-w.stop:
	case <-finished:
	}
}

func (w *worker) fail(reason, message string) {
	w.mu.Lock()
	w.phase, w.reason, w.message = v1.PodFailed, reason, message
	w.mu.Unlock()
	w.touch()
}

// end ends what runs: containers together, then sidecars in reverse order; writes the last status; removes the object if it
// was deleted.
func (w *worker) end() {
	grace := int64(30)
	if w.pod.Spec.TerminationGracePeriodSeconds != nil {
		grace = *w.pod.Spec.TerminationGracePeriodSeconds
	}
	w.mu.Lock()
	if w.pod.DeletionGracePeriodSeconds != nil {
		grace = *w.pod.DeletionGracePeriodSeconds
	}
	if w.gone {
		grace = 0
	}
	w.mu.Unlock()
	w.stopOnce.Do(func() { close(w.stop) })
	deadline := time.Now().Add(time.Duration(grace) * time.Second)
	mainsEnded := make(chan struct{})
	var mains sync.WaitGroup
	var sidecars sync.WaitGroup
	// Every sidecar hears of the end at once (preStop), and ends after the containers and the sidecars that came after it.
	turn := (<-chan struct{})(mainsEnded)
	for index := len(w.containers) - 1; index >= 0; index-- {
		one := w.containers[index]
		if one.init {
			done := make(chan struct{})
			sidecars.Add(1)
			go func(turn <-chan struct{}) {
				defer sidecars.Done()
				defer close(done)
				one.terminate(deadline, turn)
			}(turn)
			turn = done
		} else {
			mains.Add(1)
			go func() {
				defer mains.Done()
				one.terminate(deadline, nil)
			}()
		}
	}
	mains.Wait()
	close(mainsEnded)
	sidecars.Wait()
	close(w.ended)

	w.mu.Lock()
	if w.phase != v1.PodFailed {
		w.phase = v1.PodSucceeded
		for _, one := range w.containers {
			if !one.init && one.exitCode() != 0 {
				w.phase = v1.PodFailed
			}
		}
	}
	w.mu.Unlock()
	close(w.quiet)
	if w.box != nil {
		w.box.remove()
	}
	w.unmountAll()
	w.patchStatus()
	w.agent.forget(w.pod.UID)
	// A finished pod stays as an object; when it is deleted later, the agent removes it. Deletion may have begun meanwhile.
	w.mu.Lock()
	deleted := w.pod.DeletionTimestamp != nil
	gone := w.gone
	w.mu.Unlock()
	if !deleted && !gone {
		if current, err := w.agent.pods.Pods(w.namespace).Get(w.name); err == nil && current.UID == w.pod.UID {
			deleted = current.DeletionTimestamp != nil
		}
	}
	if deleted && !gone {
		w.agent.removeObject(w.pod)
	}
}

func (w *worker) waiting(reason, message string) {
	w.mu.Lock()
	changed := w.reason != reason || w.message != message
	w.reason, w.message = reason, message
	w.mu.Unlock()
	if changed {
		fmt.Fprintf(os.Stderr, "%s: %s %s\n", w.key(), reason, message)
	}
}

func (w *worker) touch() {
	select {
	case w.dirty <- struct{}{}:
	default:
	}
}

func (w *worker) writeStatus() {
	for {
		select {
		case <-w.quiet:
			return
		case <-w.dirty:
			w.patchStatus()
		}
	}
}

func (w *worker) patchStatus() {
	untilDone(func() error {
		w.mu.Lock()
		gone := w.gone
		status := w.status()
		w.mu.Unlock()
		if gone {
			return nil
		}
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": w.pod.UID}, "status": status})
		if err != nil {
			return err
		}
		_, err = w.agent.client.CoreV1().Pods(w.namespace).Patch(
			context.Background(), w.name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) || apierrors.IsInvalid(err) {
			if !apierrors.IsNotFound(err) {
				fmt.Fprintf(os.Stderr, "status of %s: %v\n", w.key(), err)
			}
			return nil
		}
		return err
	}, "status of "+w.key())
}

// status is called with the lock held.
func (w *worker) status() v1.PodStatus {
	status := v1.PodStatus{Phase: w.phase, HostIP: nodeIP, HostIPs: []v1.HostIP{{IP: nodeIP}}, StartTime: &w.started}
	if w.phase == v1.PodFailed {
		status.Reason, status.Message = w.reason, w.message
	}
	if w.ip != "" {
		status.PodIP, status.PodIPs = w.ip, []v1.PodIP{{IP: w.ip}}
	}
	initialised, ready := true, w.phase == v1.PodRunning
	for _, one := range w.containers {
		state := one.status()
		if one.init {
			status.InitContainerStatuses = append(status.InitContainerStatuses, state)
			if one.sidecar {
				initialised = initialised && state.Started != nil && *state.Started
				ready = ready && state.Ready
			} else {
				initialised = initialised && state.State.Terminated != nil && state.State.Terminated.ExitCode == 0
			}
		} else {
			status.ContainerStatuses = append(status.ContainerStatuses, state)
			ready = ready && state.Ready
		}
	}
	add := func(kind v1.PodConditionType, holds bool, reason string) {
		condition := v1.PodCondition{Type: kind, Status: v1.ConditionFalse, Reason: reason}
		if holds {
			condition.Status, condition.Reason = v1.ConditionTrue, ""
		}
		if last, ok := w.since[kind]; ok && last.Status == condition.Status {
			condition.LastTransitionTime = last.LastTransitionTime
		} else {
			condition.LastTransitionTime = metav1.Now()
		}
		w.since[kind] = condition
		status.Conditions = append(status.Conditions, condition)
	}
	add(v1.PodReadyToStartContainers, w.box != nil || w.pod.Spec.HostNetwork, "")
	add(v1.PodInitialized, initialised, "ContainersNotInitialized")
	add(v1.PodReady, ready, "ContainersNotReady")
	add(v1.ContainersReady, ready, "ContainersNotReady")
	add(v1.PodScheduled, true, "")
	return status
}
