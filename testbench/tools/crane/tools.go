//go:build tools

// Package tools pins the crane that makes images and serves as the registry of the e2e tests' cluster.
package tools

import _ "github.com/google/go-containerregistry/cmd/crane"
