//go:build tools

// Package tools pins the kind that runs the e2e tests' cluster where there is a Docker engine.
package tools

import _ "sigs.k8s.io/kind"
