//go:build tools

// Package tools pins the Litestream, and the ltx of its library, against which our LTX files are tested.
package tools

import (
	_ "github.com/benbjohnson/litestream/cmd/litestream"
	_ "github.com/superfly/ltx/cmd/ltx"
)
