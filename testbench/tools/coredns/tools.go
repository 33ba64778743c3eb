//go:build tools

// Package tools pins the CoreDNS that the cluster of the e2e tests runs.
package tools

import _ "github.com/coredns/coredns"
