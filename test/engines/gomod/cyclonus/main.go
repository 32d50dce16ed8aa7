// What cyclonus says, for tests of Sallyport beside it.
//
//	cyclonus cases           its generated test cases with its own expected tables: one JSON line a step
//	cyclonus judge           JSON lines of clusters with questions on stdin, one JSON line of answers each
//	cyclonus query DIR FILE  one question on the policies of a directory
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/mattfenwick/cyclonus/pkg/connectivity"
	"github.com/mattfenwick/cyclonus/pkg/connectivity/probe"
	"github.com/mattfenwick/cyclonus/pkg/generator"
	"github.com/mattfenwick/cyclonus/pkg/kube"
	"github.com/mattfenwick/cyclonus/pkg/matcher"
	"github.com/sirupsen/logrus"
	v1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

type port struct {
	Name     string      `json:"name,omitempty"`
	Port     int         `json:"port"`
	Protocol v1.Protocol `json:"protocol"`
}

type pod struct {
	Namespace string            `json:"namespace"`
	Name      string            `json:"name"`
	Labels    map[string]string `json:"labels"`
	IP        string            `json:"ip"`
	Ports     []port            `json:"ports"`
}

type step struct {
	Case       string                        `json:"case"`
	Step       int                           `json:"step"`
	Namespaces map[string]map[string]string  `json:"namespaces"`
	Pods       []pod                         `json:"pods"`
	Policies   []*networkingv1.NetworkPolicy `json:"policies"`
	// From and to (places in pods), protocol, port, ingress, egress, both: `0 1 TCP 80 allowed blocked blocked`.
	Rows []string `json:"rows"`
}

type question struct {
	// Places in pods; -1 for an address outside.
	From     int         `json:"from"`
	To       int         `json:"to"`
	IP       string      `json:"ip,omitempty"`
	Port     int         `json:"port"`
	Protocol v1.Protocol `json:"protocol"`
}

type cluster struct {
	Namespaces map[string]map[string]string  `json:"namespaces"`
	Pods       []pod                         `json:"pods"`
	Policies   []*networkingv1.NetworkPolicy `json:"policies"`
	Questions  []question                    `json:"questions"`
}

type answers struct {
	// `true true`: ingress and egress allowed.
	Answers []string `json:"answers,omitempty"`
	Error   string   `json:"error,omitempty"`
}

func main() {
	logrus.SetLevel(logrus.ErrorLevel)
	mode := ""
	if len(os.Args) > 1 {
		mode = os.Args[1]
	}
	var err error
	switch mode {
	case "cases":
		err = printCases()
	case "judge":
		err = judgeAll()
	case "query":
		err = query(os.Args[2:])
	default:
		err = fmt.Errorf("usage: cyclonus cases | judge | query DIR QUESTION")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func printCases() error {
	out := bufio.NewWriterSize(os.Stdout, 1<<20)
	defer out.Flush()
	encoder := json.NewEncoder(out)
	namespaces, names := []string{"x", "y", "z"}, []string{"a", "b", "c"}
	protocols := []v1.Protocol{v1.ProtocolTCP, v1.ProtocolUDP, v1.ProtocolSCTP}
	fresh := func() (*connectivity.TestCaseState, error) {
		mock := kube.NewMockKubernetes(1.0)
		resources, err := probe.NewDefaultResources(mock, namespaces, names, []int{80, 81}, protocols, nil, 5, false, "registry.example")
		return &connectivity.TestCaseState{Kubernetes: mock, Resources: resources}, err
	}
	first, err := fresh()
	if err != nil {
		return err
	}
	last, err := first.Resources.GetPod("z", "c")
	if err != nil {
		return err
	}
	for number, testCase := range generator.NewTestCaseGenerator(true, last.IP, namespaces, nil, nil).GenerateAllTestCases() {
		state, err := fresh()
		if err != nil {
			return err
		}
		for index, one := range testCase.Steps {
			for _, action := range one.Actions {
				if err := perform(state, action); err != nil {
					return fmt.Errorf("case %d (%s), step %d: %w", number+1, testCase.Description, index+1, err)
				}
			}
			policies := matcher.BuildNetworkPolicies(true, state.Policies)
			table := probe.NewSimulatedRunner(policies, &probe.JobBuilder{}).RunProbeForConfig(one.Probe, state.Resources)
			line := step{
				Case:       fmt.Sprintf("%d %s", number+1, testCase.Description),
				Step:       index + 1,
				Namespaces: state.Resources.Namespaces,
				Policies:   state.Policies,
			}
			places := map[string]int{}
			for place, one := range state.Resources.Pods {
				places[one.PodString().String()] = place
				line.Pods = append(line.Pods, podOf(one))
			}
			for _, key := range table.Wrapped.Keys() {
				for _, result := range table.Get(key.From, key.To).JobResults {
					line.Rows = append(line.Rows, fmt.Sprintf("%d %d %s %d %s %s %s", places[key.From], places[key.To],
						result.Job.Protocol, result.Job.ResolvedPort, *result.Ingress, *result.Egress, result.Combined))
				}
			}
			if err := encoder.Encode(line); err != nil {
				return err
			}
		}
	}
	return nil
}

func podOf(one *probe.Pod) pod {
	out := pod{Namespace: one.Namespace, Name: one.Name, Labels: one.Labels, IP: one.IP}
	for _, container := range one.Containers {
		out.Ports = append(out.Ports, port{Name: container.PortName, Port: container.Port, Protocol: container.Protocol})
	}
	return out
}

func perform(state *connectivity.TestCaseState, action *generator.Action) error {
	switch {
	case action.CreatePolicy != nil:
		return state.CreatePolicy(action.CreatePolicy.Policy)
	case action.UpdatePolicy != nil:
		return state.UpdatePolicy(action.UpdatePolicy.Policy)
	case action.DeletePolicy != nil:
		return state.DeletePolicy(action.DeletePolicy.Namespace, action.DeletePolicy.Name)
	case action.CreateNamespace != nil:
		return state.CreateNamespace(action.CreateNamespace.Namespace, action.CreateNamespace.Labels)
	case action.SetNamespaceLabels != nil:
		return state.SetNamespaceLabels(action.SetNamespaceLabels.Namespace, action.SetNamespaceLabels.Labels)
	case action.DeleteNamespace != nil:
		return state.DeleteNamespace(action.DeleteNamespace.Namespace)
	case action.ReadNetworkPolicies != nil:
		// Policies are compared as pointers to what was created, so that reading them again adds the same ones.
		return state.ReadPolicies(action.ReadNetworkPolicies.Namespaces)
	case action.CreatePod != nil:
		return state.CreatePod(action.CreatePod.Namespace, action.CreatePod.Pod, action.CreatePod.Labels)
	case action.SetPodLabels != nil:
		return state.SetPodLabels(action.SetPodLabels.Namespace, action.SetPodLabels.Pod, action.SetPodLabels.Labels)
	case action.DeletePod != nil:
		return state.DeletePod(action.DeletePod.Namespace, action.DeletePod.Pod)
	}
	return fmt.Errorf("an action that is not known")
}

func judgeAll() error {
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriterSize(os.Stdout, 1<<20)
	defer out.Flush()
	encoder := json.NewEncoder(out)
	decoder := json.NewDecoder(in)
	for decoder.More() {
		var one cluster
		if err := decoder.Decode(&one); err != nil {
			return err
		}
		if err := encoder.Encode(judge(&one)); err != nil {
			return err
		}
		// Whoever asks one cluster at a time waits for the answer.
		if in.Buffered() == 0 {
			if err := out.Flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func judge(one *cluster) (found answers) {
	// Its packages panic on what they do not take.
	defer func() {
		if cause := recover(); cause != nil {
			found = answers{Error: strings.SplitN(fmt.Sprint(cause), "\n", 2)[0]}
		}
	}()
	policies := matcher.BuildNetworkPolicies(true, one.Policies)
	for _, asked := range one.Questions {
		result := policies.IsTrafficAllowed(&matcher.Traffic{
			Source:           one.peer(asked.From, asked.IP),
			Destination:      one.peer(asked.To, asked.IP),
			ResolvedPort:     asked.Port,
			ResolvedPortName: one.portName(asked),
			Protocol:         asked.Protocol,
		})
		found.Answers = append(found.Answers, fmt.Sprint(result.Ingress.IsAllowed(), result.Egress.IsAllowed()))
	}
	return found
}

func (c *cluster) peer(place int, ip string) *matcher.TrafficPeer {
	if place < 0 {
		return &matcher.TrafficPeer{IP: ip}
	}
	one := c.Pods[place]
	return &matcher.TrafficPeer{IP: one.IP, Internal: &matcher.InternalPeer{
		PodLabels: one.Labels, Namespace: one.Namespace, NamespaceLabels: c.Namespaces[one.Namespace],
	}}
}

func (c *cluster) portName(asked question) string {
	if asked.To < 0 {
		return ""
	}
	for _, one := range c.Pods[asked.To].Ports {
		if one.Port == asked.Port && one.Protocol == asked.Protocol {
			return one.Name
		}
	}
	return ""
}
