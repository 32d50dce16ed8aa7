package main

import (
	"bufio"
	"encoding/json"
	"io"
	"sync"
	"time"
)

// Attempt is one line: one connection tried, and what became of it.
type Attempt struct {
	// T is when it began.
	T      string `json:"t"`
	Client string `json:"client"`
	Kind   string `json:"kind"`
	Dst    string `json:"dst"`
	IP     string `json:"ip,omitempty"`
	Port   int    `json:"port"`
	Expect string `json:"expect"`
	OK     bool   `json:"ok"`
	// Err is a class: refused, timeout, reset, closed, unreachable, resolve, status, other.
	Err    string `json:"err,omitempty"`
	Status int    `json:"status,omitempty"`
	// Text is what the system or the server said of a failure.
	Text string `json:"text,omitempty"`
	// LatencyUs is from the first packet to the whole answer; the name was resolved before.
	LatencyUs int64 `json:"latencyUs"`
	ConnectUs int64 `json:"connectUs,omitempty"`
	// Retransmits of the kernel: a connection that passed at the second SYN did not pass at the first.
	Retransmits uint32 `json:"retransmits,omitempty"`
	// By is the pod that answered; Principal is whom its proxy took the caller for, absent on plaintext.
	By            string `json:"by,omitempty"`
	Principal     string `json:"principal,omitempty"`
	NewConnection bool   `json:"newConnection"`
}

// AttemptLog writes lines, whole ones, and soon.
type AttemptLog struct {
	mutex sync.Mutex
	out   *bufio.Writer
	done  chan struct{}
}

func newLog(to io.Writer) *AttemptLog {
	log := &AttemptLog{out: bufio.NewWriterSize(to, 1<<16), done: make(chan struct{})}
	go func() {
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				log.flush()
			case <-log.done:
				return
			}
		}
	}()
	return log
}

func (log *AttemptLog) write(attempt Attempt) {
	line, err := json.Marshal(attempt)
	if err != nil {
		panic(err)
	}
	log.mutex.Lock()
	defer log.mutex.Unlock()
	_, _ = log.out.Write(append(line, '\n'))
}

func (log *AttemptLog) flush() {
	log.mutex.Lock()
	defer log.mutex.Unlock()
	_ = log.out.Flush()
}

func (log *AttemptLog) close() {
	close(log.done)
	log.flush()
}

func stamp(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.000Z") }
