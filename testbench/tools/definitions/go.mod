// Modules whose CustomResourceDefinitions the chart's objects are checked by. Nothing imports them, so `go mod tidy` would drop them.
module buckethead.dev/testbench/tools/definitions

go 1.26.0

require (
	github.com/cert-manager/cert-manager v1.21.2
	github.com/prometheus-operator/prometheus-operator v0.85.0
)
