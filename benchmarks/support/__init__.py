"""What benchmarks share: parser, made-up features, time and memory."""
