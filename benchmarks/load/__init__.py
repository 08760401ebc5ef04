"""What loads a contender: messages, the publisher that sends them, and proxies that watch the broker."""
