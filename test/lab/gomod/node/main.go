// Command lab-node plays, for tests on one machine, what is not the control plane of a cluster: the node with its
// scheduler, kubelet and service proxy, the policy engine, and the small helpers that the stage needs around them.
package main

import (
	"fmt"
	"os"
)

var commands = map[string]func([]string) error{
	"agent":   runAgent,
	"forward": runForward,
	"init":    runInit,
	"pause":   runPause,
	"pki":     runPKI,
	"verdict": runVerdict,
}

func main() {
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: lab-node agent|forward|init|pause|pki|verdict ...")
		os.Exit(2)
	}
	if err := commands[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintf(os.Stderr, "lab-node %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}
