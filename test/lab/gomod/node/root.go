package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"time"

	authentication "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// makeRoot builds the folder that a pod's containers see as `/`: programs and libraries of the machine read-only, the rest
// the pod's own. Mounts live in the agent's mount namespace and end with it.
func (w *worker) makeRoot(ctx context.Context) error {
	for _, dir := range []string{
		"usr", "proc", "dev", "sys", "etc/alternatives", "var/run", "var/lib", "var/log/istio", "run", "tmp", "root", "lab", "home",
	} {
		if err := os.MkdirAll(w.inside(dir), 0o755); err != nil {
			return err
		}
	}
	for _, dir := range []string{"tmp", "run", "var/run"} {
		if err := os.Chmod(w.inside(dir), 0o777); err != nil {
			return err
		}
	}
	for _, name := range []string{"bin", "lib", "lib64", "sbin"} {
		if target, err := os.Readlink("/" + name); err == nil {
			if err := os.Symlink(target, w.inside(name)); err != nil && !errors.Is(err, os.ErrExist) {
				return err
			}
		} else if _, err := os.Stat("/" + name); err == nil {
			if err := w.mount("/"+name, name, true); err != nil {
				return err
			}
		}
	}
	access := w.agent.path("access", w.namespace, w.name)
	if err := os.MkdirAll(access, 0o777); err != nil {
		return err
	}
	if err := os.Chmod(access, 0o777); err != nil {
		return err
	}
	for _, one := range []struct {
		from, to string
		readOnly bool
	}{
		{"/usr", "usr", true},
		{"/proc", "proc", false},
		{"/dev", "dev", false},
		{"/sys", "sys", true},
		{"/etc/alternatives", "etc/alternatives", true},
		{w.agent.path("lab"), "lab", true},
		{w.agent.path("bin"), "usr/local/bin", true},
		{access, "var/log/istio", false},
	} {
		if err := w.mount(one.from, one.to, one.readOnly); err != nil {
			return err
		}
	}
	hostname := w.pod.Spec.Hostname
	if hostname == "" {
		hostname = w.name
	}
	for name, text := range map[string]string{
		"etc/passwd": fmt.Sprintf("root:x:0:0:root:/root:/bin/sh\nistio-proxy:x:%d:%[1]d::/home:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
			w.mapUser(1337)),
		"etc/group":    fmt.Sprintf("root:x:0:\nistio-proxy:x:%d:\nnogroup:x:65534:\n", w.mapUser(1337)),
		"etc/hostname": hostname + "\n",
		"etc/hosts":    fmt.Sprintf("127.0.0.1 localhost\n%s %s\n", w.ip, hostname),
		"etc/resolv.conf": fmt.Sprintf("nameserver %s\nsearch %s.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n",
			clusterDNS, w.namespace),
		"etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
		"etc/protocols":     "ip 0 IP\nicmp 1 ICMP\ntcp 6 TCP\nudp 17 UDP\n",
	} {
		if err := os.WriteFile(w.inside(name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	for _, container := range w.everyContainer() {
		known, err := w.agent.imageOf(container.Image)
		if err != nil {
			return err
		}
		for name, source := range known.Files {
			text, err := os.ReadFile(source)
			if err != nil {
				return err
			}
			if err := os.MkdirAll(filepath.Dir(w.inside(name)), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(w.inside(name), text, 0o644); err != nil {
				return err
			}
		}
		for _, dir := range known.Folders {
			if err := os.MkdirAll(w.inside(dir), 0o777); err != nil {
				return err
			}
			if err := os.Chmod(w.inside(dir), 0o777); err != nil {
				return err
			}
		}
	}
	return w.makeVolumes(ctx)
}

func (w *worker) inside(name string) string {
	return filepath.Join(w.root, name)
}

func (w *worker) mount(from, to string, readOnly bool) error {
	target := w.inside(to)
	if err := syscall.Mount(from, target, "", syscall.MS_BIND|syscall.MS_REC, ""); err != nil {
		return fmt.Errorf("mounting %s at %s: %w", from, target, err)
	}
	w.mounts = append(w.mounts, target)
	if readOnly {
		if err := syscall.Mount("", target, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
			return fmt.Errorf("making %s read-only: %w", target, err)
		}
	}
	return nil
}

func (w *worker) unmountAll() {
	for index := len(w.mounts) - 1; index >= 0; index-- {
		if err := syscall.Unmount(w.mounts[index], syscall.MNT_DETACH); err != nil {
			fmt.Fprintf(os.Stderr, "unmounting %s: %v\n", w.mounts[index], err)
		}
	}
	w.mounts = nil
}

// makeVolumes fills the pod's volumes and mounts them, outer paths first. What a volume needs and the cluster does not have yet
// (a ConfigMap that a controller will write) is waited for.
func (w *worker) makeVolumes(ctx context.Context) error {
	type place struct{ volume, path, sub string }
	places := map[string]place{}
	for _, container := range w.everyContainer() {
		for _, mount := range container.VolumeMounts {
			places[filepath.Clean(mount.MountPath)] = place{mount.Name, filepath.Clean(mount.MountPath), mount.SubPath}
		}
	}
	folders := map[string]string{}
	for index := range w.pod.Spec.Volumes {
		volume := &w.pod.Spec.Volumes[index]
		folder := w.agent.path("volumes", string(w.pod.UID), volume.Name)
		if err := os.MkdirAll(folder, 0o777); err != nil {
			return err
		}
		if err := os.Chmod(folder, 0o777); err != nil {
			return err
		}
		for {
			err := w.fill(ctx, volume, folder)
			if err == nil {
				break
			}
			w.waiting("ContainerCreating", fmt.Sprintf("volume %s: %v", volume.Name, err))
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(100 * time.Millisecond):
			}
		}
		folders[volume.Name] = folder
	}
	ordered := make([]place, 0, len(places))
	for _, one := range places {
		ordered = append(ordered, one)
	}
	sort.Slice(ordered, func(i, j int) bool { return ordered[i].path < ordered[j].path })
	for _, one := range ordered {
		folder, ok := folders[one.volume]
		if !ok {
			return fmt.Errorf("volume %s is mounted but not there", one.volume)
		}
		from := filepath.Join(folder, one.sub)
		facts, err := os.Stat(from)
		if err != nil {
			return err
		}
		if facts.IsDir() {
			err = os.MkdirAll(w.inside(one.path), 0o755)
		} else if err = os.MkdirAll(filepath.Dir(w.inside(one.path)), 0o755); err == nil {
			err = os.WriteFile(w.inside(one.path), nil, 0o644)
		}
		if err != nil {
			return err
		}
		if err := w.mount(from, one.path, false); err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) fill(ctx context.Context, volume *v1.Volume, folder string) error {
	source := volume.VolumeSource
	switch {
	case source.EmptyDir != nil:
		return nil
	case source.ConfigMap != nil:
		return w.fillConfigMap(ctx, folder, source.ConfigMap.Name, source.ConfigMap.Items, source.ConfigMap.Optional)
	case source.Secret != nil:
		return w.fillSecret(ctx, folder, source.Secret.SecretName, source.Secret.Items, source.Secret.Optional)
	case source.DownwardAPI != nil:
		return w.fillDownward(folder, source.DownwardAPI.Items)
	case source.Projected != nil:
		for _, part := range source.Projected.Sources {
			var err error
			switch {
			case part.ConfigMap != nil:
				err = w.fillConfigMap(ctx, folder, part.ConfigMap.Name, part.ConfigMap.Items, part.ConfigMap.Optional)
			case part.Secret != nil:
				err = w.fillSecret(ctx, folder, part.Secret.Name, part.Secret.Items, part.Secret.Optional)
			case part.DownwardAPI != nil:
				err = w.fillDownward(folder, part.DownwardAPI.Items)
			case part.ServiceAccountToken != nil:
				err = w.fillToken(ctx, folder, part.ServiceAccountToken)
			default:
				err = errors.New("a projected source that the lab does not know")
			}
			if err != nil {
				return err
			}
		}
		return nil
	case source.PersistentVolumeClaim != nil:
		// A claim lasts as long as the stage.
		return nil
	default:
		return errors.New("a kind of volume that the lab does not know")
	}
}

func isOptional(optional *bool) bool { return optional != nil && *optional }

func (w *worker) fillConfigMap(ctx context.Context, folder, name string, items []v1.KeyToPath, optional *bool) error {
	object, err := w.agent.client.CoreV1().ConfigMaps(w.namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) && isOptional(optional) {
		return nil
	}
	if err != nil {
		return err
	}
	data := map[string][]byte{}
	for key, text := range object.Data {
		data[key] = []byte(text)
	}
	for key, bytes := range object.BinaryData {
		data[key] = bytes
	}
	return writeKeys(folder, data, items)
}

func (w *worker) fillSecret(ctx context.Context, folder, name string, items []v1.KeyToPath, optional *bool) error {
	object, err := w.agent.client.CoreV1().Secrets(w.namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) && isOptional(optional) {
		return nil
	}
	if err != nil {
		return err
	}
	return writeKeys(folder, object.Data, items)
}

func writeKeys(folder string, data map[string][]byte, items []v1.KeyToPath) error {
	if len(items) == 0 {
		for key := range data {
			items = append(items, v1.KeyToPath{Key: key, Path: key})
		}
	}
	for _, item := range items {
		if err := replaceFile(filepath.Join(folder, item.Path), data[item.Key]); err != nil {
			return err
		}
	}
	return nil
}

func replaceFile(name string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	unfinished := filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+".new")
	if err := os.WriteFile(unfinished, text, 0o644); err != nil {
		return err
	}
	return os.Rename(unfinished, name)
}

func (w *worker) fillDownward(folder string, items []v1.DownwardAPIVolumeFile) error {
	for _, item := range items {
		text := ""
		if item.FieldRef != nil {
			text = w.field(item.FieldRef.FieldPath)
		}
		if err := replaceFile(filepath.Join(folder, item.Path), []byte(text)); err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) fillToken(ctx context.Context, folder string, projection *v1.ServiceAccountTokenProjection) error {
	request := &authentication.TokenRequest{Spec: authentication.TokenRequestSpec{
		ExpirationSeconds: projection.ExpirationSeconds,
		BoundObjectRef:    &authentication.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: w.name, UID: w.pod.UID},
	}}
	if projection.Audience != "" {
		request.Spec.Audiences = []string{projection.Audience}
	}
	account := w.pod.Spec.ServiceAccountName
	issue := func() (time.Time, error) {
		answer, err := w.agent.client.CoreV1().ServiceAccounts(w.namespace).CreateToken(ctx, account, request, metav1.CreateOptions{})
		if err != nil {
			return time.Time{}, err
		}
		return answer.Status.ExpirationTimestamp.Time, replaceFile(filepath.Join(folder, projection.Path), []byte(answer.Status.Token))
	}
	expires, err := issue()
	if err != nil {
		return err
	}
	go func() {
		for {
			select {
			case <-w.ended:
				return
			case <-time.After(time.Until(expires) * 3 / 4):
			}
			if next, err := issue(); err == nil {
				expires = next
			} else {
				fmt.Fprintf(os.Stderr, "token of %s: %v\n", w.key(), err)
			}
		}
	}()
	return nil
}

// field is the value of a downward API field; maps as the downward API writes them: key="value" lines, sorted.
func (w *worker) field(path string) string {
	pod := w.pod
	switch path {
	case "metadata.name":
		return pod.Name
	case "metadata.namespace":
		return pod.Namespace
	case "metadata.uid":
		return string(pod.UID)
	case "metadata.labels":
		return renderMap(pod.Labels)
	case "metadata.annotations":
		return renderMap(pod.Annotations)
	case "spec.nodeName":
		return nodeName
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName
	case "status.podIP", "status.podIPs":
		return w.ip
	case "status.hostIP", "status.hostIPs":
		return nodeIP
	}
	for prefix, values := range map[string]map[string]string{"metadata.labels[": pod.Labels, "metadata.annotations[": pod.Annotations} {
		if rest, ok := strings.CutPrefix(path, prefix); ok {
			return values[strings.Trim(strings.TrimSuffix(rest, "]"), "'")]
		}
	}
	return ""
}

func renderMap(values map[string]string) string {
	lines := make([]string, 0, len(values))
	for key, value := range values {
		lines = append(lines, fmt.Sprintf("%s=%q", key, value))
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}
