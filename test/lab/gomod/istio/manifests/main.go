// Command manifests prints, as one JSON list, what Istio's own charts make of an IstioOperator file.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"istio.io/istio/operator/pkg/render"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: manifests FILE")
		os.Exit(2)
	}
	sets, _, err := render.GenerateManifest([]string{os.Args[1]}, nil, true, nil, nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	items := []any{}
	for _, set := range sets {
		for _, manifest := range set.Manifests {
			items = append(items, manifest.Object)
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(map[string]any{"apiVersion": "v1", "kind": "List", "items": items}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
