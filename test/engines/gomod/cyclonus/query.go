package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/mattfenwick/cyclonus/pkg/kube"
	"github.com/mattfenwick/cyclonus/pkg/matcher"
)

// One question about traffic on the policies of a directory, as `cyclonus analyze --mode query-traffic` answers it: its own reader,
// its own simplification, its own matcher. The question is the JSON of its Traffic.
func query(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("usage: cyclonus query DIR TRAFFIC.json")
	}
	text, err := os.ReadFile(filepath.Clean(args[1]))
	if err != nil {
		return err
	}
	var traffic matcher.Traffic
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&traffic); err != nil {
		return err
	}
	policies, err := kube.ReadNetworkPoliciesFromPath(args[0])
	if err != nil {
		return err
	}
	result := matcher.BuildNetworkPolicies(true, policies).IsTrafficAllowed(&traffic)
	fmt.Println(len(policies), result.Ingress.IsAllowed(), result.Egress.IsAllowed())
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "cpu", (used.Utime.Nano()+used.Stime.Nano())/1000)
	return nil
}
