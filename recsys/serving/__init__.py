"""The gRPC server and its client: calls in, domain objects through, canonical statuses out."""
