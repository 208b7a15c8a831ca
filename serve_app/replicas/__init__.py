"""What wraps a backend in a Serve replica."""
