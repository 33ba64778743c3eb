//go:build tools

// Package tools pins the MinIO that the tests run.
package tools

import _ "github.com/minio/minio"
