package main

import (
	"context"
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
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

type container struct {
	worker *worker
	spec   *v1.Container
	init   bool
	// An init container that goes on running beside the containers.
	sidecar bool
	log     string

	mu       sync.Mutex
	command  *exec.Cmd
	exited   chan struct{}
	runs     int
	running  bool
	startOK  bool
	ready    bool
	since    metav1.Time
	last     *v1.ContainerStateTerminated
	waitWhy  string
	stopped  bool
	finished chan struct{}
	once     sync.Once
}

func newContainer(w *worker, spec *v1.Container, init bool) *container {
	return &container{
		worker: w, spec: spec, init: init,
		sidecar:  init && spec.RestartPolicy != nil && *spec.RestartPolicy == v1.ContainerRestartPolicyAlways,
		log:      w.agent.path("pods", w.namespace, w.name, spec.Name+".log"),
		waitWhy:  "PodInitializing",
		finished: make(chan struct{}),
	}
}

// start starts the program once.
func (c *container) start() error {
	known, err := c.worker.agent.imageOf(c.spec.Image)
	if err != nil {
		return err
	}
	environment, err := c.environment()
	if err != nil {
		return err
	}
	argv := []string{known.Program}
	if len(c.spec.Command) > 0 {
		argv = append([]string{}, c.spec.Command...)
	}
	argv = append(argv, c.spec.Args...)
	for index := range argv {
		argv[index] = expand(argv[index], environment)
	}
	c.worker.mapUsersOf(argv)
	command, err := c.prepare(argv, environment, known)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(c.log), 0o755); err != nil {
		return err
	}
	output, err := os.OpenFile(c.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	defer output.Close()
	_ = output.Chmod(0o666)
	command.Stdout, command.Stderr = output, output
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return context.Canceled
	}
	if err := c.worker.agent.spawner.start(command, c.worker.netnsPath()); err != nil {
		return err
	}
	c.command, c.exited = command, make(chan struct{})
	c.running, c.startOK, c.ready, c.since, c.waitWhy = true, false, false, metav1.Now(), ""
	c.runs++
	go c.wait(command, c.exited)
	return nil
}

func (w *worker) netnsPath() string {
	if w.box == nil {
		return ""
	}
	return w.box.path
}

// prepare makes a command that runs inside the pod's root.
func (c *container) prepare(argv []string, environment map[string]string, known image) (*exec.Cmd, error) {
	program := argv[0]
	if !strings.Contains(program, "/") {
		for _, dir := range []string{"/usr/local/bin", "/usr/bin", "/usr/sbin", "/lab/bin"} {
			if _, err := os.Stat(c.worker.inside(filepath.Join(dir, program))); err == nil {
				program = filepath.Join(dir, program)
				break
			}
		}
	}
	user := known.User
	for _, context := range []func() *int64{
		func() *int64 {
			if c.worker.pod.Spec.SecurityContext == nil {
				return nil
			}
			return c.worker.pod.Spec.SecurityContext.RunAsUser
		},
		func() *int64 {
			if c.spec.SecurityContext == nil {
				return nil
			}
			return c.spec.SecurityContext.RunAsUser
		},
	} {
		if value := context(); value != nil {
			user = uint32(*value)
		}
	}
	command := &exec.Cmd{Path: program, Args: argv, Dir: "/"}
	if c.spec.WorkingDir != "" {
		command.Dir = c.spec.WorkingDir
	}
	keys := make([]string, 0, len(environment))
	for key := range environment {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	command.Env = []string{}
	for _, key := range keys {
		command.Env = append(command.Env, key+"="+environment[key])
	}
	command.SysProcAttr = &syscall.SysProcAttr{Chroot: c.worker.root, Setsid: true}
	if user != 0 {
		mapped := c.worker.mapUser(user)
		command.SysProcAttr.Credential = &syscall.Credential{Uid: mapped, Gid: mapped}
	}
	return command, nil
}

func (c *container) wait(command *exec.Cmd, exited chan struct{}) {
	_ = command.Wait()
	// What the program left behind in its session goes with it.
	killGroup(command, syscall.SIGKILL)
	code, signal := int32(command.ProcessState.ExitCode()), int32(0)
	if status, ok := command.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		signal = int32(status.Signal())
		code = 128 + signal
	}
	c.mu.Lock()
	reason := "Completed"
	if code != 0 {
		reason = "Error"
	}
	c.last = &v1.ContainerStateTerminated{
		ExitCode: code, Signal: signal, Reason: reason, StartedAt: c.since, FinishedAt: metav1.Now(), ContainerID: c.id(),
	}
	c.running, c.startOK, c.ready = false, false, false
	c.mu.Unlock()
	close(exited)
	c.worker.touch()
}

// runInit runs an init container to its end, or a sidecar until it has started.
func (c *container) runInit(ctx context.Context) error {
	if c.sidecar {
		go c.keepRunning()
		for {
			c.mu.Lock()
			started := c.startOK
			c.mu.Unlock()
			if started {
				return nil
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
	for wait := 200 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		if err := c.start(); err != nil {
			return err
		}
		c.worker.touch()
		<-c.exited
		code := c.exitCode()
		if code == 0 {
			return nil
		}
		if c.worker.pod.Spec.RestartPolicy == v1.RestartPolicyNever {
			return fmt.Errorf("init container %s ended with %d", c.spec.Name, code)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// keepRunning runs a container again and again as its pod's policy says, until it is stopped.
func (c *container) keepRunning() {
	defer c.once.Do(func() { close(c.finished) })
	wait := time.Second
	for {
		for c.worker.agent.isHeld(c.worker.key()) {
			select {
			case <-c.worker.stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
		begun := time.Now()
		err := c.start()
		if err != nil {
			if c.isStopped() {
				return
			}
			fmt.Fprintf(os.Stderr, "%s %s: %v\n", c.worker.key(), c.spec.Name, err)
			c.mu.Lock()
			c.waitWhy = "RunContainerError"
			c.mu.Unlock()
		} else {
			ctx, cancel := context.WithCancel(context.Background())
			go c.probe(ctx)
			c.worker.touch()
			<-c.exited
			cancel()
			policy := c.worker.pod.Spec.RestartPolicy
			again := c.sidecar || policy == v1.RestartPolicyAlways || policy == v1.RestartPolicyOnFailure && c.exitCode() != 0
			if c.isStopped() || !again {
				return
			}
			c.mu.Lock()
			c.waitWhy = "CrashLoopBackOff"
			c.mu.Unlock()
		}
		c.worker.touch()
		if time.Since(begun) > 20*time.Second {
			wait = time.Second
		}
		select {
		case <-c.worker.stop:
			if !c.sidecar {
				return
			}
			// A sidecar serves the containers until they have ended.
			if c.isStopped() {
				return
			}
			time.Sleep(100 * time.Millisecond)
		case <-time.After(wait):
		}
		wait = min(2*wait, 10*time.Second)
	}
}

func (c *container) isStopped() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stopped
}

// terminate runs preStop, waits for the turn, sends SIGTERM, and kills at the deadline.
func (c *container) terminate(deadline time.Time, turn <-chan struct{}) {
	c.mu.Lock()
	running, exited := c.running, c.exited
	if turn == nil {
		c.stopped = true
	}
	c.mu.Unlock()
	if running {
		c.preStop(deadline)
	}
	if turn != nil {
		<-turn
		c.mu.Lock()
		c.stopped = true
		running, exited = c.running, c.exited
		c.mu.Unlock()
	}
	if !running {
		return
	}
	c.signal(syscall.SIGTERM)
	// Even without a grace period left a program gets a moment, as from the kubelet.
	left := max(time.Until(deadline), 2*time.Second)
	c.worker.mu.Lock()
	if c.worker.gone {
		left = 0
	}
	c.worker.mu.Unlock()
	select {
	case <-exited:
	case <-time.After(left):
		c.signal(syscall.SIGKILL)
		<-exited
	}
}

func (c *container) signal(signal syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.running {
		return
	}
	if signal == syscall.SIGKILL {
		killGroup(c.command, signal)
	} else {
		_ = c.command.Process.Signal(signal)
	}
}

func (c *container) preStop(deadline time.Time) {
	if c.spec.Lifecycle == nil || c.spec.Lifecycle.PreStop == nil {
		return
	}
	hook := c.spec.Lifecycle.PreStop
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	var err error
	switch {
	case hook.Sleep != nil:
		c.mu.Lock()
		exited := c.exited
		c.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-exited:
		case <-time.After(time.Duration(hook.Sleep.Seconds) * time.Second):
		}
	case hook.Exec != nil:
		err = c.exec(ctx, hook.Exec.Command)
	case hook.HTTPGet != nil:
		err = c.get(ctx, hook.HTTPGet)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "preStop of %s %s: %v\n", c.worker.key(), c.spec.Name, err)
	}
}

// exec runs one more program in the container and waits for it.
func (c *container) exec(ctx context.Context, argv []string) error {
	known, err := c.worker.agent.imageOf(c.spec.Image)
	if err != nil {
		return err
	}
	environment, err := c.environment()
	if err != nil {
		return err
	}
	command, err := c.prepare(argv, environment, known)
	if err != nil {
		return err
	}
	if err := c.worker.agent.spawner.start(command, c.worker.netnsPath()); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- command.Wait() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		killGroup(command, syscall.SIGKILL)
		<-done
		return ctx.Err()
	}
}

func (c *container) exitCode() int32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil {
		return 0
	}
	return c.last.ExitCode
}

func (c *container) id() string {
	return fmt.Sprintf("lab://%s-%s-%d", c.worker.pod.UID, c.spec.Name, c.runs)
}

func (c *container) status() v1.ContainerStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	started := c.startOK
	status := v1.ContainerStatus{
		Name: c.spec.Name, Image: c.spec.Image, ImageID: c.spec.Image, Ready: c.ready, Started: &started,
		RestartCount: int32(max(c.runs-1, 0)),
	}
	if c.runs > 0 {
		status.ContainerID = c.id()
	}
	switch {
	case c.running:
		status.State.Running = &v1.ContainerStateRunning{StartedAt: c.since}
		if c.runs > 1 && c.last != nil {
			status.LastTerminationState.Terminated = c.last
		}
	case c.last != nil && c.waitWhy == "":
		status.State.Terminated = c.last
		if c.init && !c.sidecar {
			status.Ready = c.last.ExitCode == 0
		}
	default:
		status.State.Waiting = &v1.ContainerStateWaiting{Reason: c.waitWhy}
		status.LastTerminationState.Terminated = c.last
	}
	return status
}

// environment is what the program sees; nothing of the machine's own gets in.
func (c *container) environment() (map[string]string, error) {
	w := c.worker
	values := map[string]string{
		"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "HOSTNAME": w.name,
		"POD_NAME": w.name, "POD_NAMESPACE": w.namespace, "POD_IP": w.ip, "NODE_NAME": nodeName, "NODE": nodeName,
		"SERVICE_ACCOUNT":         w.pod.Spec.ServiceAccountName,
		"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443",
		"DNS_SERVER": clusterDNS, "LAB_DNS_FILE": "/lab/dns.json",
		"SERVICEACCOUNT_DIR": "/var/run/secrets/kubernetes.io/serviceaccount",
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, from := range c.spec.EnvFrom {
		if from.ConfigMapRef != nil {
			object, err := w.agent.client.CoreV1().ConfigMaps(w.namespace).Get(ctx, from.ConfigMapRef.Name, metav1.GetOptions{})
			if err != nil && !isOptional(from.ConfigMapRef.Optional) {
				return nil, err
			}
			if err == nil {
				for key, text := range object.Data {
					values[from.Prefix+key] = text
				}
			}
		}
		if from.SecretRef != nil {
			object, err := w.agent.client.CoreV1().Secrets(w.namespace).Get(ctx, from.SecretRef.Name, metav1.GetOptions{})
			if err != nil && !isOptional(from.SecretRef.Optional) {
				return nil, err
			}
			if err == nil {
				for key, bytes := range object.Data {
					values[from.Prefix+key] = string(bytes)
				}
			}
		}
	}
	for _, item := range c.spec.Env {
		if item.ValueFrom == nil {
			values[item.Name] = expand(item.Value, values)
			continue
		}
		switch from := item.ValueFrom; {
		case from.FieldRef != nil:
			values[item.Name] = w.field(from.FieldRef.FieldPath)
		case from.ResourceFieldRef != nil:
			values[item.Name] = c.resource(from.ResourceFieldRef)
		case from.ConfigMapKeyRef != nil:
			object, err := w.agent.client.CoreV1().ConfigMaps(w.namespace).Get(ctx, from.ConfigMapKeyRef.Name, metav1.GetOptions{})
			if err != nil {
				if isOptional(from.ConfigMapKeyRef.Optional) {
					continue
				}
				return nil, err
			}
			values[item.Name] = object.Data[from.ConfigMapKeyRef.Key]
		case from.SecretKeyRef != nil:
			object, err := w.agent.client.CoreV1().Secrets(w.namespace).Get(ctx, from.SecretKeyRef.Name, metav1.GetOptions{})
			if err != nil {
				if isOptional(from.SecretKeyRef.Optional) {
					continue
				}
				return nil, err
			}
			values[item.Name] = string(object.Data[from.SecretKeyRef.Key])
		}
	}
	return values, nil
}

func (c *container) resource(from *v1.ResourceFieldSelector) string {
	kind, name, _ := strings.Cut(from.Resource, ".")
	list := c.spec.Resources.Limits
	if kind == "requests" {
		list = c.spec.Resources.Requests
	}
	quantity, ok := list[v1.ResourceName(name)]
	if !ok {
		quantity = resource.MustParse("2")
		if name == string(v1.ResourceMemory) {
			quantity = resource.MustParse("4Gi")
		}
	}
	divisor := from.Divisor
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	return fmt.Sprint((quantity.MilliValue() + divisor.MilliValue() - 1) / divisor.MilliValue())
}

// expand replaces $(NAME) of known names; $$(NAME) stands for itself.
func expand(text string, values map[string]string) string {
	var result strings.Builder
	for index := 0; index < len(text); index++ {
		rest := text[index:]
		if strings.HasPrefix(rest, "$$") {
			result.WriteByte('$')
			index++
			continue
		}
		if strings.HasPrefix(rest, "$(") {
			if end := strings.IndexByte(rest, ')'); end > 0 {
				if value, ok := values[rest[2:end]]; ok {
					result.WriteString(value)
					index += end
					continue
				}
			}
		}
		result.WriteByte(text[index])
	}
	return result.String()
}

// probe asks a running container until it ends. Until the first success it asks more often than the period says, so that a
// test does not wait for the clock of a cluster.
func (c *container) probe(ctx context.Context) {
	if c.spec.StartupProbe != nil {
		if !c.until(ctx, c.spec.StartupProbe) {
			return
		}
	}
	c.mu.Lock()
	c.startOK = true
	c.ready = c.spec.ReadinessProbe == nil
	c.mu.Unlock()
	c.worker.touch()
	if c.spec.LivenessProbe != nil {
		go c.live(ctx, c.spec.LivenessProbe)
	}
	if c.spec.ReadinessProbe == nil {
		return
	}
	if !c.until(ctx, c.spec.ReadinessProbe) {
		return
	}
	c.setReady(true)
	probe := c.spec.ReadinessProbe
	failures, successes := int32(0), int32(0)
	for c.pause(ctx, period(probe)) {
		if c.ask(ctx, probe) == nil {
			failures, successes = 0, successes+1
			if successes >= max(probe.SuccessThreshold, 1) {
				c.setReady(true)
			}
		} else {
			failures, successes = failures+1, 0
			if failures >= threshold(probe) {
				c.setReady(false)
			}
		}
	}
}

func (c *container) live(ctx context.Context, probe *v1.Probe) {
	failures := int32(0)
	c.pause(ctx, time.Duration(probe.InitialDelaySeconds)*time.Second)
	for c.pause(ctx, period(probe)) {
		if c.ask(ctx, probe) == nil {
			failures = 0
		} else if failures++; failures >= threshold(probe) {
			fmt.Fprintf(os.Stderr, "%s %s fails its liveness probe\n", c.worker.key(), c.spec.Name)
			c.signal(syscall.SIGTERM)
			if c.pause(ctx, 5*time.Second) {
				c.signal(syscall.SIGKILL)
			}
			return
		}
	}
}

func (c *container) until(ctx context.Context, probe *v1.Probe) bool {
	if !c.pause(ctx, time.Duration(probe.InitialDelaySeconds)*time.Second) {
		return false
	}
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, 250*time.Millisecond) {
		if c.ask(ctx, probe) == nil {
			return true
		}
		if !c.pause(ctx, min(wait, period(probe))) {
			return false
		}
	}
}

func (c *container) pause(ctx context.Context, wait time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(wait):
		return true
	}
}

func (c *container) setReady(ready bool) {
	c.mu.Lock()
	changed := c.ready != ready && c.running
	if changed {
		c.ready = ready
	}
	c.mu.Unlock()
	if changed {
		c.worker.touch()
	}
}

func period(probe *v1.Probe) time.Duration {
	return time.Duration(max(probe.PeriodSeconds, 1)) * time.Second
}

func threshold(probe *v1.Probe) int32 {
	return max(probe.FailureThreshold, 1)
}

func (c *container) ask(ctx context.Context, probe *v1.Probe) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(max(probe.TimeoutSeconds, 1))*time.Second)
	defer cancel()
	switch {
	case probe.HTTPGet != nil:
		return c.get(ctx, probe.HTTPGet)
	case probe.TCPSocket != nil:
		host := probe.TCPSocket.Host
		if host == "" {
			host = c.worker.ip
		}
		connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", fmt.Sprintf("%s:%d", host, c.port(probe.TCPSocket.Port)))
		if err == nil {
			_ = connection.Close()
		}
		return err
	case probe.Exec != nil:
		return c.exec(ctx, probe.Exec.Command)
	default:
		return fmt.Errorf("a kind of probe that the lab does not know")
	}
}

var prober = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func (c *container) get(ctx context.Context, action *v1.HTTPGetAction) error {
	host := action.Host
	if host == "" {
		host = c.worker.ip
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet,
		fmt.Sprintf("http://%s:%d%s", host, c.port(action.Port), "/"+strings.TrimPrefix(action.Path, "/")), nil)
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", "kube-probe/1.34")
	for _, header := range action.HTTPHeaders {
		request.Header.Set(header.Name, header.Value)
	}
	response, err := prober.Do(request)
	if err != nil {
		return err
	}
	_ = response.Body.Close()
	if response.StatusCode < 200 || response.StatusCode >= 400 {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	return nil
}

func (c *container) port(port intstr.IntOrString) int32 {
	if port.Type == intstr.Int {
		return port.IntVal
	}
	for _, one := range c.spec.Ports {
		if one.Name == port.StrVal {
			return one.ContainerPort
		}
	}
	return 0
}
