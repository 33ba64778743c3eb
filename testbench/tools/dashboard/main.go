// Reads a dashboard from standard input as Grafana's own types have it: a field that they do not know, one that is missing, a value of another
// type and a panel of a kind that Grafana does not bring along are errors.
package main

import (
	"encoding/json"
	"io"
	"log"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func main() {
	log.SetFlags(0)
	source, err := io.ReadAll(os.Stdin)
	if err != nil {
		log.Fatal(err)
	}
	plugins.RegisterDefaultPlugins()
	// No error may be an empty list of them, and then what was read is not whole.
	var strict, read dashboard.Dashboard
	if err := strict.UnmarshalJSONStrict(source); err != nil && err.Error() != "" {
		log.Fatal(err)
	}
	if err := json.Unmarshal(source, &read); err != nil {
		log.Fatal(err)
	}
	if err := read.Validate(); err != nil {
		log.Fatal(err)
	}
	for _, each := range read.Panels {
		if panel := each.Panel; panel != nil {
			if _, known := cog.NewRuntime().ConfigForPanelcfgVariant(panel.Type); !known {
				log.Fatalf("panel %d: there is no kind %q", *panel.Id, panel.Type)
			}
		}
	}
}
