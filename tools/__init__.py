"""What scripts/bench and the tests share: real processes and services, and HTTP to drive them."""
