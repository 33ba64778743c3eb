//go:build tools

// Package tools pins what enforces NetworkPolicies in the cluster of the e2e tests.
package tools

import _ "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router"
