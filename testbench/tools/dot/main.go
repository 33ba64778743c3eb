// Renders a graph of Graphviz from standard input as SVG. Graphviz is compiled to WebAssembly in here and finds no fonts, so it
// measures texts by tables of its own: the picture is the same on every machine.
package main

import (
	"context"
	"io"
	"log"
	"os"

	"github.com/goccy/go-graphviz"
)

func main() {
	source, err := io.ReadAll(os.Stdin)
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	renderer, err := graphviz.New(ctx)
	if err != nil {
		log.Fatal(err)
	}
	graph, err := graphviz.ParseBytes(source)
	if err != nil {
		log.Fatal(err)
	}
	if err := renderer.Render(ctx, graph, graphviz.SVG, os.Stdout); err != nil {
		log.Fatal(err)
	}
}
