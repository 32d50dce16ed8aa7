package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	"github.com/vishvananda/netns"
)

func newReader(text string) io.Reader { return strings.NewReader(text) }

// spawner starts every process of the node on one thread that never ends: a parent-death signal is bound to the thread
// that forked, and a child is born into the network namespace in which its thread is.
type spawner struct {
	requests chan spawnRequest
}

type spawnRequest struct {
	command *exec.Cmd
	// Path of the network namespace; empty is the node's.
	namespace string
	answer    chan error
}

func newSpawner() *spawner {
	s := &spawner{requests: make(chan spawnRequest)}
	go func() {
		runtime.LockOSThread()
		home, err := netns.Get()
		if err != nil {
			panic(err)
		}
		for request := range s.requests {
			request.answer <- startIn(home, request)
		}
	}()
	return s
}

func startIn(home netns.NsHandle, request spawnRequest) error {
	if request.namespace != "" {
		target, err := netns.GetFromPath(request.namespace)
		if err != nil {
			return err
		}
		defer target.Close()
		if err := netns.Set(target); err != nil {
			return err
		}
		defer func() {
			if err := netns.Set(home); err != nil {
				panic(err)
			}
		}()
	}
	return request.command.Start()
}

func (s *spawner) start(command *exec.Cmd, namespace string) error {
	if command.SysProcAttr == nil {
		command.SysProcAttr = &syscall.SysProcAttr{}
	}
	command.SysProcAttr.Pdeathsig = syscall.SIGKILL
	answer := make(chan error)
	s.requests <- spawnRequest{command, namespace, answer}
	return <-answer
}

// pause starts the process that holds a new network namespace, and returns it once the namespace is set up.
func (s *spawner) pause() (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	command := exec.Command(self, "pause")
	command.Stdout = writer
	command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	err = s.start(command, "")
	_ = writer.Close()
	if err != nil {
		return nil, err
	}
	go func() { _ = command.Wait() }()
	if _, err := reader.Read(make([]byte, 16)); err != nil {
		return nil, fmt.Errorf("the holder of a network namespace ended: %w", err)
	}
	return command, nil
}
